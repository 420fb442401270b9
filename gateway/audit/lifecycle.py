"""Starts and stops of a service in the audit log (IEC 62443-4-2, CR 2.8).

A gateway has no audit log open: a process of its own writes the entry, so that the gateway has neither the memory of
its libraries nor the waits of its disk. That process is this module: `python -m gateway.audit.lifecycle`, with the
entries as JSON on standard input. Its output is `WRITTEN`, or the reason why they are not.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager, redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import BaseModel

from gateway.common.child_process import output_of
from gateway.common.tasks import cancel_and_wait
from gateway.settings.audit_section import AuditSection  # noqa: TC001 - for the model below

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.audit.log import AuditLog
    from gateway.common.stop_event import StopEvent

log = structlog.get_logger(__name__)

STARTED, STOPPED = "service-started", "service-stopped"
"""The actions."""

OWN = "lineside"
"""The name in entries of a service without an id, and in those of the log about itself."""

WRITTEN = "written"
"""The answer of the process that writes."""

SETTLE = 3.0
"""Seconds after the start of a service in which its start is not written: the first readings go first."""

LONGEST = 20.0
"""Seconds after which the process is killed: a disk may not answer."""

LAST = 3.5
"""Seconds after the stop of a service for which its end waits for the entry: a gateway is killed after 4.7."""

LEAST = 0.1
"""Seconds for which an end waits in any case."""

MOST_OUTPUT = 2_000
"""Bytes of the reason of a failure."""

NICE = 5
"""The nice value of the process that writes a start: the machines go first."""


class LifeEntry(BaseModel):
    """An entry of a service. `who` is its id, `service` its kind, `about` is plain data."""

    section: AuditSection
    action: str
    who: str
    service: str
    about: dict[str, Any]
    outcome: str = "done"


@asynccontextmanager
async def recorded_life(
    section: AuditSection, service: str, who: str, config: str, stop: StopEvent
) -> AsyncIterator[None]:
    """Record the start and the end of a service that runs meanwhile, where there is an audit log at its start.

    `config` is the digest of its configuration. Best effort: an entry that can't be written is logged, and the end
    waits for it no longer than `LAST` seconds after the stop. A service that fails before `SETTLE` makes no entry:
    a service that is started again and again would fill the log.
    """
    section = section.model_copy(update={"folder": section.folder.absolute()})
    if not await asyncio.to_thread(_exists, section.folder):
        yield
        return
    began = {"config": config, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    written = asyncio.Event()  # the start is being written, or is written

    def entry(action: str, about: dict[str, Any], outcome: str = "done") -> LifeEntry:
        return LifeEntry(section=section, action=action, who=who, service=service, about=about, outcome=outcome)

    async def settled() -> None:
        await asyncio.sleep(SETTLE)
        written.set()
        await _record([entry(STARTED, began)], NICE)

    async def ended(about: dict[str, Any], outcome: str) -> None:
        last = [entry(STOPPED, about, outcome)]
        if written.is_set():
            await asyncio.wait({starting})
        else:
            starting.cancel()
            last.insert(0, entry(STARTED, began))
        await _record(last, 0)

    async def asked() -> None:
        await stop.wait()
        await ended({"reason": stop.reason}, "done")

    failed = 0.0  # the monotonic time of an error
    starting = asyncio.create_task(settled(), name="audit of the start")
    stopping = asyncio.create_task(asked(), name="audit of the stop")
    try:
        yield
    except Exception as error:
        if written.is_set() and not stop.is_set():
            await cancel_and_wait(stopping)
            about = {"reason": "error", "error": error_text(error)}
            failed = time.monotonic()
            stopping = asyncio.create_task(ended(about, "failed"), name="audit of the failure")
        raise
    finally:
        if written.is_set() or stop.is_set():
            await asyncio.wait({stopping}, timeout=max(LEAST, (failed or stop.asked) + LAST - time.monotonic()))
        await cancel_and_wait(starting, stopping)


def _exists(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # the process that writes says why
        return True


async def record_start(audit: AuditLog, section: AuditSection, service: str) -> bool:
    """Record the start of a service that has its audit log open; returns whether its stop is to be recorded, too.

    Where nobody has made an audit log yet, a start makes none.
    """
    if not await asyncio.to_thread(section.folder.exists):
        return False
    audit.record(STARTED, who=OWN, address="local", object=service)
    return True


def record_stop(audit: AuditLog, service: str, reason: str, error: BaseException | None = None) -> None:
    """Record the stop of a service that has its audit log open, and why it stops."""
    about = {"reason": reason} if error is None else {"reason": "error", "error": error_text(error)}
    outcome = "done" if error is None else "failed"
    audit.record(STOPPED, who=OWN, address="local", object=service, after=about, outcome=outcome)


def error_text(error: BaseException) -> str:
    """Return an error in one line; of a group that of its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _record(entries: list[LifeEntry], nice: int) -> None:
    """Let a process write entries. Raises nothing but cancellation."""
    content = json.dumps([one.model_dump(mode="json") for one in entries]).encode()
    try:
        output = await output_of(["gateway.audit.lifecycle"], LONGEST, MOST_OUTPUT, nice=nice, content=content)
        said = output.decode(errors="replace").strip() or "its process has failed"
    except (OSError, TimeoutError) as error:
        said = str(error) or f"not written within {LONGEST:g} s"
    if said != WRITTEN:
        log.warning("audit.not_recorded", action=entries[-1].action, error=said)


def write(content: bytes) -> str:
    """Write entries, and wait until they are on disk; return `WRITTEN`, or why they are not."""
    entries = [LifeEntry.model_validate(one) for one in json.loads(content)]
    section = entries[0].section
    if not section.folder.exists():
        return WRITTEN  # nobody has made an audit log: nothing is missing
    from gateway.audit.log import CLOSE_SECONDS, AuditLog, NotRecorded  # noqa: PLC0415 - of this process alone

    with AuditLog(section) as audit:
        recorded = [
            audit.record(
                one.action, who=one.who, address="local", object=one.service, after=one.about, outcome=one.outcome
            )
            for one in entries
        ]
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
