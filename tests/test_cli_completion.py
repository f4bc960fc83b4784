"""Shell completion: the scripts are valid, and shells offer what the command line has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stream_tasks.cli.app import commands

SHELLS = ["bash", "zsh", "fish"]


def shell(name: str, *args: str, **variables: str) -> str:
    """Run a shell without anyone's start-up files; return what it prints."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    ended = subprocess.run(
        [found, *quiet, *args], capture_output=True, text=True, check=False, env=os.environ | variables
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``stream-tasks`` on the PATH."""
    script = tmp_path / "stream-tasks"
    script.write_text(f"#!{sys.executable}\nfrom stream_tasks.__main__ import main\nmain()\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def script_for(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Ask the command line for a script."""
    with pytest.raises(SystemExit) as ended:
        commands(["completion", name], prog_name="stream-tasks")
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    return out


@pytest.mark.parametrize("name", SHELLS)
def test_syntax(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The shell finds nothing wrong with its script."""
    path = tmp_path / "script"
    path.write_text(script_for(name, capsys))
    assert shell(name, "-n", str(path)) == ""


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(["wa"], {"wait"}, id="a command"),
        pytest.param([""], set(commands.commands), id="all commands", marks=pytest.mark.slow),
        pytest.param(["wait", "--ti"], {"--timeout"}, id="an option", marks=pytest.mark.slow),
        pytest.param(["doctor", "--api-"], {"--api-key", "--api-secret", "--api-secret-file"}, id="options"),
        pytest.param(["completion", ""], set(SHELLS), id="an argument's values", marks=pytest.mark.slow),
    ],
)
def test_bash(words: list[str], offered: set[str]) -> None:
    """After the line that its help names, bash offers commands, options and values."""
    typed = " ".join(f"'{word}'" for word in ["stream-tasks", *words])
    completing = f"""
        eval "$(stream-tasks completion bash)"
        complete -p stream-tasks > /dev/null
        COMP_WORDS=({typed}) COMP_CWORD={len(words)}
        _stream_tasks_completion stream-tasks
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert set(shell("bash", "-c", completing).split()) == offered


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("option", ["--from", "--journal", "--api-secret-file"])
@pytest.mark.slow
def test_bash_files(option: str) -> None:
    """Where a file is wanted, bash is left to offer the names of files."""
    typed = {"COMP_WORDS": f"stream-tasks wait {option} id", "COMP_CWORD": "3"}
    assert shell("bash", "-c", "stream-tasks", _STREAM_TASKS_COMPLETE="bash_complete", **typed) == "file,id\n"


@pytest.mark.usefixtures("program")
@pytest.mark.slow
def test_fish() -> None:
    """After the line that its help names, fish offers options with what they are for."""
    completing = "stream-tasks completion fish | source; complete --do-complete 'stream-tasks wait --time'"
    assert shell("fish", "-c", completing).startswith("--timeout\tThe time-out of the whole wait")


@pytest.mark.usefixtures("program")
@pytest.mark.slow
def test_zsh() -> None:
    """After the line that its help names, zsh knows whom to ask."""
    completing = """
        autoload -U compinit; compinit -u -D
        eval "$(stream-tasks completion zsh)"
        echo $_comps[stream-tasks]
    """
    assert shell("zsh", "-c", completing) == "_stream_tasks_completion\n"


def test_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """Another shell is refused with the names of those that are known."""
    with pytest.raises(SystemExit) as ended:
        commands(["completion", "tcsh"], prog_name="stream-tasks")
    assert ended.value.code == 2
    assert "'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
