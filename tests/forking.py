"""Processes that begin with everything imported, forked from a server that has a single thread.

To start Python and import the command line takes most of a second, and several times that under coverage. A
fork takes milliseconds, and is a process like any: it has descriptors, a terminal, an environment, a folder,
arguments and an exit code of its own, signals reach it, and the interpreter ends as it always does.

Only what Python does at its start cannot be seen in a fork: nothing is left to import, and most flags and
PYTHON* variables come too late. Tests of these start Python.

This file is both what tests import and what the server runs.
"""

import atexit
import contextlib
import faulthandler
import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any, TextIO, TypeAlias, cast

import coverage

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

PATIENCE = 200.0
"""Seconds that no process takes on the busiest of machines."""

AT_ONCE = 5.0
"""Seconds: more than what is done at once takes on the busiest of machines, and less than all else takes."""

PROGRAM = "exec(*__import__('forking').serve())"
"""What the server runs, and its children go on with."""

Work: TypeAlias = tuple[types.CodeType, dict[str, Any]]
"""What a child is to run, and the names of its ``__main__``."""

MEASURED = "COVERAGE_PROCESS_"
"""Variables begin with it that have coverage.py measure a process."""

NOT_FOR_THE_SERVER = (MEASURED, "PYTHONUNBUFFERED")


class ForkServer:
    """Starts programs by forking.

    Args:
        modules: What to import first; of a package, all its modules.
    """

    def __init__(self, *modules: str) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno()), *modules],
                cwd=Path(__file__).parent,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={
                    name: value
                    for name, value in os.environ.items()
                    if not name.startswith(NOT_FOR_THE_SERVER)
                },
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End the server; what it started goes on."""
        self._control.close()
        self._process.wait()

    def connect(self) -> socket.socket:
        """Return a connection to the parent of a process to be."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"1"], [theirs.fileno()])
        return ours


@functools.cache
def fork_server() -> ForkServer:
    """Return the one that has imported all of this package."""
    return ForkServer("stream_tasks")


class Forked(subprocess.Popen[str]):
    """A Python program as ``python -c CODE ARGS`` would run it, in a process that was forked.

    Args:
        server: Who forks.
        code: The program.
        args: Its arguments.
        closed: Which of the descriptors 0, 1 and 2 are closed.
        terminal: A terminal to control it, in a session of its own.
        path: Where the code stands, if in a file.
        flags: Python's: each ``-W``, and what of ``-X dev`` can be had after the start.
        options: stdin, stdout, stderr, cwd and env, as for any process.
    """

    def __init__(
        self,
        server: ForkServer,
        code: str,
        *args: str,
        closed: tuple[int, ...] = (),
        terminal: int | None = None,
        path: str | None = None,
        flags: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        self._server = server
        self._order = {"code": code, "args": args, "closed": closed, "path": path, "flags": flags}
        self._terminal = terminal
        super().__init__([path or "-c", *args], text=True, **options)

    # These three are what Popen itself has for each system; all else is Popen's.

    def _execute_child(self, *given: Any) -> None:
        cwd, env = given[5:7]
        pipes = given[10:16]  # of each stream the end to read, then the end to write
        asked = [pipes[0], pipes[3], pipes[5]]
        fds = [number if fd == -1 else fd for number, fd in enumerate(asked)]
        if self._terminal is not None:
            fds.append(self._terminal)
        order = {"cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ), **self._order}
        self._parent = self._server.connect()
        socket.send_fds(self._parent, [b"1"], fds)
        self._told = self._parent.makefile("r")
        self._parent.sendall(json.dumps(order).encode() + b"\n")
        self.pid = int(self._told.readline())
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        return self._look(0)

    def _wait(self, timeout: float | None) -> int:
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._parent], [], [], timeout)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
            self._parent.close()
        return self.returncode


# The server's program


def import_all(name: str) -> None:
    """Import a module, and of a package all that is in it and can be imported."""
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
        if not found.name.endswith(".__main__"):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                # The package of an extra need not be there.
                if error.name is None or error.name.startswith(name):
                    raise


def serve() -> Work:
    """Fork for each that asks, until nobody can any more; returns, in a fork of a fork, what it is to run."""
    number, *modules = sys.argv[1:]
    for name in modules:
        import_all(name)
    gc.collect()
    gc.freeze()  # the end of a child then need not go through all that was imported
    control = socket.socket(fileno=int(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for the tests, which end it
    while fds := socket.recv_fds(control, 1, 1)[1]:
        assert threading.active_count() == 1
        if not os.fork():
            control.close()
            return be_parent(socket.socket(fileno=fds[0]))
        os.close(fds[0])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    sys.exit()


def be_parent(told: socket.socket) -> Work:
    """Tell the number of a child and how it ended; returns, in the child, what it is to run."""
    fds = socket.recv_fds(told, 1, 4)[1]
    with told.makefile("r") as lines:
        order: dict[str, Any] = json.loads(lines.readline())
    child = os.fork()
    if not child:
        told.close()
        prepare(order, *fds)
        return compile(order["code"], order["path"] or "<string>", "exec"), make_main(order["path"])
    for fd in fds:
        os.close(fd)
    told.sendall(b"%d\n" % child)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # who does not wait for it need not be told
        told.sendall(b"%d\n" % status)
    os._exit(0)


def prepare(order: dict[str, Any], stdin: int, stdout: int, stderr: int, terminal: int | None = None) -> None:
    """Make the process what Python makes of one at its start."""
    if terminal is not None:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number, fd in enumerate((stdin, stdout, stderr)):
        os.dup2(fd, number)
    os.closerange(3, max(stdin, stdout, stderr, terminal or 0) + 1)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None if number in order["closed"] else opened(number, name, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        if stream is None:
            os.close(number)
    sys.argv = [order["path"] or "-c", *order["args"]]
    if order["path"]:
        sys.path[0] = str(Path(order["path"]).parent)
    sys.excepthook = show
    set_flags(order["flags"])
    if any(name.startswith(MEASURED) for name in os.environ):
        coverage.process_startup()


def set_flags(flags: list[str]) -> None:
    """Do what flags of Python would have done."""
    for flag, value in itertools.pairwise(flags):
        if (flag, value) == ("-X", "dev"):
            faulthandler.enable()
            os.environ["PYTHONASYNCIODEBUG"] = "1"
        elif flag == "-W":
            sys.warnoptions.append(value)
            warnings._setoption(value)  # type: ignore[attr-defined] # so does Python


def make_main(path: str | None) -> dict[str, Any]:
    """Make an empty ``__main__``; the server's own is frozen, and what it held would not be collected."""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    if path:
        module.__file__ = path
    return module.__dict__


def opened(number: int, name: str, like: TextIO) -> TextIO:
    """Open a standard stream as Python does."""
    stream: Any = open(  # noqa: SIM115 - the interpreter closes it
        number,
        like.mode,
        buffering=1 if number == 2 else -1,
        encoding=like.encoding,
        errors=like.errors,
        newline="\n",
        closefd=False,
    )
    stream.buffer.raw.name = f"<{name}>"
    return cast("TextIO", stream)


def show(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Show what was not caught without the frame of `PROGRAM`."""
    trace = trace and trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)
