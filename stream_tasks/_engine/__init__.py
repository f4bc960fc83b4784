"""The engine: it waits for tasks, and decides how often the server is asked."""
