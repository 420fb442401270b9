"""A kill in the middle of a start: at every system call that changes a file, and again in the next start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

MEMORY = Path("/dev/shm")  # noqa: S108 - a kill loses nothing that a sync would save, and syncs cost most of the time


@pytest.mark.timeout(600)  # 13 s of processor time
def test_a_start_that_is_killed_anywhere_loses_nothing(tmp_path: Path) -> None:
    """A gateway that was killed while SQLite switched to WAL mode never started again."""
    library = tmp_path / "kill_at.so"
    source = TESTS / "chaos" / "kill_at.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else tmp_path))
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "chaos.kill_starts", folder],
            check=False, cwd=TESTS, env=os.environ | {"LD_PRELOAD": str(library)}, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    assert ran.returncode == 0, ran.stderr[-5000:]
    calls = json.loads(ran.stdout)
    assert len(calls) == 5
    assert all(number > 20 for number in calls.values()), "the calls are intercepted"
