"""Facts about the project that every package needs: its folder, version, time and description."""

from __future__ import annotations

import os
import subprocess
import tomllib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

NAME = "lineside"

REQUIREMENTS = ROOT / "requirements-service.txt"
"""The pinned and hashed dependencies of a gateway and an ingest with all their extras."""

NOT_IN_PRODUCTION = ("simulators", "gateway/demo")
"""Packages that an edge box does not need."""

OLDEST = 315_532_800
"""1980-01-01 in seconds since the epoch: the first time that a zip archive, such as a wheel, can have."""


def pyproject() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def version() -> str:
    """Return the version of this tree."""
    return str(pyproject()["project"]["version"])


def description() -> str:
    """Return the description of the project, in one line."""
    return str(pyproject()["project"]["description"])


@cache
def build_time() -> int:
    """Return the time of all files that are built, in seconds since the epoch.

    It is SOURCE_DATE_EPOCH, else the time of the last commit, so the same commit gives the same bytes.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        if not given.isdecimal():
            raise SystemExit(f"SOURCE_DATE_EPOCH is {given!r}; write seconds since the epoch")
        return max(int(given), OLDEST)
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return OLDEST  # not a clone
    return int(said)


def build_date() -> datetime:
    """Return the time of all files that are built, in UTC."""
    return datetime.fromtimestamp(build_time(), UTC)


def run(*command: str | Path, **environment: str) -> None:
    """Run a program with additional variables; its output is shown only if it fails. Raises `SystemExit`."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(build_time())} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\nexit code {done.returncode}")
