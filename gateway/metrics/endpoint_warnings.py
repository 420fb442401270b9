"""Warnings about the configured endpoints, for `lineside validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.extras import instruction, is_installed
from gateway.settings.problems import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.factory import Factory


def metrics_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each endpoint whose library is missing."""
    document = factory.document
    if document is None or is_installed("metrics"):
        return
    for section, metrics in (("gateway", factory.gateway.metrics), ("ingest", factory.ingest.metrics)):
        if metrics.listen is not None:
            path = section, "metrics", "listen"
            message = f"metrics need the extra metrics; {instruction('metrics')}"
            yield Problem(document.file, *document.mark(path), ".".join(path), message, Severity.WARNING)
