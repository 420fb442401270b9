"""The prose linter finds the words that the glossary replaces, and leaves code and correct English alone."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def prose() -> ModuleType:
    spec = spec_from_file_location("prose", ROOT / "tools" / "prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["prose"] = module
    spec.loader.exec_module(module)
    return module


def found(prose: ModuleType, folder: Path, name: str, text: str) -> list[str]:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return [finding.found for finding in prose.check_file(file)]


@pytest.mark.parametrize(
    "text",
    [
        "Tell of a clock that is far from ours.",
        "The gateway is told which records are stored.",
        "The unit is none of UCUM.",
        "`7up` is no unit.",
        "The spool keeps what waits.",
        "A record that is held blocks the newer ones.",
        "The database replaces the old one.",
        "The rate hangs on the load.",
        "The file stands beside the spool.",
        "The message is refused for ever.",
        "Topics that were barred are tried again.",
        "There is nobody listens at all on the topic.",
        "Simply start it, e.g. with `run`.",
        "The broker throws them out.",
        "One " + "very " * 40 + "long sentence.",
    ],
)
def test_words_that_the_glossary_replaces_are_found(prose: ModuleType, tmp_path: Path, text: str):
    """A linter that can't fail checks nothing."""
    assert found(prose, tmp_path, "page.md", f"# Title\n\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "The check shows what is wrong, and what to do about it.",
        "There is no connection to the device.",
        "The machine is `Held`; the state Held is from PackML.",
        "A value is no larger than the range allows.",
        "Several ingests share one subscription, and one of them confirms.",
        'The counter can tell apart late answers: `told`, "what it has".',
        "| what | default |\n|---|---|\n| `take` | none |",
        "```\nwhat it has, told for ever\n```",
        "<!-- prose: off -->\nTell of what is held.\n<!-- prose: on -->\n",
    ],
)
def test_correct_english_and_code_are_left_alone(prose: ModuleType, tmp_path: Path, text: str):
    """A linter with false alarms is switched off."""
    assert found(prose, tmp_path, "page.md", f"# What is checked\n\n{text}\n") == []


def test_docstrings_comments_messages_and_names_of_code_are_read(prose: ModuleType, tmp_path: Path):
    """Users read messages, and the next engineer reads the rest."""
    source = '''"""What is held."""

LIMIT = 3
"""The largest one that is told."""


def lending_of(told):
    # tell of it
    raise ValueError(f"{told} is none of the units")
'''
    findings = found(prose, tmp_path, "module.py", source)
    assert {"held", "told", "lending_of", "tell", "is none"} <= set(findings)


def test_comments_of_configurations_are_read(prose: ModuleType, tmp_path: Path):
    """They are the first text that a new user changes."""
    assert found(prose, tmp_path, "factory.yaml", "a: 1  # what is told\nb: {description: The old one}\n") == [
        "told",
        "what is",
        "old one",
    ]


def test_a_finding_names_its_line_and_the_words_to_write(prose: ModuleType, tmp_path: Path):
    """The reader needs the place and the fix."""
    file = tmp_path / "page.md"
    file.write_text("# Title\n\nA line that is right,\nand then it is written anew.\n", encoding="utf-8")
    assert [str(finding) for finding in prose.check_file(file)] == [f"{file}:4: 'anew': write: again"]


@pytest.mark.parametrize(
    "subject",
    ["Keep the metadata " + "of all machines " * 5, "Added a rule", "Fixing a rule", "Add a rule.", "wip"],
)
def test_commit_subjects_are_short_and_imperative(prose: ModuleType, subject: str):
    """A log of 72 columns is readable in every tool."""
    assert prose.check_subjects([subject])
    assert prose.check_subjects(["Add a rule for commit subjects", "Speed up the start", "Embed the broker"]) == []


def test_the_command_fails_on_findings_and_passes_without(tmp_path: Path):
    """`make check` stops at its exit code."""
    page = tmp_path / "page.md"
    for text, code in (("Tell of it.\n", 1), ("Report it.\n", 0)):
        page.write_text(text, encoding="utf-8")
        command = [sys.executable, str(ROOT / "tools" / "prose.py"), str(page)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code


def test_every_room_that_is_named_exists(prose: ModuleType):
    """A room that was moved would no longer be checked."""
    assert [room for room in (*prose.ROOMS, *prose.LEFT_OUT) if not (ROOT / room).exists()] == []


def test_glossary_explains_every_quality_reason():
    """The reasons are an interface: a reader of stored data looks them up."""
    from drivers.quality import Reason

    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    section = glossary[glossary.index("## Quality") : glossary.index("## Acquisition")]
    assert {str(reason) for reason in Reason} <= set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
