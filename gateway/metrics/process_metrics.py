"""The figures of a process, and its build."""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.common.clock import kernel_clock
from gateway.metrics.definitions import DEFINITIONS

if TYPE_CHECKING:
    from prometheus_client import ProcessCollector

    from gateway.metrics.samples import Samples


def add_build(found: Samples, configuration: tuple[str, str, str, str]) -> None:
    """Add the version, and the configuration: enterprise, site, gateway and digest."""
    found.set("lineside_build_info", 1, __version__, platform.python_version())
    found.set("lineside_configuration_info", 1, *configuration)


def add_process(found: Samples) -> None:
    """Add the clock of the box, and this process out of /proc as the client library of Prometheus collects it."""
    for metric in _collector().collect():
        for sample in metric.samples:
            if sample.name in DEFINITIONS:
                found.set(sample.name, sample.value)
    if (clock := kernel_clock()) is not None:
        found.set("lineside_clock_synchronised", clock.synchronised)
        found.set("lineside_clock_maximum_error_seconds", clock.maximum_error)
        found.set("lineside_clock_estimated_error_seconds", clock.estimated_error)


@cache
def _collector() -> ProcessCollector:
    """Return the collector of this process; each of its own could find another start time, by the boot time."""
    from prometheus_client import ProcessCollector  # noqa: PLC0415 - of an extra, and only once somebody asks

    return ProcessCollector(registry=None)
