"""The client that a command uses."""

from collections.abc import Mapping
from typing import Any

import click

from stream_tasks._client import AsyncStream

__all__ = ["make_client"]


def make_client(options: Mapping[str, Any]) -> AsyncStream:
    """Make a client.

    Args:
        options: What `stream_tasks.cli.options.client_options` returned.

    Raises:
        click.UsageError: An option, or a variable in its place, is invalid.
    """
    try:
        return AsyncStream(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
