"""The command line, for the extra ``cli``: one module for each command.

- ``_app``: the commands together, and what an error becomes: a line on stderr and an exit code
- ``_options``: what commands take alike, and the client that comes of it
- ``_help``: the layout of exit codes and examples below the options
- ``_output``: JSON, plain lines and what a terminal shows
"""

from stream_tasks.cli._app import main

__all__ = ["main"]
