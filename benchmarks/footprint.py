"""What importing and installing a library costs."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIBRARIES = ("aiohttp", "stream_tasks", "getstream")

# The interpreter's own start is no library's fault; nothing that one of them needs is there yet.
_IMPORT = """
import os, time
if {core!r} is not None: os.sched_setaffinity(0, [{core!r}])
begun = time.perf_counter()
import {library}
print(time.perf_counter() - begun)
"""


def measure(*, runs: int, core: int | None) -> dict[str, Any]:
    """Return for each library the seconds of its import and the bytes of its files, dependencies included."""
    times: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    with TemporaryDirectory() as cache:
        for number in range(-1, runs):
            for library in LIBRARIES if number % 2 else reversed(LIBRARIES):
                seconds = import_time(library, core, cache)
                if number >= 0:  # the first round compiles
                    times[library].append(seconds)
    return {
        library: {
            "import_seconds": statistics.median(times[library]),
            "ratio": statistics.median(
                mine / other for mine, other in zip(times[library], times["aiohttp"], strict=True)
            ),
            "bytes": sum(size(name) for name in closure(library)),
            "packages": len(closure(library)),
            "runs": runs,
        }
        for library in LIBRARIES
    }


def import_time(library: str, core: int | None, cache: str) -> float:
    """Import a library in a fresh interpreter, all of it compiled beforehand."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": cache}
    code = _IMPORT.format(core=core, library=library)
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
        ).stdout
    )


def closure(name: str) -> set[str]:
    """Return a distribution and all that it needs here, extras aside."""
    found: set[str] = set()
    pending = [name]
    while pending:
        current = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if current in found:
            continue
        try:
            needs = metadata.requires(current) or []
        except metadata.PackageNotFoundError:
            continue  # a marker that does not hold here
        found.add(current)
        pending += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs if "extra ==" not in need]
    return found


def size(name: str) -> int:
    """Return how many bytes a distribution's files have, compiled Python aside."""
    files = metadata.files(name) or []
    paths = [Path(str(file.locate())) for file in files]
    if not any(path.suffix == ".py" and path.parent.name == name.replace("-", "_") for path in paths):
        # An editable install lists a pointer to its files, not them.
        package = Path(__file__).parent.parent / name.replace("-", "_")
        paths = list(package.rglob("*")) or paths
    return sum(path.stat().st_size for path in paths if path.is_file() and path.suffix != ".pyc")
