"""The log: one shape for all events, no secret, no storm, and no service that waits for it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import json
import logging
import os
import sys
import threading
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from drivers.redaction import HIDDEN, redact, remember
from drivers.secret import Secret
from gateway.common import log_writer
from gateway.common.log_limits import MAX_KEYS, OTHERS, LineLimit, Suppressed
from gateway.common.log_writer import EVENT_LINES, MAX_WAITING, LogWriter, writer_of
from gateway.common.logging import MAX_TEXT, configure_logging, flush_logging, reset_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = structlog.get_logger("gateway.test")


class Log:
    """A pipe that is the standard error of the process, and the lines that were written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reading, self._writing = os.pipe()
        fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, 2**20)  # all lines of a test fit in it
        self._stream = os.fdopen(self._writing, "w", closefd=False)
        self._monkeypatch = monkeypatch

    def configure(self, style: str, level: str, **fields: Any) -> None:
        """Configure the log; pytest has replaced standard error since the fixture was made."""
        self._monkeypatch.setattr(sys, "stderr", self._stream)
        configure_logging(style, level, **fields)

    def lines(self) -> list[dict[str, Any]]:
        """Write the lines that wait, and return all lines since the last call."""
        flush_logging()
        os.set_blocking(self.reading, False)
        text = b""
        with suppress(BlockingIOError):
            while part := os.read(self.reading, 2**20):
                text += part
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        """Close both ends; a test may have closed an end already."""
        reset_logging()
        self._stream.close()
        for end in (self.reading, self._writing):
            with suppress(OSError):
                os.close(end)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setattr(log_writer, "FLUSH_SECONDS", 60.0)  # a test machine may be slow
    log = Log(monkeypatch)
    yield log
    log.close()


@pytest.fixture
def logged(pipe: Log) -> Log:
    pipe.configure("json", "info")
    return pipe


HEAD = ["time", "level", "event", "logger"]


def test_events_of_lineside_and_messages_of_libraries_have_one_shape(logged: Log):
    """A log pipeline has one rule for all lines."""
    log.info("spool.opened", file="x.db", waiting=3)
    logging.getLogger("library.client").warning("renewing channel %s", 7)
    logging.getLogger("paho").error("broken", exc_info=ValueError("no"))
    ours, first, second = logged.lines()
    assert [list(line)[:4] for line in (ours, first, second)] == [HEAD] * 3
    assert (ours["level"], ours["event"], ours["logger"], ours["file"], ours["waiting"]) == (
        "info", "spool.opened", "gateway.test", "x.db", 3,
    )  # fmt: skip
    assert (first["event"], first["level"], first["logger"], first["message"]) == (
        "library.message", "warning", "library.client", "renewing channel 7",
    )  # fmt: skip
    assert (second["event"], second["level"], second["message"]) == ("library.message", "error", "broken")
    assert second["exception"].endswith("ValueError: no")
    assert ours["time"].endswith("Z")
    assert len(ours["time"]) == len("2026-12-01T06:00:02.120405Z")


def test_fields_of_a_process_are_in_all_lines(pipe: Log):
    """The lines of all workers of a gateway are in one log."""
    pipe.configure("json", "info", worker=2)
    log.info("spool.opened")
    logging.getLogger("asyncio").error("x")
    assert [line["worker"] for line in pipe.lines()] == [2, 2]


def test_what_nobody_catches_is_an_event(logged: Log):
    """A traceback that is not a line of JSON is lost in a log pipeline."""

    def fail() -> None:
        raise KeyError("in a thread")

    thread = threading.Thread(target=fail, name="mine")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
    with pytest.raises(KeyError) as raised:
        fail()
    sys.excepthook(KeyError, raised.value, raised.value.__traceback__)
    lines = {line["event"]: line for line in logged.lines()}
    assert lines["thread.failed"]["thread"] == "mine"
    assert "KeyError: 'in a thread'" in lines["thread.failed"]["exception"]
    assert "this is old" in lines["python.warning"]["message"]
    failed = lines["process.failed"]
    assert (failed["level"], failed["error"]) == ("critical", "KeyError: 'in a thread'")
    assert "test_logging.py" in failed["exception"]


def test_an_error_in_a_task_that_nobody_awaits_is_an_event(logged: Log):
    """asyncio logs it, and nobody else does."""

    async def main() -> None:
        async def fail() -> None:
            raise IndexError("lost")

        task = asyncio.create_task(fail())
        await asyncio.wait({task})
        del task

    asyncio.run(main())
    [line] = logged.lines()
    assert (line["event"], line["logger"], line["level"]) == ("library.message", "asyncio", "error")
    assert "IndexError: lost" in line["exception"]


def test_levels_of_libraries_follow_the_option(pipe: Log):
    """At `info` libraries log warnings; at `debug` they log information, and never their messages on the wire."""
    pipe.configure("json", "info")
    assert not logging.getLogger("some.library").isEnabledFor(logging.INFO)
    assert not logging.getLogger("mqtt").isEnabledFor(logging.ERROR)
    pipe.configure("json", "debug")
    assert logging.getLogger("mqtt").isEnabledFor(logging.INFO)
    assert logging.getLogger("some.library").isEnabledFor(logging.INFO)
    assert not logging.getLogger("some.library").isEnabledFor(logging.DEBUG)
    log.debug("spool.opened")
    pipe.configure("json", "error")
    log.warning("spool.opened")
    logging.getLogger("some.library").warning("x")
    assert [line["level"] for line in pipe.lines()] == ["debug"]


# -- values --


class Hostile:
    """A value that can't be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_any_value_is_json(logged: Log):
    """A line that a parser refuses is a lost line, and often a lost batch of lines."""
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]
    log.info(
        "a.b", nan=float("nan"), huge=2**200, path=os, surrogate="\udcff", lines="a\nb", deep=deep, long="x" * 10**6,
        many=list(range(10_000)), keys={1: 2, None: 3}, raw=b"\xff", none=None,
    )  # fmt: skip
    flush_logging()
    log.info("a.b", bad=Hostile())
    log.info("a.b", ok=1)
    first, lost, last = logged.lines()
    assert (first["nan"], first["huge"], first["lines"], first["none"]) == ("nan", 2**200, "a\nb", None)
    assert (first["surrogate"], first["raw"], first["keys"]) == ("\udcff", "b'\\xff'", {"1": 2, "None": 3})
    assert len(first["long"]) < MAX_TEXT + 50
    assert len(first["many"]) == 200
    assert (lost["event"], lost["lines"], lost["error"]) == (
        "log.lines_lost", 1, "a line can't be formatted: RuntimeError",
    )  # fmt: skip
    assert last["ok"] == 1


def test_a_secret_that_was_read_is_in_no_line(logged: Log, monkeypatch: pytest.MonkeyPatch):
    """Libraries put URLs, headers and requests into their errors."""
    monkeypatch.setenv("LINESIDE_SECRET_PLC", "s3cret/of the plc")
    assert Secret(secret="plc").reveal() == "s3cret/of the plc"
    log.error("driver.failed", error="login with s3cret/of the plc failed", more=["x", {"s3cret/of the plc": 1}])
    logging.getLogger("some.library").error("GET http://u:%s@host", "s3cret%2Fof%20the%20plc")
    logging.getLogger("other.library").error("Authorization: Basic %s", "czNjcmV0L29mIHRoZSBwbGM=")
    log.error("driver.fault", exc_info=ValueError("s3cret/of the plc"))
    text = json.dumps(logged.lines())
    assert "s3cret" not in text
    assert "czNjcmV0" not in text
    assert text.count(HIDDEN) >= 5


def test_a_secret_that_begins_with_another_is_removed_as_a_whole():
    """Otherwise its end would be left."""
    remember("abcd-1")
    remember("abcd-1-and-more")
    remember("ab")
    assert redact("x abcd-1-and-more y ab") == f"x {HIDDEN} y ab"


# -- storms --


def test_a_storm_of_one_event_is_summarised(logged: Log):
    """Ten thousand lines a second fill a disk in a night, and hide the line that matters."""
    for number in range(1000):
        log.warning("machine.offline", number=number)
    log.info("spool.opened")
    for number in range(500):
        log.info("wire.sent", number=number)
    for number in range(300):
        logging.getLogger("library").error("lost connection %s", number)
    reset_logging()
    lines = logged.lines()
    counts = {name: sum(line["event"] == name for line in lines) for name in {line["event"] for line in lines}}
    assert counts == {
        "machine.offline": EVENT_LINES, "spool.opened": 1, "wire.sent": 500, "library.message": 1,
        "log.suppressed": 2,
    }  # fmt: skip
    assert sorted((line["of"], line["suppressed"]) for line in lines if line["event"] == "log.suppressed") == [
        ("library.message", 299), ("machine.offline", 1000 - EVENT_LINES),
    ]  # fmt: skip


def test_a_summary_comes_when_the_storm_is_over(pipe: Log, monkeypatch: pytest.MonkeyPatch):
    """Nothing else may be logged for a long time."""
    monkeypatch.setattr(log_writer, "EVENT_SECONDS", 1.0)
    pipe.configure("json", "info")
    for _ in range(EVENT_LINES + 5):
        log.info("a.b")
    with os.fdopen(pipe.reading, "r", closefd=False) as reading:
        lines = [json.loads(reading.readline()) for _ in range(EVENT_LINES + 1)]
    assert (lines[-1]["event"], lines[-1]["of"], lines[-1]["suppressed"]) == ("log.suppressed", "a.b", 5)


def test_limit_counts_each_event_within_its_window():
    """Five lines in ten seconds, then a new window."""
    limit = LineLimit(5, 10.0)
    a, b = ("a.b", ""), ("c.d", "")
    assert [limit.allows(a, 0.5 * n) for n in range(7)] == [True] * 5 + [False] * 2
    assert limit.allows(b, 3.0)
    assert limit.suppressing == 1
    assert limit.take_ended(9.0) == []
    assert limit.take_ended(10.5) == [Suppressed(a, 2, 10.0)]
    assert limit.suppressing == 0
    assert limit.allows(a, 11.0)


def test_limit_has_a_bounded_number_of_events():
    """Messages of libraries may be made of anything."""
    limit = LineLimit(1, 10.0)
    for number in range(MAX_KEYS + 100):
        limit.allows(("library.message", str(number)), 0.0)
    assert limit.take_all() == [Suppressed(OTHERS, 99, 10.0)]


# -- a log that can't be written --


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_delays_nothing(pipe: Log, monkeypatch: pytest.MonkeyPatch):
    """The process that reads the log may be stopped for hours; the machines are read all the same."""
    monkeypatch.setattr(log_writer, "FLUSH_SECONDS", 0.5)
    pipe.configure("json", "info")
    began = time.monotonic()
    for number in range(2000):
        log.info("wire.sent", number=number, text="x" * 5000)
    assert time.monotonic() - began < 5
    flush_logging()
    flush_logging()
    read = 0
    numbers, lost = [], []
    with os.fdopen(pipe.reading, "r", closefd=False) as reading:
        for line in iter(reading.readline, ""):
            read += 1
            entry = json.loads(line)
            if entry["event"] == "log.lines_lost":
                lost.append(entry)
                break
            numbers.append(entry["number"])
    assert numbers == list(range(len(numbers)))
    assert len(numbers) * 5000 < 2 * MAX_WAITING
    assert (lost[0]["lines"] > 0, lost[0]["error"]) == (True, "lines are written too slowly")


def test_a_closed_pipe_ends_nothing(pipe: Log):
    """`lineside run | head`, or a collector that was killed."""
    pipe.configure("json", "info")
    os.close(pipe.reading)
    for _ in range(10):
        log.info("a.b")
    flush_logging()
    log.info("a.b")


class Disk:
    """A file on a disk that can be full, and take a part of a line."""

    def __init__(self) -> None:
        self.content = ""
        self.full = False

    def write(self, line: str) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.content += line


def test_a_full_disk_costs_lines_which_are_counted():
    """The log says so once there is room again."""
    disk = Disk()
    handler = handler_to(disk.write)
    handler.emit(record("one"))
    handler.flush()
    disk.full = True
    for _ in range(3):
        handler.emit(record("lost"))
    handler.flush()
    disk.full = False
    handler.emit(record("two"))
    handler.close()
    assert disk.content == "one\nlog.lines_lost {'lines': 3, 'error': '[Errno 28] No space left on device'}\ntwo\n"


def test_a_line_that_was_cut_does_not_swallow_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk that becomes full takes the begin of a line."""
    file = tmp_path / "log"
    real, left = os.write, [8]

    def limited(descriptor: int, data: bytes) -> int:
        if descriptor != stream.fileno():
            return real(descriptor, data)
        if not left[0]:
            raise OSError(errno.ENOSPC, "full")
        part = data[: left[0]]
        left[0] -= len(part)
        return real(descriptor, part)

    with file.open("w", encoding="utf-8") as stream:
        write = writer_of(stream)
        monkeypatch.setattr(os, "write", limited)
        write("first\n")
        with pytest.raises(OSError, match="full"):
            write("second\n")
        left[0] = 100
        write("third\n")
    assert file.read_text(encoding="utf-8") == "first\nse\nthird\n"


def test_a_process_without_standard_error_logs_nothing():
    """File descriptor 2 may be closed, or belong to a database by now."""
    writer_of(None)("x\n")


def test_a_stream_in_memory_is_written_to():
    """Tests of commands have such a stream."""
    stream = io.StringIO()
    writer_of(stream)("x\n")
    assert stream.getvalue() == "x\n"


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, text, (), None)


def handler_to(write: Callable[[str], None]) -> LogWriter:
    def about(_: str, event: str, **fields: object) -> logging.LogRecord:
        return record(f"{event} {fields}")

    return LogWriter(write, lambda _: None, about)


def test_console_shows_an_event_without_colours_where_there_is_no_terminal(pipe: Log):
    """`lineside --log console run` in a unit goes to the journal."""
    pipe.configure("console", "info")
    log.info("spool.opened", file="x.db")
    flush_logging()
    text = os.read(pipe.reading, 1000).decode()
    assert "spool.opened" in text
    assert "file=x.db" in text
    assert "\x1b" not in text
