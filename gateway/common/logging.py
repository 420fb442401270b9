"""Logging: events with dotted names and fields, as JSON or for a console."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Any

import structlog


def configure_logging(style: str = "auto", level: str = "info", **fields: Any) -> None:  # noqa: ANN401 - as structlog has it
    """Send all events to standard error; `style` is `json`, `console`, or `auto` (console in a terminal).

    `fields` are added to every event, of all threads.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            partial(_add_fields, fields),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # a line and its end in one write: the workers of a gateway write to the same file
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    # libraries log every lost connection several times; a driver's are silenced when its protocol is loaded
    for name in ("mqtt", "amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _add_fields(
    fields: dict[str, Any], logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    del logger, method
    event.update(fields)
    return event
