"""The self-test of a service: once after its start, in a process of its own, at the lowest priority.

Nothing that happens there ends or delays the service: a process that hangs is killed, and a result that is not one is
logged. The result is in the log, in the metrics, in its file for `lineside status`, and in the audit log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.common.child_process import output_of
from gateway.self_test.outcome import LARGEST, Report, Result, Unreadable, parse_report

if TYPE_CHECKING:
    from gateway.metrics.samples import Samples
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

SETTLE = 3.0
"""Seconds after the start of the service: its first readings go first."""

LONGEST = 120.0
"""Seconds after which the process is killed: a disk may not answer."""

COMMAND = "self-test"

LOWEST = 19
"""The nice value of the process."""


class SelfTest:
    """Runs the self-test of a configuration once. `report` is its result, None before."""

    def __init__(self, factory: Factory, settle: float = SETTLE) -> None:
        """Prepare; no I/O."""
        self.report: Report | None = None
        self._factory = factory
        self._settle = settle

    async def run(self) -> None:
        """Run it, and log the result once. Raises nothing but cancellation; the process ends then."""
        await asyncio.sleep(self._settle)
        try:
            self.report = parse_report(await self._output())
        except (OSError, TimeoutError, Unreadable) as error:
            log.warning("self_test.not_run", error=str(error) or f"no result within {LONGEST:g} s",
                        hint=f"run lineside self-test {self._factory.file}")  # fmt: skip
            return
        if problems := self.report.problems:
            log.warning("self_test.failed", problems=problems, seconds=self.report.seconds)
        else:
            log.info("self_test.passed", checks=len(self.report.outcomes), seconds=self.report.seconds)
        if warnings := self.report.warnings:
            log.warning("self_test.warned", warnings=warnings)

    def add_to(self, samples: Samples) -> None:
        """Add the result to the metrics of the service, once there is one."""
        if self.report is None:
            return
        samples.set("lineside_self_test_timestamp_seconds", self.report.time / 1e6)
        failed = {one.check: float(one.result is not Result.PASSED) for one in self.report.outcomes}
        samples.set_each("lineside_self_test_failed", failed)

    async def _output(self) -> bytes:
        return await output_of(self._command(), LONGEST, LARGEST, nice=LOWEST)

    def _command(self) -> list[str]:
        factory = self._factory
        overrides = [word for one in factory.overrides for word in ("--set", f"{one.key}={one.text}")]
        return ["gateway", COMMAND, str(factory.file.absolute()), *overrides, "--record", "--format", "json"]
