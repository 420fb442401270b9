"""Logging: one shape for all events, as JSON lines or for a console, to standard error.

    {"time": "2026-12-01T06:00:00.000000Z", "level": "info", "event": "mqtt.connected",
     "logger": "gateway.mqtt.session", "broker": "mqtt://broker:1883"}

Messages of libraries, warnings of Python and uncaught exceptions have the same shape. docs/logs.md lists all events.
No event can contain a secret that this process has read.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from structlog.stdlib import ProcessorFormatter

from drivers.redaction import redact
from gateway.common.log_writer import LogWriter, writer_of
from gateway.common.text import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from structlog.typing import EventDict, Processor

    from gateway.common.log_limits import LogKey

MAX_TEXT = 16_000
"""Characters of one field: a long traceback."""

MAX_ITEMS = 200
"""Entries of a list or mapping in a field."""

MAX_DEPTH = 5
"""Levels of lists and mappings in a field."""

HEAD = ("time", "level", "event", "logger")
"""The first keys of each event."""

UNLIMITED = "wire."
"""Events without a limit: `lineside run -v` asks for every message."""

LIBRARY, WARNING = "library.message", "python.warning"
"""The events of a message that a library logs, and of a warning of Python."""

_WARNINGS = "py.warnings"

_REPEATING = ("mqtt", "amqtt", "transitions")
"""Libraries that log each lost connection several times. Lineside logs it once; see also `Protocol.loggers`."""


class _Installed:
    """The handler of this process, and the hooks that it has replaced."""

    handler: LogWriter | None = None
    undo: Callable[[], None] | None = None


def configure_logging(style: str = "auto", level: str = "info", **fields: Any) -> None:  # noqa: ANN401 - as structlog has it
    """Send all events to standard error; `style` is `json`, `console`, or `auto` (console in a terminal).

    Libraries log warnings and errors. With the level `debug` they also log information, and the loggers of drivers'
    libraries are on. `fields` are added to every event, of all threads.
    """
    reset_logging()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    console = style == "console" or (style == "auto" and terminal)
    number: int = getattr(logging, level.upper())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    formatter = ProcessorFormatter(
        foreign_pre_chain=common,
        processors=[
            _shape_of_library,
            structlog.processors.format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            partial(_plain_event, fields),
            *([_printable_event, _console(colors=terminal)] if console else [_json_line]),
        ],
    )
    handler = LogWriter(writer_of(sys.stderr), _key, _own_record)
    handler.setFormatter(formatter)
    structlog.configure(
        processors=[*common, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_logger,
    )
    _install(handler, number)


def flush_logging() -> None:
    """Write the lines that wait; returns soon, also if they can't be written."""
    if _Installed.handler is not None:
        _Installed.handler.flush()


def reset_logging() -> None:
    """Undo `configure_logging`: close its handler and put the hooks of Python back."""
    if _Installed.undo is not None:
        _Installed.undo()
        _Installed.undo = None
    if _Installed.handler is not None:
        logging.getLogger().removeHandler(_Installed.handler)
        _Installed.handler.close()
        _Installed.handler = None


def _install(handler: LogWriter, level: int) -> None:
    root = logging.getLogger()
    before = root.level, sys.excepthook, threading.excepthook, sys.unraisablehook
    levels = {name: logging.getLogger(name).level for name in _REPEATING}

    def undo() -> None:
        root.setLevel(before[0])
        sys.excepthook, threading.excepthook, sys.unraisablehook = before[1:]
        logging.captureWarnings(capture=False)
        for name, was in levels.items():
            logging.getLogger(name).setLevel(was)

    root.addHandler(handler)
    # at debug, messages of libraries on the wire stay out of the log: they may contain passwords
    root.setLevel(logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING))
    for name in _REPEATING:
        logging.getLogger(name).setLevel(logging.NOTSET if level <= logging.DEBUG else logging.CRITICAL + 1)
    logging.captureWarnings(capture=True)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _uncaught, _uncaught_in_thread, _unraisable
    _Installed.handler, _Installed.undo = handler, undo


def _logger(*names: str) -> logging.Logger:
    """Return the logger of a module of Lineside; structlog decides on the level of its events."""
    logger = logging.getLogger(names[0] if names else "lineside")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)
    return logger


def _console(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colors and "NO_COLOR" not in os.environ, timestamp_key="time")


def _printable_event(logger: object, method: str, event: EventDict) -> EventDict:
    """Return an event whose texts steer no terminal and make no further line; a traceback keeps its lines.

    The renderer shows lists and mappings as Python writes them, in which such characters are escapes already.
    """
    del logger, method
    return {
        printable(key): value if not isinstance(value, str) else _SHOWN.get(key, printable)(value)
        for key, value in event.items()
    }


_SHOWN: dict[str, Callable[[str], str]] = {"exception": printable_lines, "stack": printable_lines}
"""Fields of several lines."""

_to_json = structlog.processors.JSONRenderer(allow_nan=False)


def _json_line(logger: object, method: str, event: EventDict) -> str:
    """Return an event as a line of JSON; `json` leaves U+007F as it is."""
    return printable_json(str(_to_json(logger, method, event)))


# -- the shape --


def _key(record: logging.LogRecord) -> tuple[LogKey, bool] | None:
    """Return the key that lines are counted by: an event, or a library's message before its arguments are added."""
    if isinstance(record.msg, dict):
        event = str(record.msg.get("event", ""))
        return None if event.startswith(UNLIMITED) else ((event, ""), False)
    if record.name == _WARNINGS:
        return (WARNING, ""), False
    return (LIBRARY, f"{record.name}: {redact(str(record.msg))[:200]}"), True


def _own_record(name: str, event: str, **fields: object) -> logging.LogRecord:
    """Make the record of an event about the log itself, which passes no limit."""
    record = logging.LogRecord(name, logging.WARNING, "", 0, event, (), None)
    record.fields = fields
    return record


def _shape_of_library(logger: object, method: str, event: EventDict) -> EventDict:
    """Give a message of a library an event's name; its text is a field."""
    del logger, method
    if event["_from_structlog"]:
        return event
    record = event["_record"]
    if (fields := getattr(record, "fields", None)) is not None:
        event.update(fields)
        return event
    text = str(event["event"]).strip()
    if record.name == _WARNINGS:
        event.update(event=WARNING, message=text.partition("\n")[0])
    else:
        event.update(event=LIBRARY, message=text)
    return event


def _plain_event(fields: dict[str, Any], logger: object, method: str, event: EventDict) -> EventDict:
    """Return an event with its first keys in order, and with plain, bounded values without secrets."""
    del logger, method
    rest = {str(key): _plain(value) for key, value in {**event, **fields}.items() if key not in HEAD}
    return {key: event[key] for key in HEAD if key in event} | rest


def _plain(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any field
    """Return a value of JSON without secrets. Texts, lists and depth are bounded."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if depth < MAX_DEPTH:
        if isinstance(value, dict):
            return {redact(str(key)): _plain(one, depth + 1) for key, one in list(value.items())[:MAX_ITEMS]}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(one, depth + 1) for one in list(value)[:MAX_ITEMS]]
    text = redact(str(value))
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text):,} characters)"


# -- uncaught exceptions --


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    log = structlog.get_logger(__name__)
    log.critical("process.failed", error=f"{kind.__name__}: {error}", exc_info=(kind, error, trace))
    flush_logging()


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = "" if args.thread is None else args.thread.name
    error = f"{args.exc_type.__name__}: {args.exc_value}"
    log = structlog.get_logger(__name__)
    log.error("thread.failed", thread=name, error=error, exc_info=args.exc_value)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    log = structlog.get_logger(__name__)
    where = args.err_msg or "an exception could not be raised"
    log.error("python.unraisable", where=where, error=repr(args.exc_value), exc_info=args.exc_value)
