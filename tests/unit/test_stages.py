"""`make test` runs the tests in two stages, each of which imports the files that have tests of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import conftest
import pytest

if TYPE_CHECKING:
    from pathlib import Path

QUICK = "def test_a(): pass\n"
PATIENT = "import pytest\n\n@pytest.mark.slow\ndef test_b(): pass\n"
EXCEPTION = "import pytest\n\n@pytest.mark.fast\ndef test_c(): pass\n"


def configured(stage: str) -> Any:
    return SimpleNamespace(option=SimpleNamespace(markexpr=stage), getoption=lambda _: 7)


@pytest.mark.parametrize(
    ("name", "text", "ignored"),
    [
        ("unit/test_quick.py", QUICK, "not fast"),
        ("unit/test_both.py", QUICK + PATIENT, ""),
        ("unit/test_units.py", QUICK, "fast"),
        ("unit/test_repeat_failed.py", QUICK + EXCEPTION, ""),
        ("chaos/test_faults.py", QUICK, "fast"),
    ],
)
def test_a_stage_ignores_the_files_without_tests_of_it(tmp_path: Path, name: str, text: str, ignored: str) -> None:
    """A file has tests of the stage of its folder, and of the marks that it names."""
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    found = {stage for stage in conftest.STAGES if conftest.pytest_ignore_collect(file, configured(stage))}
    assert found == ({ignored} if ignored else set())
    assert conftest.pytest_ignore_collect(file, configured("")) is None, "all tests, in one stage"
    assert conftest.pytest_ignore_collect(file.parent, configured("fast")) is None


def test_a_test_that_neither_stage_would_run_is_refused(tmp_path: Path) -> None:
    """Its mark comes from somewhere else, so that the file is ignored where the test belongs."""
    file = tmp_path / "test_quick.py"
    file.write_text(QUICK, encoding="utf-8")
    item = SimpleNamespace(path=file, nodeid="test_quick.py::test_a", name="test_a")
    item.get_closest_marker = lambda name: name == "slow" or None
    with pytest.raises(pytest.UsageError, match=r"test_quick\.py::test_a is not fast"):
        conftest.pytest_collection_modifyitems(configured(""), [item])  # type: ignore[list-item] # all that it needs
