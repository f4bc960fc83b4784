"""The script ``stream-tasks``.

It is installed beside the package, whose import takes a moment: Ctrl-C in that moment ends the process as it
would end any other, without a traceback, since nothing has begun yet.
"""

import signal


def main() -> None:
    """Import the command line, and run it."""
    # A job in the background ignores Ctrl-C, and goes on doing so.
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from stream_tasks.__main__ import main as run

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
