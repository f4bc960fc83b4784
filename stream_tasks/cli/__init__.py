"""The command line, for the extra ``cli``: one module for each command.

- ``_app``: the commands together, and what an error becomes: a line on stderr and an exit code
- ``_options``: what commands take alike, and the client that comes of it
- ``_codes``: what it exits with
- ``_help``: the layout of exit codes and examples below the options
- ``_output``: JSON, plain lines and what a terminal shows
- ``_hints``: what to do next, as commands that can be pasted
- ``_warnings``: what the library warns of, as lines for people
- ``_signals``: Ctrl-C, SIGTERM, and stdout that nobody reads

``wait`` and whatever else waits is made of these:

- ``_ids``: from arguments, files and stdin to ids
- ``_waiting``: one wait, from its first look to its exit code
- ``_endings``: how the wait for one task ended: a line of JSON
- ``_journal``: the file of endings that outlives the process
- ``_board``: counts, rates and rows; ``_live``: what is seen of them; ``_results``: what is said at the end

The commands that start operations are all made alike, of these:

- ``_operations``: the commands; ``_flags``: their options, read off the operations' signatures
- ``_running``: one command, from its ids to its exit code; ``_starting``: what it starts
- ``_saving``: exports to files; ``_download``: one link to one file
"""

from stream_tasks.cli._app import main

__all__ = ["main"]
