"""Servers of Debian's packages, each on a loopback port and in a directory of its own."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nobody listens on port {port}"
        time.sleep(0.05)


class Postgres:
    """A Postgres server. It does not run as root: for root, Debian's user ``postgres`` runs it."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        assert found, "install Debian's package postgresql"
        self._programs = found[-1].parent
        self._directory = Path(tempfile.mkdtemp(prefix="stream-tasks-postgres-"))
        self._as_user = []
        if os.getuid() == 0:
            self._as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self._directory, "postgres")
        self._user = "postgres" if self._as_user else getpass.getuser()
        self.port = free_port()
        self._databases = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self._directory / "data"), "-A", "trust", "-U", "postgres", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def start(self) -> None:
        arguments = ["-D", str(self._directory / "data"), "-p", str(self.port), "-h", "127.0.0.1"]
        settings = [
            f"unix_socket_directories={self._directory}",
            "max_connections=200",
            "shared_buffers=64MB",
        ]
        options = [word for setting in settings for word in ("-c", setting)]
        command = [*self._as_user, str(self._programs / "postgres"), *arguments, *options]
        log = (self._directory.parent / f"{self._directory.name}.log").open("ab")
        self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        log.close()
        _wait_for(self.port)
        deadline = time.monotonic() + 60
        while subprocess.run([*self._psql, "-c", "SELECT 1"], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, "Postgres does not answer"
            time.sleep(0.05)

    @property
    def _psql(self) -> list[str]:
        address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        return [str(self._programs / "psql"), address, "-q", "-t", "-A"]

    def stop(self) -> None:
        """Stop it at once, as a crash would: clients lose their connections."""
        if self._server is not None:
            self._run("pg_ctl", "stop", "-D", str(self._directory / "data"), "-m", "immediate")
            self._server.wait(30)
            self._server = None

    def database(self) -> str:
        """Make a database, and return its URL."""
        self._databases += 1
        name = f"waits{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str) -> str:
        done = subprocess.run([*self._psql, "-c", statement], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
        Path(f"{self._directory}.log").unlink(missing_ok=True)


class Redis:
    """A Redis server."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        assert program, "install Debian's package redis-server"
        self._directory = Path(tempfile.mkdtemp(prefix="stream-tasks-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._directory),
            "--save",
            "",
        ]
        self._server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        _wait_for(self.port)

    def remove(self) -> None:
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(30)
        shutil.rmtree(self._directory, ignore_errors=True)
