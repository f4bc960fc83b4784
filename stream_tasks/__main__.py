"""``python -m stream_tasks``, and the script ``stream-tasks``."""

import signal
import sys

__all__ = ["main"]

_NEEDED = ("click", "rich")
_INTERRUPTED = 128 + 2


def main() -> None:
    """Run the command line, or say in one line what to install for it."""
    try:
        from stream_tasks.cli import main as run  # noqa: PLC0415 - what it needs may be missing
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write("The command line needs more packages: pip install 'stream_tasks[cli]'\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # the imports take a moment, and nothing has begun yet
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would be a traceback after all
        raise SystemExit(_INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()
