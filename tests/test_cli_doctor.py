"""The doctor: each trouble is named in plain words, with what to do, and has its exit code."""

import asyncio
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple, TypeAlias

import pytest
import trustme
from aiohttp import web
from commandline import start
from forking import PATIENCE

from stream_tasks._http.auth import Credentials
from stream_tasks._http.transport import Answer
from stream_tasks._secret import Secret
from stream_tasks.cli.app import commands
from stream_tasks.cli.doctor import answer, network
from stream_tasks.cli.doctor.report import CHECKS, EXIT_CODES, BlockedError, Report
from stream_tasks.testing import FakeStream, Fault

SECRET = "a-secret-of-this-test-file-which-no-output-may-ever-hold-000000"
PAGE = (Path(__file__).parents[1] / "docs/reference/command-line.rst").read_text()
NO_SCHEME = "characters, from STREAM_BASE_URL: it does not begin with https://"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzZXJ2ZXIiOnRydWV9.c2lnbmF0dXJlLW9mLXRlc3Rz"


class Said(NamedTuple):
    """What a run of the doctor said."""

    code: int
    checks: dict[str, dict[str, Any]]
    err: str

    def said(self, check: str) -> tuple[str, str]:
        """Return how a check ended, and what was found."""
        return self.checks[check]["state"], self.checks[check]["message"]

    def states(self) -> dict[str, str]:
        return {name: check["state"] for name, check in self.checks.items()}


Run: TypeAlias = Callable[..., Said]
Lines: TypeAlias = Callable[..., tuple[int, str]]


@pytest.fixture
def server() -> Iterator[FakeStream]:
    with FakeStream(api_secret=SECRET, rate_limit=300) as server:
        yield server


@pytest.fixture(autouse=True)
def env(server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_BASE_URL", server.url)
    monkeypatch.setenv("STREAM_API_KEY", server.api_key)
    monkeypatch.setenv("STREAM_API_SECRET", SECRET)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        commands(["doctor", "--timeout", "5", *args], prog_name="stream-tasks")
    out, err = capsys.readouterr()
    for hidden in (SECRET, SECRET[:12], TOKEN, TOKEN[-12:], "eyJ"):
        assert hidden not in out + err
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run it with ``--json``; the report must be whole, in order, and consistent with the exit code."""

    def run(*args: str) -> Said:
        code, out, err = call(capsys, "--json", *args)
        report = json.loads(out)
        assert list(report) == ["ok", "exit_code", "checks"]
        assert [check["check"] for check in report["checks"]] == list(CHECKS)
        failures = [check["check"] for check in report["checks"] if check["state"] == "failed"]
        assert code == report["exit_code"] == (CHECKS[failures[0]].exit_code if failures else 0)
        assert report["ok"] is (not failures)
        for check in report["checks"]:
            assert list(check) == ["check", "state", "message", "advice"]
            assert check["message"]
            assert bool(check["advice"]) is (check["state"] in ("warning", "failed"))
        return Said(code, {check["check"]: check for check in report["checks"]}, err)

    return run


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Run it for people."""

    def lines(*args: str) -> tuple[int, str]:
        code, out, err = call(capsys, *args)
        assert err == ""
        return code, out

    return lines


class TestWhole:
    def test_ready(self, lines: Lines, server: FakeStream) -> None:
        """When all is well there is one line for each check, and the quota is put into words."""
        code, out = lines()
        assert code == 0
        assert [line[9:25].rstrip() for line in out.splitlines()[:-2]] == [
            check.label for check in CHECKS.values()
        ]
        assert "ok       API key         8 characters, from STREAM_API_KEY\n" in out
        assert "ok       API secret      63 characters, from STREAM_API_SECRET\n" in out
        assert "ok       authentication  the key fake-key and its secret are accepted\n" in out
        assert "at 300 a minute, 1,000 tasks are each polled every 3.3 min" in out
        assert out.endswith("\n\nReady.\n")
        assert len(server.requests) == 1

    def test_failures(self, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        """What to do stands below what failed; the last line names all that failed."""
        monkeypatch.delenv("STREAM_API_KEY")
        monkeypatch.setenv("STREAM_API_SECRET", "")
        code, out = lines()
        assert code == 10
        assert (
            "failed   API key         missing\n"
            "                         -> Set STREAM_API_KEY in the environment, or give --api-key. "
            "Stream's dashboard (https://dashboard.getstream.io) shows it.\n"
        ) in out
        assert "skipped  authentication  the key or the secret is wrong, and nothing was sent\n" in out
        assert out.endswith("\n2 checks failed: API key, API secret. Begin with the first.\n")

    def test_one_failure(self, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        """A single failure is named alone."""
        monkeypatch.delenv("STREAM_API_KEY")
        assert lines()[1].endswith("\n1 check failed: API key.\n")

    def test_warnings(self, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        """Warnings alone exit with 0, and are counted."""
        monkeypatch.setenv("HTTP_PROXY", "http://user:password@proxy:3128")
        code, out = lines()
        assert code == 0
        assert "password" not in out
        assert out.endswith("\nReady, with 1 warning.\n")

    def test_eighty_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal lines are folded to its width, each below its own beginning."""
        pty = pytest.importorskip("pty", reason="terminals are tested where there are ptys")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("STREAM_API_SECRET", SECRET[::-1])
        leader, follower = pty.openpty()
        process = start("doctor", stdin=follower, stdout=follower, stderr=follower)
        os.close(follower)
        shown = b""
        try:
            while chunk := os.read(leader, 65536):
                shown += chunk
        except OSError:  # Linux' way to say that nobody has the terminal open any more
            pass
        os.close(leader)
        assert process.wait(PATIENCE) == 16
        assert b"\x1b[1;31mfailed   authentication" in shown
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r", "")
        assert max(map(len, plain.splitlines())) <= 80
        assert (
            "failed   authentication  the token's signature does not fit (HTTP 401, code 43)\n"
            "                         -> Copy the key and the secret again, both from the\n"
            "                            same app in Stream's dashboard.\n"
        ) in plain

    def test_exit_codes(self) -> None:
        """Each exit code is explained in the help and the reference, and none is one of those of `wait`."""
        codes = {check.exit_code for check in CHECKS.values()}
        assert codes == set(EXIT_CODES) - {0, 2}
        assert codes.isdisjoint({0, 1, 2, 3, 4, 130})
        for code in codes:
            assert f"{code} {EXIT_CODES[code].partition(':')[0]}" in PAGE.replace("\n", " ")

    def test_reference(self, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        """The reference shows what is printed, but for port and times."""
        block = re.search(r"    \$ stream-tasks doctor\n((?:    .*\n|\n)+)", PAGE)
        assert block is not None
        key = "k3mz8wq2xv7p"
        monkeypatch.setenv("STREAM_API_KEY", key)
        monkeypatch.setenv("STREAM_API_SECRET", SECRET[::-1] + "0")
        with FakeStream(api_key=key, api_secret=SECRET) as server:
            _, out = lines("--timeout", "5", "--base-url", server.url)
        shown, printed = (
            re.sub(r"127\.0\.0\.1:\d+|\d+ ms", "...", text.strip()) for text in (dedent(block[1]), out)
        )
        assert printed.replace("from --base-url", "from STREAM_BASE_URL") == shown


class TestCredentials:
    @pytest.mark.parametrize(
        ("key", "message"),
        [
            pytest.param(None, "missing", id="missing"),
            pytest.param("", "STREAM_API_KEY is set, but empty", id="empty"),
            pytest.param(" \t", "STREAM_API_KEY is set, but empty", id="blank"),
            pytest.param("abc ", "4 characters, from STREAM_API_KEY: blanks, ", id="blank behind"),
            pytest.param("\nabc", "4 characters, from STREAM_API_KEY: blanks, ", id="line break before"),
            pytest.param("'abc'", "5 characters, from STREAM_API_KEY: blanks, ", id="in quotes"),
            pytest.param("${KEY}", "6 characters, from STREAM_API_KEY: blanks, ", id="a variable"),
            pytest.param("<key>", "5 characters, from STREAM_API_KEY: blanks, ", id="an example"),
            pytest.param("a b", "3 characters, from STREAM_API_KEY: blanks, ", id="blank inside"),
            pytest.param("kéy", "3 characters, from STREAM_API_KEY: blanks, ", id="no ASCII"),
            pytest.param(
                TOKEN, f"{len(TOKEN)} characters, from STREAM_API_KEY: that is a token (JWT)", id="a token"
            ),
            pytest.param(
                SECRET, "63 characters, from STREAM_API_KEY: the same text as the secret", id="the secret"
            ),
        ],
    )
    def test_key(
        self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, key: str | None, message: str
    ) -> None:
        """A key that cannot be one is never sent."""
        monkeypatch.delenv("STREAM_API_KEY")
        if key is not None:
            monkeypatch.setenv("STREAM_API_KEY", key)
        report = run()
        assert report.code == 10
        state, said = report.said("api_key")
        assert (state, said[: len(message)]) == ("failed", message)
        assert report.checks["dns"]["state"] == "ok"
        for check in list(CHECKS)[6:]:
            assert report.said(check) == ("skipped", "the key or the secret is wrong, and nothing was sent")
        assert not server.requests

    @pytest.mark.parametrize(
        ("secret", "message"),
        [
            pytest.param(None, "missing", id="missing"),
            pytest.param(f"{SECRET}\n", "64 characters, from STREAM_API_SECRET: blanks, ", id="\\n"),
            pytest.param(
                TOKEN, f"{len(TOKEN)} characters, from STREAM_API_SECRET: that is a token (JWT)", id="a token"
            ),
        ],
    )
    def test_secret(
        self,
        run: Run,
        server: FakeStream,
        monkeypatch: pytest.MonkeyPatch,
        secret: str | None,
        message: str,
    ) -> None:
        """A secret that cannot be one signs nothing."""
        monkeypatch.delenv("STREAM_API_SECRET")
        if secret is not None:
            monkeypatch.setenv("STREAM_API_SECRET", secret)
        report = run()
        assert report.code == 10
        state, said = report.said("api_secret")
        assert (state, said[: len(message)]) == ("failed", message)
        assert not server.requests

    def test_swapped(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """Key and secret in each other's place are seen by their lengths, before the secret is in a URL."""
        monkeypatch.setenv("STREAM_API_KEY", SECRET)
        monkeypatch.setenv("STREAM_API_SECRET", server.api_key)
        report = run()
        assert report.code == 10
        assert report.said("api_key") == (
            "failed",
            "63 characters, from STREAM_API_KEY: that looks like a secret; are key and secret swapped?",
        )
        assert report.said("api_secret") == (
            "failed",
            "8 characters, from STREAM_API_SECRET: that looks like a key; are key and secret swapped?",
        )
        assert not server.requests

    def test_short_secret(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret that is too short for one of Stream's is tried, with a warning."""
        monkeypatch.setenv("STREAM_API_SECRET", SECRET[:20])
        report = run()
        assert report.said("api_secret") == (
            "warning",
            "20 characters, from STREAM_API_SECRET; Stream's have 64",
        )
        assert report.code == 16

    def test_sources(
        self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Options come before the environment, and it is said which of them a value came from."""
        for name in ("STREAM_API_KEY", "STREAM_API_SECRET", "STREAM_BASE_URL"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("STREAM_REQUEST_TIMEOUT", "12.5")
        path = tmp_path / "secret"
        path.write_text(SECRET)
        report = run("--api-key", server.api_key, "--api-secret-file", str(path), "--base-url", server.url)
        assert (report.code, report.err) == (0, "")
        assert report.said("api_key")[1].endswith(", from --api-key")
        assert report.said("api_secret")[1].endswith(", from --api-secret-file")
        assert report.said("base_url")[1].endswith(", from --base-url")
        assert report.said("request_timeout")[1] == "12.5 s for each request, from STREAM_REQUEST_TIMEOUT"

    def test_secret_as_an_option(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret given as an option is taken, with the warning that others can see it."""
        monkeypatch.delenv("STREAM_API_SECRET")
        report = run("--api-secret", SECRET)
        assert report.code == 0
        assert report.said("api_secret")[1] == "63 characters, from --api-secret"
        assert report.err.startswith("Warning: other users can read the value of --api-secret")


class TestEnvironment:
    @pytest.mark.parametrize(
        ("url", "message"),
        [
            pytest.param("chat.stream-io-api.com", f"22 {NO_SCHEME}", id="no scheme"),
            pytest.param("localhost:18080", f"15 {NO_SCHEME}", id="host and port"),
            pytest.param(SECRET, f"63 {NO_SCHEME}", id="the secret"),
            pytest.param("ftp://x", "must be an http(s) URL such as", id="ftp"),
            pytest.param("https://me:word@x", "must not hold user information", id="a password"),
            pytest.param("https://x/api/v2/", "must end before /api/v2", id="with the API's path"),
        ],
    )
    def test_base_url(self, run: Run, monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
        """A base URL that cannot be right ends the way to the server."""
        monkeypatch.setenv("STREAM_BASE_URL", url)
        report = run()
        assert (report.code, report.checks["base_url"]["state"]) == (10, "failed")
        assert message in report.said("base_url")[1]
        assert "word" not in str(report)
        for check in list(CHECKS)[4:]:
            assert report.said(check) == ("skipped", "the base URL is wrong")

    def test_empty_options(self, run: Run) -> None:
        """An empty option is wrong, where an empty variable would count as unset."""
        report = run("--base-url", "", "--api-key", "")
        assert report.said("base_url") == (
            "failed",
            "0 characters, from --base-url: it does not begin with https://",
        )
        assert report.said("api_key") == ("failed", "--api-key is set, but empty")

    def test_default_base_url(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a base URL Stream's own address is asked, and called the default."""
        monkeypatch.setenv("STREAM_BASE_URL", "")
        monkeypatch.setattr(network, "look_up", no_host)
        report = run()
        assert report.said("base_url") == ("ok", "https://chat.stream-io-api.com, the default")
        assert report.said("request_timeout") == ("ok", "30 s for each request, the default")

    def test_unencrypted(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Plain http beyond this machine is warned of."""
        monkeypatch.setattr(network, "look_up", no_host)
        report = run("--base-url", "http://stream.example:81")
        assert report.said("base_url") == (
            "warning",
            "http://stream.example:81, from --base-url: not encrypted",
        )

    @pytest.mark.parametrize("limit", ["soon", "0", "nan", "-1", SECRET])
    def test_request_timeout(self, run: Run, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
        """A request time-out in the environment that is none fails, as it would for the client."""
        monkeypatch.setenv("STREAM_REQUEST_TIMEOUT", limit)
        report = run()
        assert report.code == 10
        assert report.said("request_timeout") == (
            "failed",
            "STREAM_REQUEST_TIMEOUT is not a number of seconds above 0",
        )

    @pytest.mark.parametrize(
        ("variables", "used"),
        [
            pytest.param({"HTTP_PROXY": "http://p"}, "HTTP_PROXY", id="one for http"),
            pytest.param({"http_proxy": "http://p"}, "HTTP_PROXY", id="in small letters"),
            pytest.param({"ALL_PROXY": "http://p"}, "ALL_PROXY", id="one for all"),
        ],
    )
    def test_proxy(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], used: str
    ) -> None:
        """A proxy for the host is not used, and it says which variable names it."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        report = run()
        assert report.code == 0
        message = f"{used} is set, but not used: connections go straight to the host"
        assert report.said("proxy") == ("warning", message)

    @pytest.mark.parametrize(
        "variables",
        [
            pytest.param({"HTTPS_PROXY": "http://p"}, id="one for https"),
            pytest.param({"HTTP_PROXY": "http://p", "NO_PROXY": "127.0.0.1"}, id="one not for this host"),
        ],
    )
    def test_no_proxy(self, run: Run, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
        """A proxy for other schemes or hosts is none."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert run().said("proxy") == ("ok", "the environment names none for this host")

    def test_time_limit(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A limit of 0 for each step is refused."""
        code, _, err = call(capsys, "--timeout", "0")
        assert code == 2
        assert "'--timeout': '0' is not a finite number of seconds, greater than 0" in err


async def no_host(report: Report, host: str, *_: object) -> None:
    report.blocked("dns", f"there is no host {host}", "Give up.", "the host has no address")


class TestNetwork:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            pytest.param(socket.gaierror(socket.EAI_NONAME, "Name unknown"), "name unknown", id="no host"),
            pytest.param(socket.gaierror("odd"), "odd", id="something else"),
            pytest.param(UnicodeError("label too long"), "label too long", id="no name"),
        ],
    )
    def test_no_address(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
    ) -> None:
        """A host without an address ends the way there."""

        def getaddrinfo(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        report = run("--base-url", "https://stream.example")
        why = f"the host stream.example has no address: {message}"
        assert (report.code, report.said("dns")) == (11, ("failed", why))
        for check in list(CHECKS)[6:]:
            assert report.said(check) == ("skipped", "the host has no address")

    def test_silent_name_server(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A look-up that never ends holds up neither the check nor the end of the program."""
        ended = threading.Event()

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            ended.wait(30)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        try:
            report = run("--base-url", "https://stream.example", "--timeout", "0.05")
        finally:
            ended.set()
        assert report.code == 11
        assert report.said("dns") == ("failed", "no answer about stream.example within 0.05 s")

    def test_names(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name is looked up, and any of its addresses will do."""
        true = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            if host != "stream.localhost":
                return true(host, *args, **kwargs)
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, (address, port)) for address in ("127.0.0.2", "127.0.0.1", "127.0.0.1")]

        port = int(server.url.rpartition(":")[2])
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        report = run("--base-url", f"http://stream.localhost:{port}")
        assert report.said("dns")[1].startswith("stream.localhost is 127.0.0.2 and 1 more (")
        assert report.said("tcp") == ("ok", "connected")

    def test_single_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name with one address is shown with it."""
        found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        report = Report(lambda _: None)
        asyncio.run(network.look_up(report, "stream.example", 443, 5))
        assert report.findings[0].message.startswith("stream.example is ::1 (")

    def test_refused(self, run: Run, closed_port: int) -> None:
        """A port that nobody listens on is no connection, and what follows is skipped."""
        report = run("--base-url", f"http://127.0.0.1:{closed_port}")
        assert (report.code, report.checks["tcp"]["state"]) == (12, "failed")
        assert report.said("tcp")[1].startswith(f"Cannot connect to host 127.0.0.1:{closed_port} ")
        for check in list(CHECKS)[7:]:
            assert report.said(check) == ("skipped", "there is no answer")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the test's authority, as an administrator would have it."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


async def answers(_: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({"server_side": {}})


@asynccontextmanager
async def https(certificate: trustme.LeafCert) -> AsyncIterator[str]:
    """A server that answers over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    connections = web.Server(answers, access_log=None)
    listener = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await connections.shutdown(1)
        await asyncio.sleep(0)


@asynccontextmanager
async def tcp(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server that says whatever it is told to."""
    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


class TestTLS:
    @pytest.mark.usefixtures("trusted")
    async def test_trusted(self, run: Run, authority: trustme.CA) -> None:
        """A good certificate is shown with its end; SSL_CERT_FILE is heeded."""
        certificate = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=90))
        async with https(certificate) as url:
            report = await asyncio.to_thread(run, "--base-url", url)
        assert report.code == 0
        assert report.checks["tls"]["state"] == "ok"
        assert report.said("tls")[1] == "encrypted, and the certificate is trusted"

    @pytest.mark.usefixtures("trusted")
    @pytest.mark.parametrize(
        ("name", "days", "flaw"),
        [
            pytest.param("127.0.0.1", (-9, -2), "certificate has expired", id="expired"),
            pytest.param("127.0.0.1", (2, 9), "certificate is not yet valid", id="too new"),
            pytest.param("127.0.0.2", (-9, 9), "IP address mismatch", id="another address"),
        ],
    )
    async def test_bad_certificate(
        self, run: Run, authority: trustme.CA, name: str, days: tuple[int, int], flaw: str
    ) -> None:
        """It is said which flaw a certificate has, and what that can mean."""
        now = datetime.now(UTC)
        begin, end = (now + timedelta(days=day) for day in days)
        async with https(authority.issue_cert(name, not_before=begin, not_after=end)) as url:
            report = await asyncio.to_thread(run, "--base-url", url)
        assert (report.code, report.checks["tls"]["state"]) == (13, "failed")
        assert flaw in report.said("tls")[1]
        for check in list(CHECKS)[8:]:
            assert report.said(check) == ("skipped", "there is no answer")

    async def test_untrusted(self, run: Run, authority: trustme.CA) -> None:
        """An authority that the system does not know is not trusted, and the way to add it is named."""
        async with https(authority.issue_cert("127.0.0.1")) as url:
            report = await asyncio.to_thread(run, "--base-url", url)
        assert report.checks["tls"]["state"] == "failed"
        assert "self-signed" in report.said("tls")[1] or "issuer certificate" in report.said("tls")[1]
        assert "set SSL_CERT_FILE to a file" in report.checks["tls"]["advice"]

    def test_no_tls(self, run: Run, server: FakeStream) -> None:
        """A server without TLS fails there."""
        report = run("--base-url", server.url.replace("http:", "https:"))
        assert (report.code, report.checks["tls"]["state"]) == (13, "failed")
        assert report.said("tcp") == ("ok", "connected")


class TestAnswer:
    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            pytest.param(Fault.status(503), "HTTP 503: Service Unavailable", id="503"),
            pytest.param(Fault.html(502), "HTTP 502", id="a gateway's page"),
            pytest.param(Fault.html(403), "HTTP 403", id="a proxy's page"),
            pytest.param(Fault.html(200), "HTTP 200, but not Stream's answer", id="a login page"),
            pytest.param(Fault.body(b"[]"), "HTTP 200, but not Stream's answer", id="other JSON"),
            pytest.param(
                Fault.body(b'{"server_side": 1}'), "HTTP 200, but not Stream's answer", id="odd JSON"
            ),
            pytest.param(Fault.redirect("https://x/?secret=word"), "HTTP 302", id="a redirect"),
            pytest.param(Fault.status(429), "HTTP 429: Too Many Requests", id="429"),
            pytest.param(Fault.reset(), "", id="a reset"),
            pytest.param(Fault.cut(), "", id="a cut"),
            pytest.param(
                Fault.body(b" " * (2**24 + 1)),
                "the body is larger than 16 MiB",
                id="far too long",
            ),
        ],
    )
    def test_unusable(self, run: Run, server: FakeStream, fault: Fault, message: str) -> None:
        """An answer that is not Stream's, or no answer, fails; nothing is made of it."""
        server.inject(fault, times=9)
        report = run()
        assert report.code == 14
        assert report.checks["http"]["state"] == "failed"
        assert report.said("http")[1].startswith(message)
        assert "word" not in str(report)
        for check in ("authentication", "quota"):
            assert report.checks[check]["state"] == "skipped"

    def test_another_path(self, run: Run, server: FakeStream) -> None:
        """A base URL with a path that the server lacks fails."""
        report = run("--base-url", f"{server.url}/elsewhere")
        assert (report.code, report.checks["http"]["state"]) == (14, "failed")
        assert report.said("http")[1].startswith("HTTP 404: ")

    def test_silence(self, run: Run, server: FakeStream) -> None:
        """A server that says nothing costs no more than the limit."""
        server.inject(Fault.hang())
        report = run("--timeout", "0.2")
        assert (report.code, report.checks["http"]["state"]) == (14, "failed")
        assert "timeout" in report.said("http")[1]
        assert report.said("quota") == ("skipped", "there is no answer")

    @pytest.mark.parametrize(
        ("code", "status", "advice"),
        [
            (2, 401, "Copy the key and the secret again"),
            (5, 401, "Copy the key and the secret again"),
            (40, 401, "Set this machine's clock"),
            (41, 401, "Set this machine's clock"),
            (42, 401, "Set this machine's clock"),
            (43, 401, "Copy the key and the secret again"),
            (99, 403, "Copy the key and the secret again"),
        ],
    )
    def test_refused(self, run: Run, server: FakeStream, code: int, status: int, advice: str) -> None:
        """A refusal is told in the server's words, with what to do."""

        envelope = {"code": code, "message": "no \x1b[31mway", "StatusCode": status}
        server.inject(Fault.status(status, body=envelope))
        report = run()
        assert report.code == 16
        assert report.said("authentication") == ("failed", f"no \x1b[31mway (HTTP {status}, code {code})")
        assert report.checks["authentication"]["advice"].startswith(advice)
        assert report.said("quota") == ("skipped", "the server refuses the key or the secret")

    def test_refused_without_a_word(self, run: Run, server: FakeStream) -> None:
        """A refusal without a message is told, too."""
        server.inject(Fault.status(401, body={"code": 5, "message": "", "StatusCode": 401}))
        said = run().said("authentication")
        assert said == ("failed", "the server gives no reason (HTTP 401, code 5)")

    @pytest.mark.parametrize(("status", "check"), [(400, "http"), (403, "authentication")])
    def test_echo(self, status: int, check: str) -> None:
        """A server that repeats key or token makes neither of them show."""
        credentials = Credentials("the-key", Secret(TOKEN))
        body = json.dumps({"code": 4, "message": f"the-key, {TOKEN} {'!' * 500}"}).encode()
        report = Report(lambda _: None)
        with pytest.raises(BlockedError):
            answer.check_answer(report, Answer(status, {}, body), 0.1, credentials)
        finding = report.findings[-1]
        assert finding.check == check
        assert f"***, *** {'!' * 191}" in finding.message
        assert "!" * 192 not in finding.message

    def test_wrong_secret(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """The secret of another app is found out by the server."""
        monkeypatch.setenv("STREAM_API_SECRET", SECRET[::-1])
        report = run()
        assert report.said("authentication")[1] == "the token's signature does not fit (HTTP 401, code 43)"

    @pytest.mark.parametrize(
        ("ahead", "state", "message"),
        [
            pytest.param(1, "ok", "agrees with the server's", id="a second"),
            pytest.param(4, "warning", " s ahead of the server's; tokens may be refused", id="nearly"),
            pytest.param(90, "warning", " s ahead of the server's; tokens may be refused", id="accepted"),
            pytest.param(-7300, "warning", "2.0 h behind the server's; tokens still work", id="behind"),
        ],
    )
    def test_clock(self, run: Run, server: FakeStream, ahead: float, state: str, message: str) -> None:
        """The clock is compared with the server's; it does no harm while tokens are accepted."""
        theirs = format_datetime(datetime.now(UTC) - timedelta(seconds=ahead), usegmt=True)
        server.inject(Fault.with_headers({"Date": theirs}))
        report = run()
        assert report.code == 0
        assert report.said("clock")[0] == state
        assert message in report.said("clock")[1]

    def test_clock_ahead(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that makes tokens invalid comes before the refusal that follows from it."""
        true = time.time
        monkeypatch.setattr("stream_tasks._http.auth.time.time", lambda: true() + 300)
        theirs = format_datetime(datetime.fromtimestamp(true(), UTC), usegmt=True)
        refusal = {"code": 42, "message": "token used before issue at (iat)", "StatusCode": 401}
        server.inject(Fault.status(401, body=refusal, headers={"Date": theirs}))
        report = run()
        assert report.code == 15
        assert report.said("clock") == (
            "failed",
            "5.0 min ahead of the server's: tokens are not valid there yet",
        )
        assert report.said("authentication")[1].startswith("token used before issue at")

    @pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Jan 2026 00:00:00 GMT"])
    def test_no_clock(self, date: str | None) -> None:
        """A server that tells no time is not compared with."""
        assert answer._clock_ahead(date, 0.0) is None
        report = Report(lambda _: None)
        answer._check_clock(report, None, is_accepted=True)
        assert report.findings[0].state == "skipped"

    def test_date_without_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Date without a zone is read as UTC."""
        monkeypatch.setattr(time, "time", lambda: 1.5)
        assert answer._clock_ahead("Thu, 01 Jan 1970 00:00:01 -0000", 0.0) == 0.0


class TestQuota:
    def test_scarce(self, run: Run, server: FakeStream) -> None:
        """When others spend the quota, it is said how little is left, and until when."""
        server.spend(295)
        report = run()
        assert report.code == 0
        assert report.checks["quota"]["state"] == "warning"
        assert report.said("quota")[1].endswith("; only 5 are left in this one")
        assert re.search(r"renewed in (5\d|60|61) s", report.checks["quota"]["advice"])

    @pytest.mark.parametrize(
        ("limit", "every"),
        [(5, "3.3 h"), (10, "100.0 min"), (600, "100.0 s"), (60_000, "1.0 s")],
    )
    def test_meaning(self, run: Run, server: FakeStream, limit: int, every: str) -> None:
        """The time between two looks has the unit that fits it."""
        server.rate_limit = limit
        assert f"are each polled every {every} (" in run().said("quota")[1]

    def test_none(self, run: Run, server: FakeStream) -> None:
        """A server without a limit says none."""
        server.rate_limit = None
        assert run().said("quota") == ("ok", "the server names no limit for GetTask")

    @pytest.mark.parametrize(
        "quota", ["much", [], {}, {"limit": None}, {"limit": 0, "remaining": 0, "reset": 0}]
    )
    def test_odd(self, quota: Any) -> None:
        """An answer that does not fit is no reason to fail."""
        report = Report(lambda _: None)
        answer._check_quota(report, {"GetTask": quota}, 0.0)
        (finding,) = report.findings
        assert (finding.state, finding.message) == (
            "warning",
            "the server's limit for GetTask cannot be used",
        )
