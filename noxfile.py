"""The menu of checks: `nox -l` lists it."""

import re
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "typing"]

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """The packages of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def oldest(requirements: list[str]) -> list[str]:
    """Pin each `name>=version` to that version."""
    return [re.sub(r">=([\w.]+).*", r"==\1", requirement) for requirement in requirements]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite and demand full coverage; arguments go to pytest, which then runs alone."""
    session.install("-e", ".[cli]", *group("tests"))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the suite on the oldest allowed dependencies."""
    project = PYPROJECT["project"]
    pins = oldest([*project["dependencies"], *project["optional-dependencies"]["cli"]])
    session.install("-e", ".", *pins, *group("tests"))
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the direction of imports."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[cli]", *group("typing"), *group("tests"), "nox")
    session.run("mypy")


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


if __name__ == "__main__":
    sys.exit("run me with nox")
