"""One entry for the audit log, of a service that rarely has one: the log is opened for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.audit_section import AuditSection

log = structlog.get_logger(__name__)


def record_reload(
    section: AuditSection, file: Path, action: str, *, who: str, before: str, after: object, outcome: str, must: bool
) -> None:
    """Record what became of a reload of a file; with `must` also where nobody has made an audit log yet.

    Blocks until the entry is on disk. An entry that can't be written is logged: the reload is as it is.
    """
    if not must and not section.folder.exists():
        return
    from gateway.audit.log import CLOSE_SECONDS, AuditLog, NotRecorded  # noqa: PLC0415 - 7 MB of cryptography

    with AuditLog(section) as audit:
        entry = audit.record(
            action, who=who, address="local", object=str(file), before=before, after=after, outcome=outcome
        )
        try:
            entry.result(CLOSE_SECONDS)
        except (NotRecorded, TimeoutError) as error:
            log.warning("audit.not_recorded", action=action, error=str(error) or "it can't be written")
