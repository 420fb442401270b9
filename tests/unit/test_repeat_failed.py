"""A run of all tests repeats the few with processes that failed, alone, and fails if one of them fails again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "repeat_failed.py"

TESTS = """
import pathlib, pytest

def once(number):
    before = pathlib.Path(f"ran-{{number}}")
    found = before.exists()
    before.touch()
    assert found

@pytest.mark.parametrize("number", range({unstable}))
def test_unstable(number):
    once(number)

@pytest.mark.fast
@pytest.mark.parametrize("number", range({fast}))
def test_fast(number):
    once("fast")

@pytest.mark.parametrize("number", range({wrong}))
def test_wrong(number):
    assert False

def test_right():
    pathlib.Path("right").open("a").write("x")
"""

STAGE = """
def pytest_ignore_collect(collection_path, config):
    return config.option.markexpr == "fast" and collection_path.name == "test_all.py" or None
"""
"""A stage that ignores the file, as `tests/conftest.py` has it: the names of the failed tests select them."""

BARE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""The environment of a pytest that starts in half the time: these tests need no plugin."""


def run(folder: Path, unstable: int = 0, wrong: int = 0, fast: int = 0) -> tuple[int, str]:
    """Run all tests of a folder as `make test` does; return the exit code, and the output of the repetition."""
    (folder / "test_all.py").write_text(TESTS.format(unstable=unstable, wrong=wrong, fast=fast), encoding="utf-8")
    (folder / "conftest.py").write_text(STAGE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  fast\n", encoding="utf-8")
    first = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder, env=BARE, check=False, capture_output=True
    )
    again = [sys.executable, TOOL, str(first.returncode)]
    done = subprocess.run(again, cwd=folder, env=BARE, check=False, capture_output=True, text=True)
    assert (folder / "right").read_text(encoding="utf-8") == "x", "only failed tests run again"
    return done.returncode, done.stdout


def test_an_unstable_test_is_named(tmp_path: Path) -> None:
    code, said = run(tmp_path, unstable=2)
    assert code == 0
    assert "2 passed" in said
    names = ", ".join(f"test_all.py::test_unstable[{number}]" for number in range(2))
    assert said.splitlines()[-1] == f"UNSTABLE: failed beside other tests, passed alone: {names}"


@pytest.mark.parametrize(
    ("unstable", "wrong", "repeated"), [(0, 1, True), (1, 1, True), (3, 0, False), (0, 3, False)]
)
def test_a_wrong_test_fails_the_run_and_so_do_many(
    tmp_path: Path, unstable: int, wrong: int, *, repeated: bool
) -> None:
    code, said = run(tmp_path, unstable, wrong)
    assert code == 1
    assert ("repeating alone" in said) is repeated
    assert "UNSTABLE" not in said


def test_a_fast_test_that_failed_fails_the_run(tmp_path: Path) -> None:
    """It waits for no process: load does not explain it."""
    code, said = run(tmp_path, fast=1)
    assert code == 1
    assert "repeating alone" not in said
    assert "UNSTABLE" not in said


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_a_run_that_could_not_run_its_tests_is_not_repeated(tmp_path: Path, code: int) -> None:
    done = subprocess.run([sys.executable, TOOL, str(code)], cwd=tmp_path, check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (code, b"")
