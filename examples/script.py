"""Export channels with a script that may be killed at any moment: it needs no server but Stream's.

    $ pip install '.[durable]'
    $ export STREAM_API_KEY=… STREAM_API_SECRET=…
    $ python examples/script.py messaging:general livestream:news

Run it again after a crash, or a reboot: it goes on where it was, and starts no export twice. The links are
written to a file for each channel, and last for 24 hours.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from stream_tasks import ExportChannelsResult, Stream
from stream_tasks.durable import BlockingDurableWaits, TaskEnd


def main(cids: list[str]) -> int:
    """Export channels, and return the exit code."""
    today = datetime.now(UTC).date()
    with Stream() as client:
        waits = BlockingDurableWaits(client, "exports.db")

        @waits.on_end("exported")
        def exported(end: TaskEnd[ExportChannelsResult]) -> None:
            # This may run twice for one export, after a crash: it then writes the same file again.
            text = end.result.url if end.result is not None else f"failed: {end.error}"
            if end.may_have_started:
                text = f"it may have been started: look before you start it again ({end.error})"
            Path(f"{end.key}.txt").write_text(f"{text}\n", encoding="utf-8")

        with waits:
            keys = [
                waits.start(
                    client.export_channels,
                    [{"cid": cid}],
                    handler="exported",
                    key=f"{cid.replace(':', '-')}-{today}",  # one export of a channel a day
                    timeout=6 * 3600,
                )
                for cid in cids
            ]
            while waits.pending():
                time.sleep(1)
            ends = [waits.outcome(key) for key in keys]
    for end in ends:
        print(end)
    return 0 if all(end is not None and end.ok for end in ends) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
