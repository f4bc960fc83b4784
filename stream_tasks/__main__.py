"""``python -m stream_tasks``, and the script ``stream-tasks``."""

import signal
import sys
from importlib.util import find_spec

__all__ = ["main"]

_NEEDED = ("click", "rich")
_INTERRUPTED = 128 + 2


def main() -> None:
    """Run the command line, or say in one line what to install for it."""
    # rich is not imported here: --help, usage errors and completion do without.
    if not all(map(find_spec, _NEEDED)):
        sys.stderr.write("The command line needs more packages: pip install click rich\n")
        raise SystemExit(2)
    try:
        from stream_tasks.cli import main as run  # noqa: PLC0415 - it needs click
    except KeyboardInterrupt:  # nothing has begun yet
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would print a traceback
        raise SystemExit(_INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()
