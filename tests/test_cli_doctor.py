"""The doctor: each trouble is named in plain words, with what to do, and has its exit code."""

import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import sys
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

from stream_tasks._http.auth import Credentials
from stream_tasks._http.transport import Answer
from stream_tasks._secret import Secret
from stream_tasks.cli import _doctor
from stream_tasks.cli._app import commands
from stream_tasks.cli._doctor import answer, network
from stream_tasks.cli._doctor.finding import CHECKS, EXIT_CODES, Finding, failed
from stream_tasks.testing import FakeStream, Fault, RateLimitRule

SECRET = "a-secret-of-this-test-file-which-no-output-may-ever-hold-000000"
README = (Path(__file__).parents[1] / "README.rst").read_text()
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzZXJ2ZXIiOnRydWV9.c2lnbmF0dXJlLW9mLXRlc3Rz"


class Report(NamedTuple):
    """What a run of the doctor said."""

    code: int
    checks: dict[str, dict[str, Any]]
    err: str

    def said(self, check: str) -> tuple[str, str]:
        """Return how a check ended, and what was found."""
        return self.checks[check]["state"], self.checks[check]["message"]

    def states(self) -> dict[str, str]:
        return {name: check["state"] for name, check in self.checks.items()}


Run: TypeAlias = Callable[..., Report]
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

    def run(*args: str) -> Report:
        code, out, err = call(capsys, "--json", *args)
        report = json.loads(out)
        assert list(report) == ["ok", "exit_code", "checks"]
        assert [check["check"] for check in report["checks"]] == list(CHECKS)
        failures = [check["check"] for check in report["checks"] if check["state"] == "failed"]
        assert code == report["exit_code"] == (CHECKS[failures[0]].exit_code if failures else 0)
        assert report["ok"] is (not failures)
        for check in report["checks"]:
            assert list(check) == ["check", "state", "message", "advice", "details"]
            assert check["message"]
            assert bool(check["advice"]) is (check["state"] in ("warning", "failed"))
        return Report(code, {check["check"]: check for check in report["checks"]}, err)

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
        assert "at 300 a minute, 1,000 waiting tasks are each looked at every 3.3 min" in out
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
        assert "skipped  authentication  key or secret is wrong, and was not sent\n" in out
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
        asked = [sys.executable, "-m", "stream_tasks", "doctor"]
        process = subprocess.Popen(asked, stdin=follower, stdout=follower, stderr=follower)
        os.close(follower)
        shown = b""
        try:
            while chunk := os.read(leader, 65536):
                shown += chunk
        except OSError:  # Linux' way to say that nobody has the terminal open any more
            pass
        os.close(leader)
        assert process.wait(20) == 16
        assert b"\x1b[1;31mfailed   authentication" in shown
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r", "")
        assert max(map(len, plain.splitlines())) <= 80
        assert (
            "failed   authentication  the secret does not belong to the API key fake-key\n"
            "                         (HTTP 401, code 43)\n"
            "                         -> Copy key and secret anew from one and the same app\n"
            "                            in Stream's dashboard.\n"
        ) in plain

    def test_exit_codes(self) -> None:
        """Each exit code is explained in the help and in the README, and none is one of those of `wait`."""
        codes = {check.exit_code for check in CHECKS.values()}
        assert codes == set(EXIT_CODES) - {0, 2}
        assert codes.isdisjoint({0, 1, 2, 3, 4, 130})
        for code in codes:
            assert f"{code} {EXIT_CODES[code].partition(':')[0]}" in README.replace("\n", " ")

    def test_readme(self, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        """The README shows what is printed, but for port and times."""
        block = re.search(r"    \$ stream-tasks doctor\n((?:    .*\n|\n)+)", README)
        assert block is not None
        key = re.search(r"API key (\w{12}) ", block[1])
        assert key is not None
        monkeypatch.setenv("STREAM_API_KEY", key[1])
        monkeypatch.setenv("STREAM_API_SECRET", SECRET[::-1] + "0")
        with FakeStream(api_key=key[1], api_secret=SECRET) as server:
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
            pytest.param(" \t", "STREAM_API_KEY is set, but blank", id="blank"),
            pytest.param("abc ", "4 characters, from STREAM_API_KEY: a blank at the end", id="blank behind"),
            pytest.param(
                "\nabc",
                "4 characters, from STREAM_API_KEY: a line break at the start",
                id="line break before",
            ),
            pytest.param("'abc'", "5 characters, from STREAM_API_KEY: quotes around it", id="in quotes"),
            pytest.param("${KEY}", "6 characters, from STREAM_API_KEY: a placeholder", id="a variable"),
            pytest.param(
                "your-api-key", "12 characters, from STREAM_API_KEY: a placeholder", id="an example"
            ),
            pytest.param(
                "a b",
                "3 characters, from STREAM_API_KEY: blanks or strange characters in it",
                id="blank inside",
            ),
            pytest.param(
                "kéy", "3 characters, from STREAM_API_KEY: blanks or strange characters in it", id="no ASCII"
            ),
            pytest.param(
                TOKEN, f"{len(TOKEN)} characters, from STREAM_API_KEY: that is a token (JWT)", id="a token"
            ),
            pytest.param(
                SECRET, "63 characters, from STREAM_API_KEY: the same text as the secret", id="the secret"
            ),
        ],
    )
    def test_key(self, run: Run, monkeypatch: pytest.MonkeyPatch, key: str | None, message: str) -> None:
        """A key that cannot be one is never sent, while everything else is checked."""
        monkeypatch.delenv("STREAM_API_KEY")
        if key is not None:
            monkeypatch.setenv("STREAM_API_KEY", key)
        report = run()
        assert report.code == 10
        assert report.said("api_key") == ("failed", message)
        assert report.said("http")[1].startswith("HTTP 401 in ")
        assert report.said("clock") == ("ok", "agrees with the server's")
        for check in ("authentication", "quota"):
            assert report.said(check) == ("skipped", "key or secret is wrong, and was not sent")

    @pytest.mark.parametrize(
        ("secret", "message"),
        [
            pytest.param(None, "missing", id="missing"),
            pytest.param(
                f"{SECRET}\n", "64 characters, from STREAM_API_SECRET: a line break at the end", id="\\n"
            ),
            pytest.param(
                TOKEN, f"{len(TOKEN)} characters, from STREAM_API_SECRET: that is a token (JWT)", id="a token"
            ),
            pytest.param(
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB",
                "32 characters, from STREAM_API_SECRET: that is a key of another kind (PEM or SSH)",
                id="an SSH key",
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
        assert (report.code, report.said("api_secret")) == (10, ("failed", message))
        assert "Authorization" not in server.requests[0].headers

    def test_swapped(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """Key and secret in each other's place are seen by their lengths, before the secret is in a URL."""
        monkeypatch.setenv("STREAM_API_KEY", SECRET)
        monkeypatch.setenv("STREAM_API_SECRET", server.api_key)
        report = run()
        assert report.code == 10
        assert report.said("api_key") == (
            "failed",
            "63 characters, from STREAM_API_KEY: that looks like a secret",
        )
        assert report.said("api_secret") == (
            "failed",
            "8 characters, from STREAM_API_SECRET: that looks like a key",
        )
        assert server.requests[0].query["api_key"] == ""

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
        assert {name: check["details"].get("source") for name, check in report.checks.items()} == {
            **dict.fromkeys(CHECKS),
            "api_key": "--api-key",
            "api_secret": "--api-secret-file",
            "base_url": "--base-url",
            "request_timeout": "STREAM_REQUEST_TIMEOUT",
        }
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
            pytest.param(
                "chat.stream-io-api.com",
                "22 characters, from STREAM_BASE_URL: no http(s) URL",
                id="no scheme",
            ),
            pytest.param(
                "localhost:18080", "15 characters, from STREAM_BASE_URL: no http(s) URL", id="host and port"
            ),
            pytest.param(SECRET, "63 characters, from STREAM_BASE_URL: no http(s) URL", id="the secret"),
            pytest.param("ftp://x", "must be an http(s) URL such as", id="ftp"),
            pytest.param("https://me:word@x", "must not hold user information", id="a password"),
            pytest.param(
                "https://x/api/v2/", "https://x/api/v2, from STREAM_BASE_URL", id="with the API's path"
            ),
        ],
    )
    def test_base_url(self, run: Run, monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
        """A base URL that cannot be right ends the way to the server."""
        monkeypatch.setenv("STREAM_BASE_URL", url)
        report = run()
        assert (report.code, report.checks["base_url"]["state"]) == (10, "failed")
        assert message in report.said("base_url")[1]
        assert "word" not in str(report)
        has_no_scheme = "no http(s) URL" in message
        assert report.checks["base_url"]["advice"].startswith("It must begin with http") is has_no_scheme
        for check in list(CHECKS)[4:]:
            assert report.said(check) == ("skipped", "the base URL is wrong")

    def test_empty_options(self, run: Run) -> None:
        """An empty option is wrong, where an empty variable would count as unset."""
        report = run("--base-url", "", "--api-key", "")
        assert report.said("base_url") == ("failed", "0 characters, from --base-url: no http(s) URL")
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
            "STREAM_REQUEST_TIMEOUT is no number of seconds above 0",
        )

    @pytest.mark.parametrize(
        ("variables", "used", "is_for_python"),
        [
            pytest.param({"HTTP_PROXY": "http://p"}, "HTTP_PROXY", True, id="one for http"),
            pytest.param({"http_proxy": "http://p"}, "http_proxy", True, id="in small letters"),
            pytest.param({"HTTP_PROXY": "http://p", "http_proxy": "http://q"}, "http_proxy", True, id="both"),
            pytest.param({"ALL_PROXY": "http://p"}, "ALL_PROXY", False, id="one for all"),
            pytest.param({"all_proxy": "http://p"}, "all_proxy", False, id="one for all, in small letters"),
        ],
    )
    def test_proxy(
        self,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        variables: Mapping[str, str],
        used: str,
        is_for_python: bool,
    ) -> None:
        """A proxy for the host is not used, and its variable is named as the environment spells it."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        report = run()
        assert report.code == 0
        proxy = report.checks["proxy"]
        message = f"{used} is set, but not used: connections go straight to the host"
        assert report.said("proxy") == ("warning", message)
        assert proxy["details"] == {"variable": used}
        assert ("trust_env" in proxy["advice"]) is is_for_python

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
        assert "'--timeout': '0' is no finite number of seconds above 0" in err


async def no_host(host: str, *_: object) -> tuple[Any, list[str]]:
    return failed("dns", f"there is no host {host}", "Give up."), []


class TestNetwork:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            pytest.param(
                socket.gaierror(socket.EAI_NONAME, "unknown"), "there is no host stream.example", id="no host"
            ),
            pytest.param(
                socket.gaierror(socket.EAI_AGAIN, "again"),
                "the name servers cannot be asked about stream.example",
                id="no network",
            ),
            pytest.param(UnicodeError("label too long"), "there is no host stream.example", id="no name"),
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
        assert (report.code, report.said("dns")) == (11, ("failed", message))
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
            return [(*kind, (address, 0)) for address in ("127.0.0.2", "127.0.0.1", "127.0.0.1")]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        port = int(server.url.rpartition(":")[2])
        report = run("--base-url", f"http://stream.localhost:{port}")
        assert report.said("dns")[1].startswith("stream.localhost is 127.0.0.2 and 1 more (")
        assert report.said("tcp")[1].startswith(f"connected to 127.0.0.1:{port} (")

    def test_single_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name with one address is shown with it."""
        found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        finding, addresses = asyncio.run(network.look_up("stream.example", 443, 5))
        assert finding.message.startswith("stream.example is ::1 (")
        assert addresses == ["::1"]

    def test_refused(self, run: Run, closed_port: int) -> None:
        """A port that nobody listens on is told from a silent one."""
        report = run("--base-url", f"http://127.0.0.1:{closed_port}")
        assert report.code == 12
        assert report.said("tcp") == ("failed", f"127.0.0.1:{closed_port}: refused: nothing listens there")
        for check in list(CHECKS)[7:]:
            assert report.said(check) == ("skipped", "there is no connection")

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            pytest.param(None, "[::1]:80: no answer within 0.05 s", id="silence"),
            pytest.param(
                OSError(101, "Connect call failed"), f"[::1]:80: {os.strerror(101).lower()}", id="no way"
            ),
            pytest.param(OSError("odd"), "[::1]:80: no connection", id="something else"),
        ],
    )
    def test_no_connection(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, error: OSError | None, message: str
    ) -> None:
        """Silence, and no way to the host, are called what they are."""

        async def open_connection(*_: object, **__: object) -> None:
            if error is not None:
                raise error
            await asyncio.sleep(60)

        monkeypatch.setattr(asyncio, "open_connection", open_connection)
        report = run("--base-url", "http://[::1]", "--timeout", "0.05")
        assert (report.code, report.said("tcp")) == (12, ("failed", message))


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
        assert re.fullmatch(r"TLSv1\.\d, certificate good until \d{4}-\d\d-\d\d", report.said("tls")[1])

    @pytest.mark.usefixtures("trusted")
    async def test_expires_soon(self, run: Run, authority: trustme.CA) -> None:
        """A certificate that ends within days is warned of."""
        certificate = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=3))
        async with https(certificate) as url:
            report = await asyncio.to_thread(run, "--base-url", url)
        assert report.code == 0
        assert report.checks["tls"]["state"] == "warning"
        assert "expires soon" in report.checks["tls"]["advice"]

    @pytest.mark.usefixtures("trusted")
    @pytest.mark.parametrize(
        ("name", "days", "flaw"),
        [
            pytest.param("127.0.0.1", (-9, -2), "has expired", id="expired"),
            pytest.param("127.0.0.1", (2, 9), "is not valid yet", id="too new"),
            pytest.param("127.0.0.2", (-9, 9), "is for another address", id="another address"),
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
        assert (report.code, report.said("tls")) == (13, ("failed", f"the certificate {flaw}"))
        assert ("clock says" in report.checks["tls"]["advice"]) is (name == "127.0.0.1")
        for check in list(CHECKS)[8:]:
            assert report.said(check) == ("skipped", "there is no trusted connection")

    async def test_untrusted(self, run: Run, authority: trustme.CA) -> None:
        """An authority that the system does not know is not trusted, and the way to add it is named."""
        async with https(authority.issue_cert("127.0.0.1")) as url:
            report = await asyncio.to_thread(run, "--base-url", url)
        assert report.said("tls") == (
            "failed",
            "the certificate comes from an authority that is not trusted",
        )
        assert "let SSL_CERT_FILE name a file" in report.checks["tls"]["advice"]

    @pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
    async def test_wrong_authorities(
        self,
        run: Run,
        authority: trustme.CA,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
    ) -> None:
        """Where a variable replaces the system's authorities, it is named as a likely cause."""
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
        async with https(authority.issue_cert("127.0.0.1")) as url:
            report = await asyncio.to_thread(run, "--base-url", url)
        assert report.checks["tls"]["advice"].startswith(f"{variable} is set, and takes the place of")

    @pytest.mark.usefixtures("trusted")
    async def test_another_host(self, authority: trustme.CA) -> None:
        """A certificate for another name is told from one that nobody vouches for."""
        async with https(authority.issue_cert("elsewhere.example")) as url:
            port = int(url.rpartition(":")[2])
            context = ssl.create_default_context()
            finding = await network.encrypt("stream.example", "127.0.0.1", port, context, 5)
        assert finding.message == "the certificate is for another host"

    def test_no_tls(self, run: Run, server: FakeStream) -> None:
        """A server without TLS is called that."""
        report = run("--base-url", server.url.replace("http:", "https:"))
        assert (report.code, report.said("tls")) == (
            13,
            ("failed", "the server does not speak TLS on that port"),
        )

    async def test_cut_off(self, run: Run) -> None:
        """A handshake that is cut off is called that."""

        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with tcp(talk) as port:
            report = await asyncio.to_thread(run, "--base-url", f"https://127.0.0.1:{port}")
        assert report.said("tls") == ("failed", "the handshake was cut off")

    async def test_refused(self, run: Run) -> None:
        """A handshake that the server refuses is shown with its reason."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # a fatal alert: handshake_failure
            writer.close()

        async with tcp(talk) as port:
            report = await asyncio.to_thread(run, "--base-url", f"https://127.0.0.1:{port}")
        assert report.said("tls")[0] == "failed"
        assert re.fullmatch(r"no handshake: .*handshake failure", report.said("tls")[1])

    async def test_silence(self, run: Run) -> None:
        """A server that never shakes hands costs no more than the limit."""
        ended = asyncio.Event()

        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await ended.wait()
            writer.close()

        async with tcp(talk) as port:
            url = f"https://127.0.0.1:{port}"
            report = await asyncio.to_thread(run, "--base-url", url, "--timeout", "0.2")
            ended.set()
        assert report.said("tls") == ("failed", "no handshake within 0.2 s")


class TestAnswer:
    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            pytest.param(Fault.status(503), "HTTP 503: Service Unavailable", id="503"),
            pytest.param(Fault.html(502), "HTTP 502", id="a gateway's page"),
            pytest.param(Fault.html(403), "HTTP 403 from something that is not Stream", id="a proxy's page"),
            pytest.param(Fault.html(200), "HTTP 200, but not Stream's answer", id="a login page"),
            pytest.param(Fault.body(b"[]"), "HTTP 200, but not Stream's answer", id="other JSON"),
            pytest.param(
                Fault.body(b'{"server_side": 1}'), "HTTP 200, but not Stream's answer", id="odd JSON"
            ),
            pytest.param(
                Fault.redirect("/login"), "HTTP 302 from something that is not Stream", id="a redirect"
            ),
            pytest.param(
                Fault.redirect("https://[/"), "HTTP 302 from something that is not Stream", id="to nowhere"
            ),
            pytest.param(Fault.status(429), "HTTP 429: Too Many Requests", id="429"),
            pytest.param(Fault.reset(), "the connection ended without a whole answer", id="a reset"),
            pytest.param(Fault.cut(), "the connection ended without a whole answer", id="a cut"),
            pytest.param(
                Fault.body(b" " * (2**24 + 1)),
                "the answer cannot be used: the body is larger than 16 MiB",
                id="far too long",
            ),
        ],
    )
    def test_unusable(self, run: Run, server: FakeStream, fault: Fault, message: str) -> None:
        """An answer that is none of Stream's, or none at all, fails; nothing is made of it."""
        server.inject(fault, times=9)
        report = run()
        assert report.code == 14
        assert report.checks["http"]["state"] == "failed"
        assert report.said("http")[1].startswith(message)
        for check in ("authentication", "quota"):
            assert report.checks[check]["state"] == "skipped"

    @pytest.mark.parametrize(
        ("fault", "message", "wants_https"),
        [
            pytest.param(
                Fault.redirect("https://me:word@x:1/?api_key=k", 301),
                "HTTP 301, a redirect to https://x:1",
                True,
                id="a redirect to https",
            ),
            pytest.param(
                Fault.redirect("http://hotel.example/login?secret=word", 302),
                "HTTP 302, a redirect to http://hotel.example",
                False,
                id="a redirect to a login page",
            ),
            pytest.param(
                Fault.html(400), "HTTP 400 from something that is not Stream", True, id="the port of https"
            ),
            pytest.param(Fault.status(400), "HTTP 400: Bad Request", False, id="a 400 of Stream's"),
        ],
    )
    def test_wants_https(
        self, run: Run, server: FakeStream, fault: Fault, message: str, wants_https: bool
    ) -> None:
        """A server that wants https is recognised; where a redirect leads is told by its host alone."""
        server.inject(fault)
        report = run()
        assert (report.code, report.said("http")) == (14, ("failed", message))
        assert ("want https://" in report.checks["http"]["advice"]) is wants_https
        assert "word" not in str(report)

    def test_is_https(self) -> None:
        """Who has https:// already is not told to take it."""
        to = {"Location": "https://y/"}
        finding = answer.check_http("https://x", Answer(301, to, b""), 0.1, None)
        assert finding.message == "HTTP 301, a redirect to https://y"
        assert finding.advice.startswith("Is the base URL right?")

    def test_another_path(self, run: Run, server: FakeStream) -> None:
        """A base URL with a path that the server lacks fails."""
        report = run("--base-url", f"{server.url}/elsewhere")
        assert (report.code, report.checks["http"]["state"]) == (14, "failed")
        assert report.said("http")[1].startswith("HTTP 404: ")

    def test_silence(self, run: Run, server: FakeStream) -> None:
        """A server that says nothing costs no more than the limit."""
        server.inject(Fault.hang())
        report = run("--timeout", "0.2")
        assert (report.code, report.said("http")) == (14, ("failed", "no answer within 0.2 s"))
        assert report.said("quota") == ("skipped", "there is no answer")

    @pytest.mark.usefixtures("trusted")
    async def test_cut_over_tls(self, authority: trustme.CA) -> None:
        """Only plain http makes one ask whether https is wanted."""
        async with https(authority.issue_cert("127.0.0.1")) as url:
            pass
        context = ssl.create_default_context()
        advice = []
        for origin in (url, url.replace("https:", "http:")):
            finding = await network.ask(origin, "/", {}, context, 5)
            assert isinstance(finding, Finding)
            advice.append("https://" in finding.advice)
        assert advice == [False, True]

    @pytest.mark.parametrize(
        ("code", "status", "message"),
        [
            (2, 401, "the server does not know the API key"),
            (5, 401, "the server does not take the token that the secret signs"),
            (17, 403, "the server does not allow it"),
            (40, 401, "the token has expired"),
            (41, 401, "the token is not valid yet"),
            (42, 401, "the token is not valid yet"),
            (43, 401, "the secret does not belong to the API key fake-key"),
            (99, 403, "the app is suspended"),
            (77, 403, "no \x1b[31mway"),
        ],
    )
    def test_refused(self, run: Run, server: FakeStream, code: int, status: int, message: str) -> None:
        """Each code of a refusal is put into words, else the server's own are shown."""

        envelope = {"code": code, "message": "no \x1b[31mway", "StatusCode": status}
        server.inject(Fault.status(status, body=envelope))
        report = run()
        assert report.code == 16
        assert report.said("authentication") == ("failed", f"{message} (HTTP {status}, code {code})")
        assert report.said("quota") == ("skipped", "the server refuses key or secret")

    def test_echo(self) -> None:
        """A server that repeats key or token makes neither of them show."""
        credentials = Credentials("the-key", Secret(TOKEN))
        body = json.dumps({"code": 4, "message": f"the-key, {TOKEN} {'!' * 500}"}).encode()
        finding = answer.check_http("https://x", Answer(400, {}, body), 0.1, credentials)
        assert finding.message == f"HTTP 400: ***, *** {'!' * 191}"
        refusal = answer.refusal_of(Answer(403, {}, body))
        assert answer.check_authentication(refusal, credentials).message.startswith("***, *** !!!")
        assert answer.check_http("https://x", Answer(400, {}, body), 0.1, None).message.startswith(
            "HTTP 400: the-key, "
        )

    def test_wrong_secret(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """The secret of another app is found out by the server."""
        monkeypatch.setenv("STREAM_API_SECRET", SECRET[::-1])
        report = run()
        assert report.said("authentication")[1] == (
            "the secret does not belong to the API key fake-key (HTTP 401, code 43)"
        )

    @pytest.mark.parametrize(
        ("ahead", "state", "message"),
        [
            pytest.param(1, "ok", "agrees with the server's", id="a second"),
            pytest.param(4, "warning", " s ahead of the server's; beyond 5 s tokens are not", id="nearly"),
            pytest.param(90, "warning", " s ahead of the server's; the server let it pass", id="accepted"),
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
        assert report.said("authentication")[1].startswith("the token is not valid yet")

    @pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Jan 2026 00:00:00 GMT"])
    def test_no_clock(self, date: str | None) -> None:
        """A server that tells no time is not compared with."""
        assert network._ahead(0.0, date) is None
        assert answer.check_clock(None, is_accepted=True).state == "skipped"

    def test_date_without_zone(self) -> None:
        """A Date without a zone is read as UTC."""
        assert network._ahead(1.5, "Thu, 01 Jan 1970 00:00:01 -0000") == 0.0


class TestQuota:
    def test_scarce(self, run: Run, server: FakeStream) -> None:
        """When others spend the quota, it is said how little is left, and until when."""
        server.spend(295)
        report = run()
        assert report.code == 0
        assert report.checks["quota"]["state"] == "warning"
        assert report.said("quota")[1].endswith("; only 5 are left in this one")
        assert re.search(r"renewed in (5\d|60|61) s", report.checks["quota"]["advice"])
        assert report.checks["quota"]["details"]["limit"] == 300

    @pytest.mark.parametrize(
        ("limit", "every"),
        [(5, "3.3 h"), (10, "100.0 min"), (600, "100.0 s"), (60_000, "1.0 s")],
    )
    def test_meaning(self, run: Run, server: FakeStream, limit: int, every: str) -> None:
        """The time between two looks has the unit that fits it."""
        server.rate_limit = limit
        assert f"are each looked at every {every} (" in run().said("quota")[1]

    def test_none(self, run: Run, server: FakeStream) -> None:
        """A server without a limit says none."""
        server.rate_limit = None
        assert run().said("quota") == ("ok", "the server names no limit for GetTask")

    def test_nothing_allowed(self, run: Run, server: FakeStream) -> None:
        """A limit of 0 is warned of."""
        server.rate_limit = RateLimitRule(0)
        assert run().said("quota") == ("warning", "GetTask may not be called at all")

    @pytest.mark.parametrize(
        "quota", ["much", [], {}, {"limit": None}, {"limit": 1, "remaining": 1, "reset": 10**30}]
    )
    def test_odd(self, quota: Any) -> None:
        """An answer that does not fit is no reason to fail."""
        body = json.dumps({"server_side": {"GetTask": quota}}).encode()
        finding = answer.check_quota(Answer(200, {}, body), 0.0)
        assert (finding.state, finding.message) == (
            "warning",
            "the server's answer about GetTask does not fit",
        )


def test_doctor_is_a_command() -> None:
    """It is one of the commands."""
    assert commands.commands["doctor"] is _doctor.doctor
