"""Where durable waits are kept: the database's address, how DBOS is set up on it, and who works there."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

import psycopg
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from stream_tasks._arguments import check_id

__all__ = ["DATABASE_ERRORS", "QUEUE", "WORKFLOW", "Database", "DuplicateWorkerError", "WorkerLock"]

DATABASE_ERRORS: Final = (SQLAlchemyError, psycopg.Error, sqlite3.Error)

DATABASE_VARIABLE: Final = "STREAM_DATABASE"

APP: Final = "stream-tasks"
SCHEMA: Final = "stream_tasks"
QUEUE: Final = "stream-tasks-waits"
WORKFLOW: Final = "stream_tasks.wait"

VERSION: Final = "stream-tasks-1"
"""The version of the workflow's steps. By default DBOS takes a hash of the code, and leaves all waits alone
that code of another version has made."""

THREADS: Final = 16
"""Threads for DBOS's statements. It would make any number of them."""

CONNECTIONS: Final = 8

LOCAL: Final = "local"
"""DBOS's own default for the id of a worker."""

# DBOS would write to stderr itself, past the app's logging, unless its logger has a handler.
logging.getLogger("dbos").addHandler(logging.NullHandler())
logging.getLogger("dbos").setLevel(logging.WARNING)


class DuplicateWorkerError(RuntimeError):
    """Raised when a worker with this id runs already; on SQLite, when any worker of the file does."""


class Database:
    """The address of a database.

    Args:
        database: A file, for SQLite; or the URL of a Postgres database. Without it, ``STREAM_DATABASE`` in
            the environment.

    Raises:
        TypeError: It is neither a text nor a path.
        ValueError: It is missing, or of another kind.
    """

    def __init__(self, database: str | os.PathLike[str] | None) -> None:
        given = os.environ.get(DATABASE_VARIABLE) if database is None else database
        if not given:
            raise ValueError(
                "database is missing: give a file for SQLite or the URL of a Postgres database,"
                f" or set {DATABASE_VARIABLE} in the environment"
            )
        if not isinstance(given, str | os.PathLike):
            raise TypeError(f"database must be a str or a path, not {type(given).__name__}")
        text = os.fspath(given)
        self.path: Path | None = None
        if "://" not in text:
            self.path = Path(text).absolute()
        else:
            try:
                url = make_url(text)
            except ArgumentError as exc:
                raise ValueError(f"database is not a valid URL: {exc}") from None
            kind = url.drivername.partition("+")[0]
            if kind == "sqlite" and url.database:
                self.path = Path(url.database).absolute()
            elif kind not in ("postgresql", "postgres") or not url.database:
                raise ValueError(
                    "database must be a file, or a URL that names a database:"
                    f" postgresql://…/name or sqlite:///file, not {url!r}"
                )
            # libpq and SQLAlchemy share this form.
            text = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self.url = text if self.path is None else f"sqlite:///{self.path}"

    def prepare(self) -> None:
        """Make a file of SQLite, which only its owner can read: results hold signed links."""
        if self.path is None:
            return
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            # It stays set. A commit then needs one sync of the disk rather than three.
            connection.execute("PRAGMA journal_mode=WAL")

    def migrate(self) -> None:
        """Bring the database's tables up to date."""
        self.prepare()
        DBOS.migrate(self.url, schema=SCHEMA)

    def client(self) -> DBOSClient:
        """Return a client; it connects when it is used."""
        return DBOSClient(
            system_database_url=self.url,
            dbos_system_schema=SCHEMA,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APP,
            retry_connection_errors=False,
            lazy=True,
        )

    def config(self, worker_id: str) -> DBOSConfig:
        """Return how DBOS runs in a worker."""
        return {
            "name": APP,
            "system_database_url": self.url,
            "dbos_system_schema": SCHEMA,
            "application_version": VERSION,
            "executor_id": worker_id,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "max_executor_threads": THREADS,
            "sys_db_pool_size": CONNECTIONS,
            "notification_listener_polling_interval_sec": 0.25,  # else it takes a second to stop
        }


class WorkerLock:
    """What only one living process can hold: a worker's id on Postgres, or the file on SQLite.

    The database lets go of it when the process ends, however that happens.
    """

    def __init__(self, database: Database, worker_id: str) -> None:
        self._database = database
        self._worker_id = worker_id
        self._connection: Any = None
        self._guard = threading.Lock()

    def acquire(self) -> None:
        """Take it, unless this process has it already.

        Raises:
            DuplicateWorkerError: Another process has it.
        """
        with self._guard:
            if self._connection is None:
                self._connection = self._sqlite() if self._database.path else self._postgres()
            elif not self._database.path and not self._is_alive():
                self._connection = None  # should this fail, too
                self._connection = self._postgres()

    def release(self) -> None:
        """Let go of it."""
        with self._guard:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _is_alive(self) -> bool:
        with contextlib.suppress(psycopg.Error):
            self._connection.execute("SELECT 1")
            return True
        return False

    def _sqlite(self) -> sqlite3.Connection:
        # A file beside it, since this one is locked for as long as the worker runs.
        path = f"{self._database.path}-worker"
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            connection.close()
            raise DuplicateWorkerError(
                f"another process runs the waits of {self._database.path}: SQLite bears one worker a file;"
                " give a Postgres database for several, or use a WaitClient here"
            ) from None
        return connection

    def _postgres(self) -> psycopg.Connection[Any]:
        # If the worker's machine dies, the server notices after 25 seconds rather than two hours.
        options = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
        connection = psycopg.connect(self._database.url, autocommit=True, options=options)
        name = f"{SCHEMA}:{self._worker_id}"
        found = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
        if found is None or not found[0]:
            connection.close()
            raise DuplicateWorkerError(
                f"a worker with the id {self._worker_id!r} is running: each worker needs a worker_id of its"
                " own, the same after a restart"
            )
        return connection


def check_worker_id(database: Database, worker_id: str | None) -> str:
    """Return a worker's id; on SQLite, which has one worker, it is always the same.

    Raises:
        TypeError: It is not a text.
        ValueError: It is empty, or missing on Postgres.
    """
    if worker_id is not None:
        check_id("worker_id", worker_id)
    if database.path is not None:
        return LOCAL
    if worker_id is None:
        raise ValueError(
            "worker_id is missing: on Postgres each worker needs an id of its own, the same after a"
            " restart, under which it finds its waits again; a StatefulSet's pod name, say"
        )
    if worker_id == LOCAL:
        raise ValueError(f"worker_id must not be {LOCAL!r}, which is the id of a worker that was given none")
    return worker_id
