"""docs/operations.md, from its first command to its last, on a copy of this machine's system."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packages import DEBCONF, PYTHON, SECOND, only, system_python
from processes import need
from system_copy import SystemCopy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(900)  # the first of them builds all packages

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "operations.md"

STAND_IN = """\
#!/bin/sh
# notes how it was called
echo "$(basename "$0") $*" >>/tmp/calls
"""
ABSENT = ("systemctl", "docker")
"""Programs that talk to services which a copy of a system does not have."""

FASTER = {"PIP_NO_COMPILE": "1"}
"""pip compiles no file: no command of the page depends on it, and it takes most of the time of an installation."""

UNIT = re.compile(r"^systemctl (?:enable --now|disable --now|start|stop|status) lineside-(?:gateway|ingest)@factory$")
COMPOSE = re.compile(r"^docker compose (?:up|ps)\b")
"""Their calls that the page may have."""


def commands() -> list[str]:
    """Return the lines of all shell blocks from Install to Remove."""
    text = DOCUMENT.read_text(encoding="utf-8")
    part = text[text.index("## Install") : text.index("## Sizing")]
    blocks = re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[SystemCopy]:
    (tmp_path / "system").mkdir()
    with SystemCopy(tmp_path / "system") as copy:
        yield copy


def test_every_command_of_the_page_does_what_it_says(dist: Path, system: SystemCopy) -> None:
    """Plant IT copies them, at night, with a box that has to run again in the morning."""
    if system_python() != PYTHON:
        pytest.skip(f"a package for this Python is not for the system's Python {system_python()}")
    need("openssl")
    here = system.root / "work-of-a-person"
    shutil.copytree(dist, here)
    shutil.copy(only(dist / SECOND, "lineside_*.deb"), here)
    shutil.copytree(ROOT / "deploy", here / "deploy", ignore=shutil.ignore_patterns("secrets"))
    (here / "broker_password").write_text("s3cret\n", encoding="utf-8")
    for name in ABSENT:
        (system.root / "usr/local/bin" / name).write_text(STAND_IN, encoding="utf-8")
        (system.root / "usr/local/bin" / name).chmod(0o755)
    system.compile_no_packages()  # no command of the page depends on it
    said = {}
    (here / "passphrase").write_text("kettle-river-41-piano\n", encoding="utf-8")
    identity = system.root / "var/lib/lineside/users.yaml"
    secret = system.root / "etc/lineside/secrets/broker_password"
    for line in commands():
        if " lineside backup " in line:
            identity.write_text("format: 1\nusers: {}\n", encoding="utf-8")
        shell = f"cd /work-of-a-person && set -e\n{line}"
        said[line] = system.run("bash", "-c", shell, HOME="/root", **FASTER, **DEBCONF)
        if " lineside backup " in line:
            identity.unlink()  # the disk of the box fails
        if line.startswith("lineside restore") and "--yes" in line:
            assert identity.stat().st_uid == identity.parent.stat().st_uid != 0
            assert identity.stat().st_mode & 0o777 == 0o600
            assert identity.read_text(encoding="utf-8") == "format: 1\nusers: {}\n"
            audit = system.root / "var/lib/lineside/audit"
            assert {file.stat().st_uid for file in (audit, *audit.iterdir())} == {identity.stat().st_uid}
        if line.startswith("install -m 0600"):
            assert secret.read_text(encoding="utf-8") == "s3cret\n"
        if "lineside decommission" in line and "--yes" in line:
            assert not identity.exists()
    calls = (system.root / "tmp/calls").read_text(encoding="utf-8").splitlines()
    assert len(calls) >= 8
    assert [call for call in calls if not (UNIT.match(call) or COMPOSE.match(call))] == []
    versions = [text for line, text in said.items() if "--version" in line]
    assert len(versions) == 3
    assert len(set(versions)) == 1
    assert "valid: 1 machine" in said["lineside validate /etc/lineside/factory.yaml"]
    for folder in ("opt/lineside", "etc/lineside", "var/lib/lineside"):
        assert not (system.root / folder).exists()
    assert (here / "deploy/compose/secrets/ca.pem").exists()
