"""Logging: events with dotted names and fields, as JSON or for a console."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(style: str = "auto", level: str = "info") -> None:
    """Send all events to standard error; `style` is `json`, `console`, or `auto` (console in a terminal)."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # libraries log every lost connection several times; a driver's are silenced when its protocol is loaded
    for name in ("mqtt", "amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
