"""The command line, for the extra ``cli``.

- ``app``: the group of all commands, and how an error becomes a line on stderr and an exit code
- ``commands``: one module for each command: its options, its help, and a function that does the work
- ``options``: the options that commands share
- ``operations``: what commands need to know of operations, read off their descriptions
- ``operation_command``, ``import_command``: the commands that start operations
- ``codes``: the exit codes
- ``signals``: Ctrl-C, SIGTERM, and a stdout that nobody reads

These modules import neither aiohttp nor the client: ``--help``, a usage error and a press of Tab need none of
that. A command imports the following modules when it runs:

- ``waiting``: one wait, from its first look to its exit code
- ``endings``: how the wait for one task ended: a line of JSON
- ``starting``: an operation for many items, in batches
- ``doctor``: the checks of the command ``doctor``
- ``files``: ids that are read, the journal, and downloads
- ``ui``: progress, results, hints, and everything else that people see
"""

from stream_tasks.cli.app import main

__all__ = ["main"]
