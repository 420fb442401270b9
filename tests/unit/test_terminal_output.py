"""The output of a command steers no terminal, no matter what names, readings, devices and files contain."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import click
import orjson
import pytest
import structlog
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import gateway
from drivers.base import Quality
from gateway.check.results import CheckedMachine, Report
from gateway.check.text import lines as check_lines
from gateway.cli import main
from gateway.cli.output import echo, echo_data, echo_json
from gateway.cli.rows import reading_line
from gateway.common.logging import configure_logging, flush_logging, reset_logging
from gateway.common.text import printable, printable_json, printable_lines
from gateway.model.path import MachinePath
from gateway.model.reading import Reading

EVERY = [chr(number) for number in range(sys.maxunicode + 1)]

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""The controls of bidirectional text (UAX #9, table 3)."""

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202egnp.exe\r\nFAKE line\x7f\u2028\ud800"
"""A title, an erased screen twice, a reversed text, a forged line, and characters without a picture."""

PATH = MachinePath("a", "b", "c", "d", "e")


def steers(character: str) -> bool:
    """Return whether a character is one of Unicode that may steer a terminal or reverse a text."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.slow
def test_no_character_of_unicode_gets_through() -> None:
    """All 1,114,112 code points: a list of the bad characters would always lack some."""
    shown = printable("".join(EVERY))
    assert shown.isprintable()
    assert not any(map(steers, set(shown)))
    assert not any(map(steers, set(printable_lines("".join(EVERY))) - {"\n"}))
    assert not set(printable(BIDI + "\x1b\x9b\x90\x9d")) & set(BIDI + "\x1b\x9b\x90\x9d")


@pytest.mark.slow
def test_each_character_that_has_a_picture_is_shown_as_it_is() -> None:
    """Plants name things in their own language."""
    for character in EVERY:
        assert (printable(character) == character) is character.isprintable()


@given(st.text(), st.text())
def test_json_means_the_same_to_a_program(key: str, value: str) -> None:
    """A program must get the very text, U+009B and U+202E included."""
    document = json.dumps({key: [value, key]}, ensure_ascii=False, indent=2)
    shown = printable_json(document)
    assert json.loads(shown) == {key: [value, key]}
    assert not any(steers(one) for one in shown if one != "\n")


@pytest.mark.slow
def test_json_of_every_character_means_the_same() -> None:
    """orjson writes all but C0 as it is, so the rest of the escapes are made here."""
    text = "".join(one for one in EVERY if not "\ud800" <= one <= "\udfff")
    shown = printable_json(orjson.dumps({"text": text}).decode())
    assert json.loads(shown) == {"text": text}
    assert shown.isprintable()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_reading_is_one_line_that_steers_nothing(style: str) -> None:
    """A user who may write a text of a device would write on the screens of those who look at it."""
    value = HOSTILE.replace("\ud800", "")
    line = reading_line(Reading(PATH, "x" + value, 0, value, value, Quality.BAD, value, value, late=False), style)
    assert line.isprintable()
    if style == "json":
        assert json.loads(line)["value"] == value


def test_csv_is_exact_in_a_file_and_escaped_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is data: a program must read the very text, and a person at a terminal must be safe."""
    file = tmp_path / "out.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        echo_data("a,\x1b[2J", file=opened)
    assert file.read_text() == "a,\x1b[2J\n"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    echo_data("a,\x1b[2J")
    echo(f"b {HOSTILE}")
    echo_json(orjson.dumps({"c": "\x9b"}))
    assert not any(steers(one) for one in terminal.getvalue() if one != "\n")


def test_the_lines_of_a_check_have_colours_and_nothing_else_of_theirs() -> None:
    """They are the only lines with escape sequences, so each part of them is made printable before."""
    machine = CheckedMachine(
        path=PATH._replace(machine=HOSTILE), template=HOSTILE, connection=HOSTILE, points=[], findings=[], notes=[]
    )
    report = Report(file=HOSTILE, machines=[machine], findings=[], notes=[HOSTILE], seconds=1.0)
    for line in check_lines(report, 100, every_point=True):
        assert not any(map(steers, click.unstyle(line)))


def test_an_error_of_a_command_steers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of a store or a device is text of others, too."""

    def fail(**_: object) -> None:
        raise click.ClickException(HOSTILE)

    monkeypatch.setattr("gateway.cli.validate.validate.callback", fail)
    ran = CliRunner().invoke(main, ["validate", "x.yaml"])
    assert ran.exit_code == 1
    assert "FAKE line" in ran.output
    assert not any(steers(one) for one in ran.output if one != "\n")


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_log_line_is_one_line_that_steers_nothing(
    style: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A topic or a device's error in a field could end the line and begin another."""
    file = tmp_path / "log"
    with file.open("w", encoding="utf-8") as opened:
        monkeypatch.setattr(sys, "stderr", opened)
        configure_logging(style)
        try:
            text = HOSTILE.replace("\ud800", "")
            log = structlog.get_logger("gateway.test")
            log.warning("message.set_aside", topic=text, error=[text], **{"a\x1b[2J": {text: text}})
            flush_logging()
        finally:
            reset_logging()
    content = file.read_text(encoding="utf-8")
    assert content.count("\n") == 1
    assert "FAKE line" in content
    assert not any(steers(one) for one in content if one != "\n")


def test_commands_print_in_no_other_way() -> None:
    """One line with `click.echo` of a name would be enough."""
    root = Path(gateway.__file__).parent
    other = re.compile(r"click\.(?:secho|echo)\(|(?<![\w.])print\(|sys\.stdout\.write\(")
    allowed = {"cli/output.py", "cli/progress.py"}
    found = [
        str(file.relative_to(root))
        for file in sorted(root.rglob("*.py"))
        if other.search(re.sub(r'(?s)""".*?"""', "", file.read_text(encoding="utf-8")))
    ]
    assert set(found) <= allowed
