"""Keys whose password is missing or wrong, each with its place in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from drivers.secret import MissingSecret
from gateway.settings.problems import Problem, in_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from drivers.base import Settings
    from gateway.settings.document import Document, Step
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)


def key_problems(factory: Factory, *, here: bool = False) -> Iterator[Problem]:
    """Yield an error for each key whose password is missing or wrong; a key that this machine does not have is left.

    `here` also reports a secret that is missing: the process is the service. Elsewhere, as in a build, it may be.
    """
    for document, path, settings in _sections(factory):
        for key in settings.key_files:
            try:
                message = key.problem()
                at = key.password_name if key.password is not None else key.name
            except MissingSecret as error:
                message, at = (str(error) if here else ""), key.password_name
            if message:
                where = (*path, at)
                yield Problem(document.file, *document.mark(where), ".".join(map(str, where)), message)


def _sections(factory: Factory) -> Iterator[tuple[Document, tuple[Step, ...], Settings]]:
    document = factory.document
    if document is None:
        return
    yield document, ("broker",), factory.broker
    for section, metrics in (("gateway", factory.gateway.metrics), ("ingest", factory.ingest.metrics)):
        if metrics.tls is not None:
            yield document, (section, "metrics", "tls"), metrics.tls
    if factory.dashboard.tls is not None:
        yield document, ("dashboard", "tls"), factory.dashboard.tls
    for index, entry in enumerate(factory.stores):
        yield document, ("stores", index, entry.kind.name), entry.settings
    seen: set[object] = set()
    for machine in factory.machines:
        keys = machine.connection.key_files
        if machine.place is not None and keys and keys not in seen:
            seen.add(keys)
            yield machine.place.document, (*machine.place.path, "connection"), machine.connection


def log_key_problems(factory: Factory, sections: Collection[str]) -> None:
    """Log each key that a service can't use. It starts in spite of it, and tries again with each connection."""
    for one in in_order(key_problems(factory, here=True)):
        if one.path.partition(".")[0] in sections:
            log.error("configuration.key_unusable", file=f"{one.file}:{one.line}", key=one.path, error=one.message)
