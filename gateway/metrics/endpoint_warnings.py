"""Warnings about the configured endpoints, for `lineside validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.extras import instruction, is_installed
from gateway.settings.problems import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.factory import Factory

EXPOSED = (
    "anybody who reaches {address} can read the names and states of the machines; limit it by a firewall, or listen "
    "at 127.0.0.1 behind a proxy with TLS and a password"
)


def metrics_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each endpoint that others than this machine reach, and for a missing library."""
    document = factory.document
    if document is None:
        return
    for section, metrics in (("gateway", factory.gateway.metrics), ("ingest", factory.ingest.metrics)):
        if (address := metrics.endpoint) is None:
            continue
        path = section, "metrics", "listen"
        messages = [] if is_installed("metrics") else [f"metrics need the extra metrics; {instruction('metrics')}"]
        messages += [] if address.is_local else [EXPOSED.format(address=address)]
        for message in messages:
            yield Problem(document.file, *document.mark(path), ".".join(path), message, Severity.WARNING)
