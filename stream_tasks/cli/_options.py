"""What commands take alike, and the client that comes of it."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from stream_tasks._backoff import check_seconds
from stream_tasks._client import AsyncStream
from stream_tasks._http import auth, protocol

__all__ = ["connection_options", "make_client", "seconds", "seconds_or_none", "task_id"]

Command = TypeVar("Command", bound=Callable[..., Any])
Client = TypeVar("Client", bound=AsyncStream)


def seconds(value: str | float) -> float:
    """Read a number of seconds.

    Raises:
        click.BadParameter: It is none, or negative or infinite.
    """
    try:
        return check_seconds("it", float(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no finite number of seconds, 0 or more") from None


def seconds_or_none(value: str | float) -> float | None:
    """Read a number of seconds, or ``none`` for no limit.

    Raises:
        click.BadParameter: It is neither.
    """
    return None if value == "none" else seconds(value)


def task_id(value: str) -> str:
    """Return a task's id as it stands.

    Raises:
        click.BadParameter: It cannot be one.
    """
    try:
        return protocol.check_task_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def connection_options(command: Command) -> Command:
    """Add the options that say which app is asked, and where; `make_client` takes them."""
    url = click.option(
        "--base-url",
        metavar="URL",
        help=f"Where the API is; without it, {protocol.BASE_URL_VARIABLE} in the environment, "
        "else Stream's own address.",
    )
    key = click.option(
        "--api-key",
        metavar="KEY",
        help=f"The app's key; without it, {auth.KEY_VARIABLE} in the environment.",
    )
    return key(url(command))


def make_client(kind: type[Client], api_key: str | None, base_url: str | None) -> Client:
    """Make a client of what `connection_options` gave and of the environment.

    Raises:
        click.UsageError: Something is missing or wrong.
    """
    if api_key is None and not os.environ.get(auth.KEY_VARIABLE):
        raise click.UsageError(
            f"api_key is missing: give --api-key, or set {auth.KEY_VARIABLE} in the environment"
        )
    if not os.environ.get(auth.SECRET_VARIABLE):
        raise click.UsageError(
            f"api_secret is missing: set {auth.SECRET_VARIABLE} in the environment"
            " (no option takes it: other users could read it in the list of processes)"
        )
    try:
        return kind(api_key, base_url=base_url)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
