"""The self-test of a service: after its start and each day, in a process of its own, at the lowest priority.

Nothing that happens there ends or delays the service: a process that hangs is killed, and a result that is not one is
logged. The result is in the log, in the metrics, in its file for `lineside status`, and in the audit log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.common.child_process import output_of
from gateway.self_test.outcome import LARGEST, Report, Unreadable, parse_report

if TYPE_CHECKING:
    from gateway.metrics.samples import Samples
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

SETTLE = 3.0
"""Seconds after the start of a gateway: its first readings go first."""

SETTLE_OTHERS = 60.0
"""Seconds after the start of ingest or the page: on one box the services start together."""

LONGEST = 600.0
"""Seconds after which the process is killed: a disk may not answer, and a busy box takes minutes for all files."""

EVERY = 86_400.0
"""Seconds between two self-tests."""

COMMAND = "self-test"

LOWEST = 19
"""The nice value of the process."""


class SelfTest:
    """Runs the self-test of a service. `report` is its last result, None before.

    That of a gateway makes all checks. Ingest and the page are on a box with or without a gateway, and make the check
    of the installed software.
    """

    def __init__(self, factory: Factory, settle: float | None = None, *, service: str = "gateway") -> None:
        """Prepare; no I/O."""
        self.report: Report | None = None
        self._factory = factory
        usual = SETTLE if service == "gateway" else SETTLE_OTHERS
        self._settle = usual if settle is None else settle
        self._service = service
        self._said: tuple[list[str], list[str]] | None = None

    async def run(self) -> None:
        """Run it after the start and each day. Raises nothing but cancellation; the process ends then."""
        await asyncio.sleep(self._settle)
        while True:
            await self.run_once()
            await asyncio.sleep(EVERY)

    async def run_once(self) -> None:
        """Run it, and log a result that is not that of the time before. Raises nothing but cancellation."""
        try:
            self.report = parse_report(await self._output())
        except (OSError, TimeoutError, Unreadable) as error:
            log.warning("self_test.not_run", error=str(error) or f"no result within {LONGEST:g} s",
                        hint=f"run lineside self-test {self._factory.file}")  # fmt: skip
            return
        problems, warnings = self.report.problems, self.report.warnings
        before, self._said = self._said, (problems, warnings)
        if before == self._said:
            return
        if problems:
            log.warning("self_test.failed", problems=problems, seconds=self.report.seconds)
        else:
            log.info("self_test.passed", checks=len(self.report.outcomes), seconds=self.report.seconds)
        if warnings:
            log.warning("self_test.warned", warnings=warnings)

    def add_to(self, samples: Samples) -> None:
        """Add the result to the metrics of the service, once there is one."""
        if self.report is None:
            return
        samples.set("lineside_self_test_timestamp_seconds", self.report.time / 1e6)
        failed = {one.check: float(bool(one.problems)) for one in self.report.outcomes}
        samples.set_each("lineside_self_test_failed", failed)

    async def _output(self) -> bytes:
        return await output_of(self._command(), LONGEST, LARGEST, nice=LOWEST)

    def _command(self) -> list[str]:
        factory = self._factory
        overrides = [word for one in factory.overrides for word in ("--set", f"{one.key}={one.text}")]
        service = [] if self._service == "gateway" else ["--service", self._service, "--id", factory.ingest.id]
        return [
            "gateway", COMMAND, str(factory.file.absolute()), *overrides, *service, "--record", "--format", "json",
        ]  # fmt: skip
