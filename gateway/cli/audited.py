"""Record the actions of a command in the audit log, with the person who ran it."""

from __future__ import annotations

import getpass
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cli.output import echo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.audit_section import AuditSection


class Said(NamedTuple):
    """An entry of a command: the action, its object, and the object before and after it, as plain data."""

    action: str
    object: str = ""
    before: Any = None
    after: Any = None


def record(section: AuditSection, *said: Said) -> bool:
    """Record entries, and warn where that fails: the action itself is done. Returns whether all are on disk."""
    from gateway.audit.log import CLOSE_SECONDS, AuditLog, NotRecorded  # noqa: PLC0415 - see gateway.cli

    recorded = True
    with _as_owner(section.folder), AuditLog(section) as audit:
        for one in said:
            entry = audit.record(one.action, who=operator(), address="command", object=one.object,
                                 before=one.before, after=one.after)  # fmt: skip
            try:
                entry.result(CLOSE_SECONDS)
            except (NotRecorded, TimeoutError) as error:
                recorded = False
                reason = error or "it can not be written"
                echo(f"lineside: the change is not in the audit log: {reason}", err=True)
    return recorded


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """Write as the user of the services if root runs the command: files of root would lock the services out."""
    owner = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir()).stat()
    user, group = os.geteuid(), os.getegid()
    if user != 0 or owner.st_uid == 0:
        yield
        return
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)


def operator() -> str:
    """Return who runs this command: the user of the system, and who has become that user by sudo."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    sudo = os.environ.get("SUDO_USER", "")
    return f"{user} ({sudo})" if sudo and sudo != user else user
