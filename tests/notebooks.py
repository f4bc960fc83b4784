"""Executes a notebook: ``python tests/notebooks.py FROM TO`` stores it with its outputs.

With the same file as FROM and TO, that brings the outputs of a notebook in ``examples`` up to date.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# It has types for some of its functions only.
nbformat: Any = import_module("nbformat")
nbclient: Any = import_module("nbclient")

LIMIT = 120
"""The limit of each cell, in seconds."""


def execute(source: Path, target: Path) -> None:
    """Execute a notebook from its first cell to its last, and store it with its outputs."""
    notebook = nbformat.read(source, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=LIMIT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": "."}},
    )
    client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    target.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    execute(*map(Path, sys.argv[1:]))
