"""Files of other programs, each in a folder of `tests/cases/import` beside the factory and the notes it becomes.

A case is one file to import, `options.txt` if it needs options, `notes.txt` if there are notes, and `expected/`. In
the folder of a case, `lineside import FILE --out expected OPTIONS 2> notes.txt` writes a new expectation.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.importers.formats import FORMATS
from gateway.settings.load import load_factory

CASES = sorted(folder for folder in (Path(__file__).parents[1] / "cases" / "import").iterdir() if folder.is_dir())


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def test_every_format_has_a_name_of_its_own_and_is_documented() -> None:
    """The name is the value of `--from`."""
    page = (Path(__file__).parents[2] / "docs" / "import.md").read_text(encoding="utf-8")
    names = [one.name for one in FORMATS]
    assert len(names) == len(set(names))
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_becomes_the_expected_factory_and_notes(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--from`: the format is recognised by the content."""
    own = {"options.txt", "notes.txt", "expected"}
    [file] = [entry.name for entry in case.iterdir() if entry.name not in own]
    monkeypatch.chdir(case)
    options = shlex.split(text_of(Path("options.txt")))
    ran = CliRunner().invoke(main, ["import", file, "--out", str(tmp_path), *options])
    assert ran.exit_code == 0, ran.stderr
    expected = {path.relative_to("expected"): text_of(path) for path in Path("expected").rglob("*.yaml")}
    made = {path.relative_to(tmp_path): text_of(path) for path in tmp_path.rglob("*.yaml")}
    assert made == expected
    assert ran.stderr == text_of(Path("notes.txt"))
    assert load_factory(tmp_path / "factory.yaml").machines
