"""The sections of a configuration that expose something to others on the network: see `drivers/exposure.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.settings.problems import Problem, Severity, in_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from gateway.settings.document import Document, Step
    from gateway.settings.factory import Factory, Machine

log = structlog.get_logger(__name__)

GATEWAY = ("broker", "gateway", "lines")
"""The sections of a file that a gateway uses."""

INGEST = ("broker", "ingest", "stores")
"""Those that ingest uses."""

PAGE = ("broker", "stores")
"""Those that the page uses, beside its own, which it checks at its start."""


def exposure_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each section that others on the network can read, forge or reach, without `insecure`."""
    document = factory.document
    if document is None:
        return
    sections: list[tuple[tuple[Step, ...], str]] = [
        (("broker", "url"), factory.broker.exposure),
        (("gateway", "metrics", "listen"), factory.gateway.metrics.exposure),
        (("ingest", "metrics", "listen"), factory.ingest.metrics.exposure),
    ]
    for index, entry in enumerate(factory.stores):
        sections.append((("stores", index, entry.kind.name, "url"), entry.settings.exposure))
    for path, message in sections:
        if message:
            yield _warning(document, path, message)
    yield from connection_warnings(factory.machines)


def connection_warnings(machines: Iterable[Machine]) -> Iterator[Problem]:
    """Yield the warnings of `exposure_warnings` for the connections of machines."""
    for machine in machines:
        if machine.place is not None and (message := machine.connection.exposure):
            yield _warning(machine.place.document, (*machine.place.path, "connection"), message)


def _warning(document: Document, path: tuple[Step, ...], message: str) -> Problem:
    return Problem(document.file, *document.mark(path), ".".join(map(str, path)), message, Severity.WARNING)


def log_exposures(factory: Factory, sections: Collection[str], known: Collection[Problem] = ()) -> list[Problem]:
    """Log each exposure of the sections of a service once, and return them; `known` were logged before.

    A service starts in spite of it: a plant must not stop because of an upgrade.
    """
    found = in_order(one for one in exposure_warnings(factory) if one.path.partition(".")[0] in sections)
    logged = {one.text for one in known}
    for one in found:
        if one.text not in logged:
            log.warning("configuration.exposed", file=f"{one.file}:{one.line}", key=one.path, hint=one.message)
    return found
