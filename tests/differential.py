"""A server that plays random answers from a seed, and the plainest client there is, to compare ours with."""

import gzip
import json
import random
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, Self, TypeAlias

from attrs import field, frozen

__all__ = [
    "BOM",
    "Outcome",
    "Play",
    "Player",
    "ask_plainly",
    "echo",
    "good",
    "plays",
    "split",
    "wait_plainly",
]

Outcome: TypeAlias = tuple[str, Any]
"""What a call came to: the kind of the end, and what was told."""

CRLF = b"\r\n"
BOM = b"\xef\xbb\xbf"
PASSING = {304, 404, 408, 425, 429, 500, 502, 503, 504, 599}
"""Statuses after which a wait goes on; a 404 for as long as these tests last."""


@frozen
class Play:
    """One answer, as it is put on the wire.

    Attributes:
        segments: What is written at a time, with a pause in between.
        pause: How long the pauses are, in seconds.
        end: What is done with the connection: it is kept, closed, reset, or closed for writing.
        aside: What is said on it later, though nobody asks.
    """

    segments: list[bytes]
    pause: float = 0.0
    end: str = "keep"
    aside: bytes = b""


Compose: TypeAlias = Callable[[str], Play]
"""Makes the answer to a request from the last segment of its path."""


class Player:
    """Answers one request after another as `script` says, over however many connections they come."""

    def __init__(self, script: list[Compose], last: Compose) -> None:
        self._script = list(reversed(script))
        self._last = last
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[str] = []
        self._played = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for open_socket in (self._listener, *self._sockets):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        for open_socket in (self._listener, *self._sockets):
            open_socket.close()

    def settle(self) -> None:
        """Wait until all has been said, also what nobody asked for."""
        while True:
            with self._lock:
                is_over = self._played == len(self.asked)
            time.sleep(0.01)  # a busy machine may hand on a little late what was sent
            if is_over:
                return

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                # Or what is said unasked may be held back until something is asked.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(connection)
                thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        received = b""
        with suppress(OSError):
            while True:
                while b"\r\n\r\n" not in received:
                    chunk = connection.recv(2**16)
                    if not chunk:
                        return
                    received += chunk
                head, _, received = received.partition(b"\r\n\r\n")
                _, _, length = head.lower().partition(b"content-length: ")
                while len(received) < int(length.partition(CRLF)[0] or 0):
                    received += connection.recv(2**16)
                received = received[int(length.partition(CRLF)[0] or 0) :]
                if not self._answer(connection, head.split()[1].partition(b"?")[0].decode()):
                    return

    def _answer(self, connection: socket.socket, path: str) -> bool:
        with self._lock:
            self.asked.append(path)
            compose = self._script.pop() if self._script else self._last
        play = compose(path.rpartition("/")[2])
        try:
            return self._perform(connection, play)
        finally:
            with self._lock:
                self._played += 1

    def _perform(self, connection: socket.socket, play: Play) -> bool:
        for segment in play.segments:
            connection.sendall(segment)
            if play.pause:
                time.sleep(play.pause)
        if play.aside:
            time.sleep(0.01)
            connection.sendall(play.aside)
        if play.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if play.end in ("close", "reset"):
            connection.close()
        elif play.end == "half":
            connection.shutdown(socket.SHUT_WR)
        return play.end == "keep"


# What is played


def snapshot(task_id: str, rng: random.Random, **fields: Any) -> bytes:
    moment: Any = rng.choice([1_700_000_000_000_000_000, "2026-05-01T12:00:00.123456789Z"])
    told = {"task_id": task_id, "created_at": moment, "updated_at": moment} | fields
    return json.dumps(told, ensure_ascii=rng.random() < 0.5).encode()


def head(rng: random.Random, status: int, *headers: bytes) -> bytes:
    reason = rng.choice([b" OK", b" ", b" Something Else"])
    fields = [*headers, b"X-Large: " + b"x" * rng.choice([0, 10, 9_000])]
    rng.shuffle(fields)
    version = b"HTTP/1.1 "
    return CRLF.join([version + str(status).encode() + reason, *fields, b"", b""])


def packed(rng: random.Random, content: bytes) -> tuple[list[bytes], bytes]:
    """Put a content coding on, or none, and break it now and then."""
    cut = rng.randrange(len(content)) if content else 0
    coding, body = rng.choice(
        [
            (b"", content),
            (b"", content),
            (b"identity", content),
            (b"gzip", gzip.compress(content)),
            (b"x-gzip", gzip.compress(content)),
            (b"gzip", gzip.compress(content[:cut]) + gzip.compress(content[cut:])),
            (b"gzip", gzip.compress(content) + bytes(7)),
            (b"deflate", zlib.compress(content)),
            (b"deflate", zlib.compress(content)[2:-4]),
            (b"gzip", gzip.compress(content)[: -rng.randint(1, 12)]),
            (b"gzip", gzip.compress(content) + b"garbage"),
            (b"gzip", content),
            (b"br", content),
        ]
    )
    return ([b"Content-Encoding: " + coding] if coding else []), body


def chunks(rng: random.Random, content: bytes) -> bytes:
    parts = []
    while content:
        size = rng.randint(1, max(1, len(content)))
        extension = rng.choice([b"", b"", b";name=value"])
        parts.append(b"%x%b\r\n%b\r\n" % (size, extension, content[:size]))
        content = content[size:]
    trailer = rng.choice([b"", b"", b"X-Trailer: x\r\n"])
    return b"".join(parts) + b"0\r\n" + trailer + CRLF


def framed(rng: random.Random, status: int, content: bytes, theirs: bytes) -> Play:
    """Put content into an answer, in one of the ways there are, good and bad."""
    headers, body = packed(rng, content)
    length = b"Content-Length: %d" % len(body)
    way = rng.choice(
        ["length", "length", "length", "chunks", "chunks", "close", "short", "long", "cut", "100"]
    )
    end, aside = "keep", b""
    if way == "chunks":
        message = head(rng, status, b"Transfer-Encoding: chunked", *headers) + chunks(rng, body)
    elif way == "close":
        message, end = head(rng, status, b"Connection: close", *headers) + body, "close"
    elif way == "short":  # then the rest of the body stands where the next answer is expected
        length = b"Content-Length: %d" % rng.randint(0, len(body))
        message = head(rng, status, length, *headers) + body
    elif way == "long":
        length = b"Content-Length: %d" % (len(body) + rng.randint(1, 9))
        message, end = head(rng, status, length, *headers) + body, rng.choice(["close", "half"])
    elif way == "cut":
        message = head(rng, status, length, *headers) + body
        message, end = message[: rng.randrange(len(message))], rng.choice(["close", "reset", "half"])
    else:
        message = head(rng, status, length, *headers) + body
        if way == "100":
            message = b"HTTP/1.1 100 Continue\r\n\r\n" + message
    if end == "keep":
        message += rng.choice([*[b""] * 9, theirs, theirs[: rng.randint(1, 40)], b"garbage\r\n\r\n"])
        aside = rng.choice([b"", b"", theirs, theirs[: rng.randint(1, 40)], b"bye\r\n"])
        end = rng.choice(["keep", "keep", "keep", "close", "half"])
    places = sorted(rng.sample(range(len(message)), min(len(message), rng.choice([0, 0, 1, 3]))))
    segments = [message[a:b] for a, b in zip([0, *places], [*places, len(message)], strict=True)]
    return Play(segments, rng.choice([0.0, 0.002]), end, aside)


def split(message: bytes, step: int) -> list[bytes]:
    """Part a message into pieces of so many bytes, or none."""
    return [message[i : i + step] for i in range(0, len(message), step)] if step else [message]


def wordless(rng: random.Random) -> Play:
    return Play(
        rng.choice([[], [b"HELLO\r\n\r\n"], [b"\x15\x03\x03\x00\x02\x02\x50"], [bytes(99)]]),
        end=rng.choice(["close", "reset"]),
    )


def refused(rng: random.Random, theirs: bytes, *, may_be_final: bool) -> Play:
    code = rng.choice(sorted(PASSING))
    if may_be_final and rng.random() < 0.3:
        code = rng.choice([300, 302, 307, 400, 401, 403, 407, 413, 422])
    if code == 304:  # it has no body, whatever its headers say
        return Play([b"HTTP/1.1 304 Not Modified\r\n\r\n"])
    envelope = json.dumps({"code": 4, "message": "no", "StatusCode": code}).encode()
    return framed(rng, code, rng.choice([envelope, b"<html><h1>Trouble</h1></html>"]), theirs)


def good(content: bytes) -> Play:
    return Play([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)])


@frozen
class Script:
    """What one seed stands for.

    Attributes:
        task_id: The task.
        outcome: What becomes of it.
        composed: The answers, in order.
        last: What follows them: the task's end.
    """

    task_id: str
    outcome: Outcome
    composed: list[Compose] = field(repr=False)
    last: Compose = field(repr=False)


def plays(seed: int) -> Script:
    """Make a script. Each answer is made of the seed alone, whoever asks for it."""
    rng = random.Random(seed)
    result = {"for": f"task-{seed}", "text": "ü…\u2028", "number": seed}
    outcome: Outcome = ("completed", result)
    end: dict[str, Any] = {"status": "completed", "result": result}
    if rng.random() < 0.2:
        outcome = ("failed", f"type-{seed}")
        end = {"status": "failed", "error": {"type": f"type-{seed}", "description": "it broke"}}

    def answer(number: int) -> Compose:
        return lambda asked: passing_play(random.Random(f"{seed}.{number}"), asked, end)

    composed = [answer(number) for number in range(rng.randint(0, 7))]
    return Script(f"task-{seed}", outcome, composed, lambda asked: good(snapshot(asked, rng, **end)))


def passing_play(rng: random.Random, asked: str, end: dict[str, Any]) -> Play:
    """Answer a look at a task that may have ended, or not at all."""
    others = snapshot("theirs", rng, status="completed", result={"for": "theirs"})
    theirs = good(others).segments[0]
    kind = rng.choice(["status", "status", "end", "theirs", "error", "error", "final", "wordless"])
    if kind == "wordless":
        return wordless(rng)
    if kind in ("error", "final"):
        return refused(rng, theirs, may_be_final=kind == "final")
    if kind == "theirs":
        content = others
    elif kind == "end":
        content = rng.choice([b"", BOM, b" \n"]) + snapshot(asked, rng, **end)
    else:
        content = snapshot(asked, rng, status=rng.choice(["pending", "running", "odd"]))
    return framed(rng, rng.choice([200, 201]), content, theirs)


def echo(seed: str, asked: str) -> Play:
    """Answer with what was asked, or with an error."""
    rng = random.Random(seed)
    theirs = good(b'{"asked": "theirs"}').segments[0]
    if rng.random() < 0.1:
        return wordless(rng)
    code = rng.choice([200, 200, 200, 201, 400, 429, 503])
    return framed(rng, code, json.dumps({"asked": asked}).encode(), theirs)


# The plainest client


def decoded(content: bytes, coding: str | None) -> Any:
    """Undo a content coding, and read JSON. Raise ValueError where that is not whole."""
    coding = (coding or "identity").lower()
    try:
        if coding in ("gzip", "x-gzip"):
            content = gzip.decompress(content)
        elif coding == "deflate":
            form = zlib.MAX_WBITS if content[:1] and content[0] & 0xF == 8 else -zlib.MAX_WBITS
            inflate = zlib.decompressobj(form)
            content = inflate.decompress(content)
            if not inflate.eof or inflate.unused_data:
                raise ValueError("not whole")
        elif coding != "identity":
            raise ValueError(coding)
    except (OSError, EOFError, zlib.error) as exc:
        raise ValueError(str(exc)) from exc
    return json.loads(content.decode("utf-8-sig"))


def ask_plainly(url: str, method: str, path: str, body: bytes | None = None) -> Outcome:
    """Ask once, over a connection of its own, which nobody else's answer can reach.

    Returns:
        ``("good", JSON)``, ``("status", number)``, or ``("broken", why)``.
    """
    connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request(method, path, body, {"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            return "status", answer.status
        return "good", decoded(content, answer.headers.get("Content-Encoding"))
    except (OSError, HTTPException, ValueError) as exc:
        return "broken", repr(exc)
    finally:
        connection.close()


def wait_plainly(url: str, task_id: str) -> Outcome:
    """Look at a task until it has ended.

    Returns:
        ``("completed", result)``, ``("failed", type)`` or ``("status", number)``.
    """
    while True:
        kind, told = ask_plainly(url, "GET", f"/api/v2/tasks/{task_id}")
        if kind == "status" and told not in PASSING:
            return kind, told
        if kind == "good" and isinstance(told, dict) and told.get("task_id") == task_id:
            if told["status"] == "completed":
                return "completed", told["result"]
            if told["status"] == "failed":
                return "failed", told["error"]["type"]
