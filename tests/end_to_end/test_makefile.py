"""`make` on machines with an old Python, with an environment whose Python is gone, and with an index of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import need

ROOT = Path(__file__).parents[2]

PYTHON = """#!/bin/sh
# a Python that makes environments which install nothing
echo "$@" >> {log}
case "$1 $2" in
"-m venv")
    for folder; do :; done
    rm -rf "$folder"; mkdir -p "$folder/bin"
    for name in python pip lineside; do cp "$0" "$folder/bin/$name"; done;;
"-c "*) exec {python} "$@";;
esac
"""

OLD = """#!/bin/sh
case "$1" in
--version) echo "Python 3.9.2";;
-c) exit 1;;
*) echo "$@" >> {log};;
esac
"""


class Copy:
    """The Makefile and the files that it depends on, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "python.log"
        self.python = folder / "python3"
        (folder / "tools").mkdir()
        for name in (
            "Makefile",
            "requirements.txt",
            "requirements-dev.txt",
            "pyproject.toml",
            "tools/install-packages",
        ):
            shutil.copy(ROOT / name, folder / name)
        self.becomes(PYTHON)

    def becomes(self, script: str) -> None:
        """Make the Python of the system another."""
        self.python.write_text(script.format(log=self.log, python=sys.executable))
        self.python.chmod(0o755)

    def make(self, target: str = "setup") -> subprocess.CompletedProcess[str]:
        """Run make, with this Python as that of the system."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(
            [need("make"), target, f"PYTHON={self.python}"],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def made(self) -> int:
        """Return how many environments were made so far."""
        return self.log.read_text().count("-m venv") if self.log.exists() else 0


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.mark.parametrize("target", ["setup", "demo", "check"])
def test_old_python_is_one_line_and_nothing_is_made(copy: Copy, target: str) -> None:
    """The line names the version that was found, and what to type."""
    copy.becomes(OLD)
    result = copy.make(target)
    assert result.returncode == 2
    said = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    advice = f"name another, as in: make {target} PYTHON=python3.11"
    assert said == [f"Lineside needs Python 3.11 or newer, and {copy.python} is Python 3.9.2: {advice}"]
    assert not (copy.folder / ".venv").exists()
    assert not copy.log.exists()


def test_python_that_is_not_there_is_one_line(copy: Copy) -> None:
    """A fresh machine may have none."""
    copy.python.unlink()
    result = copy.make()
    assert result.returncode == 2
    assert f"{copy.python} is not there" in result.stderr
    assert not (copy.folder / ".venv").exists()


def test_environment_is_made_once(copy: Copy) -> None:
    """A second run has nothing to do."""
    assert copy.make().returncode == 0
    assert copy.make().returncode == 0
    assert copy.made() == 1


@pytest.mark.parametrize("kind", ["gone", "of another version", "half made"])
def test_broken_environment_is_made_again(copy: Copy, kind: str) -> None:
    """An upgrade of the system removes the Python that an environment was made with, or replaces it."""
    assert copy.make().returncode == 0
    python = copy.folder / ".venv" / "bin" / "python"
    python.unlink()
    if kind == "gone":
        python.symlink_to("/nonexistent/python3.11")
    elif kind == "of another version":  # which has no libraries in this environment
        python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'pip'\" >&2; exit 1\n")
        python.chmod(0o755)
    result = copy.make()
    assert result.returncode == 0, result.stderr
    assert copy.made() == 2
    assert "nonexistent" not in result.stderr
    assert copy.make().returncode == 0
    assert copy.made() == 2


INSTALLER = """#!/bin/sh
# an installer that installs nothing: a line for each call, and what the requirements of uv are
here=$(dirname "$0"); me=$(basename "$0")
case "$1" in
config) cat "$here/configuration"; exit;;
esac
for file; do :; done
case "$file" in
/dev/fd/*) file=$(sed -n 's/ .*//;1p' "$file"); cp "$0" "$here/uv";;
esac
echo "$me $file" >> "$here/log"
[ ! -e "$here/$me.fails" ] || { echo "$me has failed" >&2; exit 1; }
"""


class Installers:
    """A virtual environment whose pip and uv install nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "pip").write_text(INSTALLER)
        (self.bin / "pip").chmod(0o755)
        self.configured("")

    def configured(self, lines: str) -> None:
        """Change what `pip config list` prints."""
        (self.bin / "configuration").write_text(lines)

    def fails(self, name: str) -> None:
        """Let an installer fail from now on."""
        (self.bin / f"{name}.fails").touch()

    def install(self) -> tuple[int, str, list[str]]:
        """Install the requirements; return the exit code, the messages, and the calls of installers so far."""
        script = ROOT / "tools" / "install-packages"
        ended = subprocess.run([script, self.folder, "requirements.txt"], capture_output=True, text=True, check=False)
        return ended.returncode, ended.stderr, (self.bin / "log").read_text().splitlines()


@pytest.fixture
def installers(tmp_path: Path) -> Installers:
    return Installers(tmp_path)


def test_packages_are_installed_with_the_pinned_uv(installers: Installers) -> None:
    """It comes first, from its own lines of the requirements, and once."""
    pinned = re.findall(r"^uv==\S+", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    first = [f"pip {pinned[0]}", "uv requirements.txt"]
    assert installers.install() == (0, "", first)
    assert installers.install() == (0, "", [*first, "uv requirements.txt"])


@pytest.mark.parametrize(
    "configuration",
    ["global.index-url='https://packages.plant.test/simple'\n", "global.timeout='9'\n:env:.no-index='1'\n"],
)
def test_index_that_only_pip_knows_is_used(installers: Installers, configuration: str) -> None:
    """A plant whose machines reach an index of the company alone names it in the configuration of pip."""
    installers.configured(configuration)
    assert installers.install() == (0, "", ["pip requirements.txt"])


def test_pip_follows_where_uv_fails(installers: Installers) -> None:
    """As behind a proxy whose certificate only pip knows."""
    installers.install()
    installers.fails("uv")
    assert installers.install() == (
        0,
        "",
        [*installed(installers)[:2], "uv requirements.txt", "pip requirements.txt"],
    )


def test_requirements_that_neither_installs_are_an_error(installers: Installers) -> None:
    """The message is that of pip."""
    installers.install()
    installers.fails("uv")
    installers.fails("pip")
    code, messages, _ = installers.install()
    assert (code, messages) == (1, "pip has failed\n")


def installed(installers: Installers) -> list[str]:
    """Return the calls of installers so far."""
    return (installers.bin / "log").read_text().splitlines()
