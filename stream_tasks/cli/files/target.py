"""Files that exports are saved to."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self

import click

from stream_tasks._downloads.part_file import check_target
from stream_tasks.cli.ui.output import printable

__all__ = ["Target"]


class Target(NamedTuple):
    """Where exports go.

    Attributes:
        paths: A file for each of them.
        overwrite: Whether files that exist are replaced.
    """

    paths: list[Path]
    overwrite: bool

    @classmethod
    def of(cls, path: Path, count: int, *, overwrite: bool, saved: Collection[str | None] = ()) -> Self:
        """Name a file for each of `count` exports: of several, the first is ``NAME-1.json``, and so on.

        Args:
            path: The file, or what the names of several begin with.
            count: How many exports there are.
            overwrite: Whether files that exist are replaced.
            saved: The files that need not be written again.

        Raises:
            click.BadParameter: One of them cannot be written.
        """
        width = len(str(count))
        paths = [
            path if count == 1 else path.with_stem(f"{path.stem}-{number:0{width}}")
            for number in range(1, count + 1)
        ]
        for each in paths:
            if str(each) not in saved:
                _check(each, overwrite=overwrite)
        return cls(paths, overwrite)


def _check(path: Path, *, overwrite: bool) -> None:
    try:
        check_target(path, overwrite=overwrite)
    except FileExistsError:
        wrong = f"{path} exists already; --overwrite replaces it"
    except OSError as error:
        wrong = f"{error.filename} {error.strerror}"
    else:
        return
    raise click.BadParameter(printable(wrong), param_hint="'--output'")
