"""The line of progress: on a terminal only, after a moment, and gone at the end."""

from __future__ import annotations

import io
import threading
import time
from types import SimpleNamespace

import pytest

from gateway.cli import progress
from gateway.cli.progress import Progress

ERASE = "\r\x1b[K"


class Terminal(io.StringIO):
    """A terminal that remembers everything on it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal of 40 columns, and let the line appear at once."""
    found = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=found))  # pytest has its own
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "DELAY", 0.001)
    monkeypatch.setattr(progress, "REDRAW", 0.001)
    return found


def written(terminal: Terminal, text: str) -> str:
    """Wait until a text is on the terminal, and return everything on it."""
    deadline = time.monotonic() + 30
    while text not in terminal.getvalue():
        assert time.monotonic() < deadline, terminal.getvalue()
        time.sleep(0.001)
    return terminal.getvalue()


def test_line_shows_the_newest_text_and_is_erased_at_the_end(terminal: Terminal) -> None:
    """The result that is printed next begins on an empty line."""
    with Progress("reading factory.yaml") as line:
        written(terminal, "reading factory.yaml  0 s")
        line.count(1200, 5000, "devices read")
        written(terminal, "1,200 of 5,000 devices read  0 s")
    assert terminal.getvalue().endswith(ERASE)
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_empty_text_erases_the_line_at_once(terminal: Terminal) -> None:
    """Something else may draw on the terminal next, as the demo does."""
    with Progress("starting") as line:
        written(terminal, "starting")
        line.show("")
        shown = terminal.getvalue()
        assert shown.endswith(ERASE)
        time.sleep(0.02)
        assert terminal.getvalue() == shown


def test_line_is_shorter_than_the_terminal(terminal: Terminal) -> None:
    """A wrapped line could not be erased."""
    with Progress("x" * 200):
        pieces = written(terminal, "xxx").split(ERASE)
    assert {len(piece) for piece in pieces if piece} == {39}


def test_other_lines_are_printed_above_it(terminal: Terminal) -> None:
    """A trace is read later; it has no remains of the progress in it."""
    with Progress("reading") as line:
        written(terminal, "reading  0 s")
        line.print("wire.sent 01 03")
        written(terminal, "wire.sent 01 03\n")
    assert f"{ERASE}wire.sent 01 03\n" in terminal.getvalue()


def test_line_is_erased_after_a_failure(terminal: Terminal) -> None:
    """The message of the failure begins on an empty line, too."""

    def work() -> None:
        with Progress("reading"):
            written(terminal, "reading")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert terminal.getvalue().endswith(ERASE)


def test_short_work_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that flashes disturbs."""
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with Progress("reading"):
        pass
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("reason", ["not a terminal", "dumb", "closed"])
def test_nothing_is_shown_where_it_could_not_be_erased(
    terminal: Terminal, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log file full of progress hides what matters."""
    if reason == "not a terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    elif reason == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=None))
    with Progress("reading") as line:
        assert "progress" not in {thread.name for thread in threading.enumerate()}
        line.show("more")
    assert terminal.getvalue() == ""
