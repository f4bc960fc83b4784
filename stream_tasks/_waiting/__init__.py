"""Waiting: one task, many tasks, and how often the server is asked."""
