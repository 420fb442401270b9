"""Entries of a service that has no audit log open: a process of its own writes them.

So the service has neither the memory of the log's libraries nor the waits of its disk. That process is this module:
`python -m gateway.audit.apart`, with an `Order` as JSON on standard input. Its output is `WRITTEN`, or the reason why
the entries are not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from gateway.audit.entry import OWN
from gateway.common.child_process import output_of
from gateway.settings.audit_section import AuditSection  # noqa: TC001 - for the model below

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from gateway.audit.log import AuditLog

WRITTEN = "written"
"""The answer of the process that writes."""

LONGEST = 20.0
"""Seconds after which the process is killed: a disk may not answer."""

MOST_OUTPUT = 2_000
"""Bytes of the reason of a failure."""

NICE = 5
"""The nice value of the process unless somebody waits for it: the machines go first."""


class Entry(BaseModel):
    """An entry of a service. `object` is its kind unless another is written; `before` and `after` are plain data."""

    action: str
    object: str = ""
    who: str = ""
    address: str = "local"
    before: Any = None
    after: Any = None
    outcome: str = "done"


class Order(BaseModel):
    """Entries, and the audit log that they are for."""

    section: AuditSection
    entries: list[Entry]


class ServiceLog(Protocol):
    """The audit log of a service: `who` is its id, `service` its kind."""

    section: AuditSection
    service: str
    who: str

    async def write(self, entries: Sequence[Entry], nice: int = NICE) -> str:
        """Write entries; returns why they are not on disk, nothing if they are. Raises nothing but cancellation."""


class ApartLog:
    """The audit log of a service that has it not open."""

    def __init__(self, section: AuditSection, service: str, who: str) -> None:
        """Prepare; no I/O."""
        self.section = section.model_copy(update={"folder": section.folder.absolute()})
        self.service = service
        self.who = who

    async def write(self, entries: Sequence[Entry], nice: int = NICE) -> str:
        """Let a process write entries, see `ServiceLog`."""
        whole = [_named(one, self) for one in entries]
        content = Order(section=self.section, entries=whole).model_dump_json().encode()
        try:
            output = await output_of(["gateway.audit.apart"], LONGEST, MOST_OUTPUT, nice=nice, content=content)
        except (OSError, TimeoutError) as error:
            return str(error) or f"not written within {LONGEST:g} s"
        said = output.decode(errors="replace").strip() or "its process has failed"
        return "" if said == WRITTEN else said


class OpenLog:
    """The audit log of a service that has it open."""

    def __init__(self, audit: AuditLog, section: AuditSection, service: str) -> None:
        """Prepare; no I/O."""
        self.section = section
        self.service = service
        self.who = OWN
        self._audit = audit

    async def write(self, entries: Sequence[Entry], nice: int = NICE) -> str:
        """Write entries by the thread of the log, see `ServiceLog`."""
        del nice
        from gateway.audit.certificates import described  # noqa: PLC0415 - of a process that has the log open

        whole = await asyncio.to_thread(described, [_named(one, self) for one in entries])
        recorded = _record(self._audit, whole)
        try:
            async with asyncio.timeout(LONGEST):
                await asyncio.gather(*map(asyncio.wrap_future, recorded))
        except TimeoutError:
            return f"not written within {LONGEST:g} s"
        except Exception as error:  # noqa: BLE001 - `NotRecorded`, of a module that a gateway does not load
            return str(error)
        return ""


def _named(entry: Entry, log: ServiceLog) -> Entry:
    return entry.model_copy(update={"object": entry.object or log.service, "who": entry.who or log.who})


def _record(audit: AuditLog, entries: Sequence[Entry]) -> list[Future[int]]:
    return [
        audit.record(one.action, who=one.who, address=one.address, object=one.object, before=one.before,
                     after=one.after, outcome=one.outcome)
        for one in entries
    ]  # fmt: skip


def log_exists(section: AuditSection) -> bool:
    """Return whether there is an audit log, or a service is to begin it."""
    try:
        return section.begin or section.folder.exists()
    except OSError:  # the process that writes says why
        return True


def write(content: bytes) -> str:
    """Write the entries of an order, and wait until they are on disk; return `WRITTEN`, or why they are not."""
    order = Order.model_validate(json.loads(content))
    if not log_exists(order.section):
        return WRITTEN  # nobody has made an audit log: nothing is missing
    from gateway.audit.certificates import described  # noqa: PLC0415 - of this process alone
    from gateway.audit.log import CLOSE_SECONDS, AuditLog, NotRecorded  # noqa: PLC0415 - as above

    with AuditLog(order.section) as audit:
        recorded = _record(audit, described(order.entries))
        try:
            for one in recorded:
                one.result(CLOSE_SECONDS)
        except (NotRecorded, TimeoutError) as error:
            return str(error) or "it can't be written"
    return WRITTEN


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # log events of the audit log go elsewhere than the answer
        answer = write(sys.stdin.buffer.read())
    sys.stdout.buffer.write(answer.encode())
