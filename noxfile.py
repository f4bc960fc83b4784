"""The menu of checks: `nox -l` lists it."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"  # uv installs in seconds
nox.options.sessions = ["tests", "lint", "typing"]
nox.options.error_on_missing_interpreters = False  # for every_python

PYPROJECT = nox.project.load_toml("pyproject.toml")

PARALLEL = ["-n", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal"]  # many tests wait
DURABLE_TESTS = ["tests/durable", "tests/test_docs.py", "-m", "durable"]
# Covered in a session of its own: it needs DBOS.
DURABLE = "stream_tasks/durable/*,stream_tasks/cli/durable.py,*/commands/worker.py,*/commands/pending.py"
QUICK = {"PYTHONDONTWRITEBYTECODE": ""}  # dozens of processes import the package

KIT = """
def test_kit(fake_stream, stream_client, virtual_clock):
    task_id = fake_stream.add_task(after=3600)
    stream_client.wait_for_task(task_id, 60, 7200)
    fake_stream.assert_all_waited()
"""


def group(name: str) -> list[str]:
    """The packages of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def oldest(requirements: list[str]) -> list[str]:
    """Pin each `name>=version` to that version."""
    return [re.sub(r">=([\w.]+).*", r"==\1", requirement) for requirement in requirements]


def run_pytest(session: nox.Session, *options: str) -> None:
    """Run tests; if `COVERAGE` is set, measure what they cover, for the session `coverage`."""
    measured = ["coverage", "run", "-m"] if os.environ.get("COVERAGE") else []
    session.run(*measured, "pytest", *options, env=QUICK)


def debian(session: nox.Session, programs: Mapping[str, str]) -> None:
    """Install Debian's packages whose programs, named or at a path, are missing."""
    missing = [
        package
        for package, program in programs.items()
        if not (any(Path("/").glob(program[1:])) if program[0] == "/" else shutil.which(program))
    ]
    if not missing:
        return
    as_root = [] if os.getuid() == 0 else ["sudo", "-n"]
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    session.run_install(*as_root, "apt-get", "update", "-qq", external=True)
    install = ["apt-get", "install", "-qq", "--no-install-recommends", *missing]
    session.run_install(*as_root, *install, env=env, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run most tests, in two minutes; arguments go to pytest, and take the place of all options."""
    session.install("-e", ".[cli]", *group("tests"))
    run_pytest(session, *(session.posargs or [*PARALLEL, "-m", "not slow"]))


@nox.session
def slow(session: nox.Session) -> None:
    """Run what is rare thoroughly, then the other asynchronous ones in asyncio's debug mode."""
    session.install("-e", ".[cli]", *group("slow"))
    if session.posargs:
        run_pytest(session, *session.posargs)
        return
    run_pytest(session, *PARALLEL, "--hypothesis-profile", "thorough", "-m", "slow")
    debugged = ["-o", "asyncio_debug=true", "-m", "asyncio and not slow"]
    session.run("pytest", *PARALLEL, *debugged, env=QUICK)


@nox.session
def coverage(session: nox.Session) -> None:
    """Demand that `COVERAGE=1 nox -s tests slow` covered everything."""
    session.install(*group("coverage"))
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--omit", DURABLE)


@nox.session
def durable(session: nox.Session) -> None:
    """Run the tests of durable waits and the examples, with Postgres, Redis and Chromium of Debian."""
    programs = {"chromium": "chromium", "chromium-driver": "chromedriver", "redis-server": "redis-server"}
    debian(session, {**programs, "postgresql": "/usr/lib/postgresql/*/bin/postgres"})
    session.install("-e", ".[cli,durable]", *group("durable"))
    env = {**QUICK, "COVERAGE_FILE": str(Path(session.create_tmp()) / "coverage")}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *PARALLEL, *DURABLE_TESTS, *session.posargs, env=env)
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", "--include", DURABLE, env=env)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def every_python(session: nox.Session) -> None:
    """Run the suite on each Python that is there, with the newest dependencies."""
    session.install("-e", ".[cli]", *group("slow"))
    session.run("pytest", *(session.posargs or PARALLEL))


@nox.session
def uvloop(session: nox.Session) -> None:
    """Run the suite on uvloop, the private loop of the blocking client included."""
    session.install("-e", ".[cli,speed]", *group("slow"))
    session.run("pytest", *(session.posargs or PARALLEL), env={"STREAM_UVLOOP": "1"})


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the suite on the oldest allowed dependencies."""
    project = PYPROJECT["project"]
    pins = oldest([*project["dependencies"], *project["optional-dependencies"]["cli"]])
    session.install("-e", ".", *pins, *group("slow"))
    session.run("pytest", *(session.posargs or PARALLEL))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the direction of imports."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy, and the public API's with pyright too."""
    session.install("-e", ".[cli,durable,otel,prometheus]", *group("typing"), *group("tests"), "nox")
    session.run("mypy")
    # The node that was installed with it, and no look for a newer pyright.
    env = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site; a warning is an error, and so is a broken link within it."""
    session.install("-e", ".[cli,durable,otel,prometheus]", *group("docs"))
    site = Path("build") / "docs"
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", str(site))
    session.run("python", "docs/check_links.py", str(site))
    session.log(f"open {site / 'index.html'}")


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities in what is installed with the package, extras included."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    # Tools are not audited, and pip-audit, which is one, resolves these in an environment of its own.
    asked = Path(session.create_tmp()) / "requirements.txt"
    asked.write_text("\n".join([*project["dependencies"], *(name for extra in extras for name in extra)]))
    session.install("pip-audit>=2.7")
    report = asked.with_name("report.json")
    report.unlink(missing_ok=True)
    command = ["pip-audit", "--requirement", str(asked), "--format", "json", "--output", str(report)]
    said = session.run(*command, "--progress-spinner", "off", success_codes=[0, 1], silent=True) or ""
    if not report.exists():
        # One failure for an unreachable service and for a vulnerability: only the latter is reported on.
        session.skip(f"pip-audit could ask nobody: {said.strip().rpartition(chr(10))[2]}")
    found = json.loads(report.read_text())["dependencies"]
    vulnerable = [one for one in found if one.get("vulns")]
    if vulnerable:
        session.error(json.dumps(vulnerable, indent=2))
    unknown = [one["skip_reason"] for one in found if "skip_reason" in one]
    if unknown:
        session.skip(f"{len(unknown)} of {len(found)} packages could not be looked up: {unknown[0]}")
    session.log(f"{len(found)} packages, none with a known vulnerability")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel, and look into both."""
    out = Path(session.create_tmp()) / "dist"
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(out), silent=True)
    session.run("twine", "check", "--strict", *map(str, out.iterdir()))
    wheel = next(out.glob("*.whl"))
    session.install("--force-reinstall", str(wheel))
    names = session.run("python", "-m", "zipfile", "-l", str(wheel), silent=True) or ""
    if "tests/" in names or "py.typed" not in names:
        session.error(f"unexpected files in {wheel.name}:\n{names}")
    # The fixtures come with it, and need no other plugin of pytest.
    session.install("pytest")
    with session.chdir(session.create_tmp()):
        Path("test_kit.py").write_text(KIT)
        session.run(
            "python", "-W", "error", "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", "test_kit.py"
        )


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against bare aiohttp and getstream; a full run takes a quarter of an hour."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Wait for two minutes on a server full of faults; nothing may be lost or grow."""
    session.install("-e", ".")
    session.run("python", "-W", "error", "tests/soak.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the main job on the embedded server."""
    session.install("-e", ".[cli]")
    session.run("stream-tasks", "demo", *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """Draw the pictures: what the commands show on a terminal, and the plots of the site."""
    session.install("-e", ".[cli]", "pyte", "pytest")
    session.run("python", "tests/pictures/draw.py")
    session.run("python", "docs/plots.py")


if __name__ == "__main__":
    sys.exit("run me with nox")
