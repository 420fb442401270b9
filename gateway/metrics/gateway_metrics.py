"""Make samples of the counters of a gateway, or of one of its workers."""

from __future__ import annotations

import asyncio
import time
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Quality
from drivers.timer_grid import wait_for_slot
from gateway.codecs import Undecodable, decode
from gateway.common.histogram import FixedHistogram
from gateway.metrics.definitions import BUCKETS
from gateway.metrics.process_metrics import add_build, add_process
from gateway.metrics.samples import Samples
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.acquisition.device_manager import DeviceManager
    from gateway.common.clock import Clock
    from gateway.common.stall import StallWatch
    from gateway.model.ledger import Ledger
    from gateway.model.path import MachinePath
    from gateway.pipeline.machine_status import MachineStatus, MachineStatuses
    from gateway.publish.publisher import Publisher
    from gateway.settings.sections import GatewaySection
    from gateway.spool.spool import Spool

AT_ONCE = 50
"""Machines, or devices, whose counters are read before the event loop has another turn."""

STATES = ("starting", "online", "degraded", "offline")
"""The states of a machine, as in `gateway.pipeline.machine_status`."""

PRIORITIES = ("critical", "high", "medium", "low")
"""The priorities of alarms, as in `gateway.settings.alarm_set`."""

ALARM_STATES = ("standing", "shelved", "suppressed", "out_of_service")
"""The states of alarms that are counted."""

STATE_NUMBERS = {state: tuple(int(state == other) for other in STATES) for state in STATES}
"""The numbers of the series of a machine in a state."""

QUALITIES = ("good", "uncertain", "bad", "unread")
"""The qualities of the last readings of points, and that of points without a reading."""

REASONS = (
    "adopted", "damaged", "disk_full", "not_encodable", "not_writable", "rejected_by_store", "spool_full",
    "too_large",
)  # fmt: skip
"""Why readings are dropped: each has a series from the start, so that the first drop is an increase."""

NOT_PROVED = ("not_sent", "unproved", "wrong_proof")
"""Why records of a confirmation are ignored, likewise; see `gateway.publish.proofs`."""

DRIVER_EVENTS = ("requests", "retries", "timeouts", "refused")
"""Events of drivers that have a series from the start; others have one when a driver counts them."""

LEVELS = {Quality.GOOD: 0, Quality.UNCERTAIN: 1, Quality.BAD: 2}
"""The qualities as numbers, as stores have them."""


COUNT_EVERY = 5.0
"""Seconds between two times that the collected durations are counted: at 10,000 scans a second 3 MB wait for it."""


LATENESS, DURATION = "lineside_scan_lateness_seconds", "lineside_scan_duration_seconds"
ACKNOWLEDGED, CONFIRMED = "lineside_record_acknowledgement_seconds", "lineside_record_confirmation_seconds"


class Durations:
    """Durations of scans and records, in seconds. The flow appends them to lists, and they are counted later."""

    def __init__(self) -> None:
        self.scans: list[float] = []
        """The delay of a scan, its duration, the delay of the next scan, and so on."""
        self.acknowledgements: list[float] = []
        self.confirmations: list[float] = []
        self._histograms = {
            name: FixedHistogram(BUCKETS[name]) for name in (LATENESS, DURATION, ACKNOWLEDGED, CONFIRMED)
        }

    def count(self) -> dict[str, FixedHistogram]:
        """Count all durations that were collected, and return the histograms by the names of their metrics."""
        scans, found = self.scans[:], self._histograms
        self.scans.clear()
        found[LATENESS].add_all(scans[::2])
        found[DURATION].add_all(scans[1::2])
        found[ACKNOWLEDGED].add_all(self.acknowledgements)
        found[CONFIRMED].add_all(self.confirmations)
        return found

    async def run(self) -> None:
        """Count from time to time until cancelled: nobody may ever scrape."""
        while True:
            await wait_for_slot(COUNT_EVERY)
            self.count()


def add_ledger(found: Samples, ledger: Ledger) -> None:
    """Add the counts of a ledger."""
    found.set("lineside_readings_acquired_total", ledger.acquired)
    found.set("lineside_readings_unchanged_total", ledger.unchanged)
    found.set("lineside_readings_confirmed_total", ledger.confirmed)
    found.set("lineside_readings_pending", ledger.pending)
    found.set("lineside_ledger_unaccounted_readings", ledger.missing)
    found.set_each("lineside_readings_dropped_total", ledger.dropped, REASONS)


class _MachineLabels(NamedTuple):
    """The labels of the series of all machines: one for each machine, for each state of it, and for each quality."""

    plain: tuple[tuple[str, ...], ...]
    by_state: tuple[tuple[str, ...], ...]
    by_quality: tuple[tuple[str, ...], ...]


class _Columns:
    """The numbers of the series of all machines, in the order of the machines."""

    def __init__(self) -> None:
        self._states: list[float] = []
        self._qualities: list[float] = []
        self._readings: list[float] = []
        self._due: list[float] = []
        self._missed: list[float] = []
        self._duration: list[float] = []
        self._lateness: list[float] = []

    def add(self, machine: MachineStatus, qualities: tuple[int, ...], counts: ScheduleCounts) -> None:
        """Add a machine."""
        self._states += STATE_NUMBERS[machine.state.value]
        self._qualities += qualities
        self._readings.append(machine.readings)
        self._due.append(counts.due)
        self._missed.append(counts.missed)
        self._duration += (counts.lasted_sum, counts.taken)
        self._lateness += (counts.late_sum, counts.taken)

    def add_to(self, found: Samples, labels: _MachineLabels) -> None:
        """Add the series of all machines to samples."""
        found.set_columns("lineside_machine_state", labels.by_state, self._states)
        found.set_columns("lineside_machine_points", labels.by_quality, self._qualities)
        found.set_columns("lineside_machine_readings_total", labels.plain, self._readings)
        found.set_columns("lineside_machine_scans_due_total", labels.plain, self._due)
        found.set_columns("lineside_machine_scans_missed_total", labels.plain, self._missed)
        found.set_columns("lineside_machine_scan_duration_seconds", labels.plain, self._duration)
        found.set_columns("lineside_machine_scan_lateness_seconds", labels.plain, self._lateness)


class GatewayMetrics:
    """Reads the parts of a gateway when somebody asks for its metrics."""

    class Parts(NamedTuple):
        """The parts that count."""

        settings: GatewaySection
        spool: Spool
        publisher: Publisher
        states: MachineStatuses
        devices: DeviceManager
        clock: Clock
        stall: StallWatch
        alarms: Callable[[], tuple[Mapping[tuple[str, str], int], Mapping[str, int]]]
        """Returns the alarms that are not normal, by priority and state, and annunciations by priority."""
        notified: Callable[[], Mapping[str, Mapping[str, int]]]
        """Returns the counts of notification by target, see `gateway.notify.notifier`."""

    def __init__(self, parts: Parts, durations: Durations) -> None:
        self._parts = parts
        self._durations = durations
        window = parts.publisher.window
        window.acknowledgements, window.confirmations = durations.acknowledgements, durations.confirmations
        self._old_record: tuple[int, float] | None = None  # of a former process: its number, and its time
        self._paths: list[MachinePath] = []
        self._labels: _MachineLabels | None = None

    async def samples(
        self, ledger: Ledger, drivers: Mapping[str, int], configuration: tuple[str, str, str, str]
    ) -> Samples:
        """Return the present values, in the event loop of the gateway.

        `drivers` are the sums of the counts of all drivers, and may be some seconds old. `configuration` is the
        enterprise, the site, the gateway and the digest that is active.
        """
        age = await self._oldest_age()
        found, began = Samples(), time.thread_time()
        add_build(found, configuration)
        add_ledger(found, ledger)
        self._add_spool(found, age)
        self._add_publishing(found)
        self._add_clock(found)
        self._add_alarms(found)
        for name, histogram in self._durations.count().items():
            found.set_histogram(name, histogram)
        self._add_devices(found, drivers)
        spent = time.thread_time() - began
        spent += await self._add_machines(found)
        add_process(found)
        found.set("lineside_scrape_collect_seconds", spent)
        return found

    def _add_spool(self, found: Samples, age: float) -> None:
        spool = self._parts.spool
        found.set("lineside_spool_records", spool.records)
        found.set("lineside_spool_bytes", spool.size)
        found.set("lineside_spool_used_bytes", spool.used)
        found.set("lineside_spool_limit_bytes", self._parts.settings.spool.max_size)
        found.set("lineside_spool_oldest_record_age_seconds", age)
        found.set("lineside_spool_writable", not spool.disk_trouble)
        found.set("lineside_spool_commits_failed_total", spool.counts["commits_failed"])
        found.set("lineside_spool_confirmations_refused_total", spool.counts["confirmations_refused"])

    async def _oldest_age(self) -> float:
        """Return the age of the oldest record in seconds; that of a former process's record is in its content."""
        spool = self._parts.spool
        age = spool.oldest_age
        if age is not None:
            return age
        seq = spool.oldest_seq
        if self._old_record is None or self._old_record[0] != seq:
            record = await spool.oldest_record()
            if record is None:
                return 0.0
            self._old_record = record.seq, _time_of(record.payload)
        return max(0.0, time.time() - self._old_record[1])

    def _add_publishing(self, found: Samples) -> None:
        publisher = self._parts.publisher
        window = publisher.window
        found.set("lineside_broker_connected", publisher.session.connected)
        found.set("lineside_broker_connects_total", publisher.session.connects)
        found.set("lineside_records_in_flight", len(window) + window.accepted_records)
        found.set("lineside_records_resent_total", window.counts["again"])
        found.set("lineside_records_without_subscribers_total", window.counts["nobody"])
        found.set("lineside_records_refused_total", window.counts["refused"])
        found.set_each("lineside_confirmations_refused_total", publisher.proofs.refused, NOT_PROVED)

    def _add_clock(self, found: Samples) -> None:
        clock = self._parts.clock
        found.set("lineside_clock_trusted", clock.fault is None)
        found.set("lineside_clock_steps_total", clock.steps)
        found.set("lineside_clock_ahead_seconds", clock.ahead)
        found.set("lineside_process_stalls_total", self._parts.stall.stalls)

    async def _add_machines(self, found: Samples) -> float:
        """Add the sums over all machines and the series of each; return the processor time in seconds."""
        devices, limits = self._parts.devices, self._parts.settings.metrics
        began, spent = time.thread_time(), 0.0
        machines = list(self._parts.states.machines)
        by_state, by_quality = dict.fromkeys(STATES, 0), [0, 0, 0, 0]
        schedule, points = ScheduleCounts(), limits.points
        schedule.add(devices.past)
        labels, columns = self._labels_of(machines[: limits.machines]), _Columns()
        for place, machine in enumerate(machines):
            if place % AT_ONCE == 0 and place:
                spent += time.thread_time() - began
                await asyncio.sleep(0)
                began = time.thread_time()
            counts = devices.schedules.get(str(machine.path))
            qualities = (0, 0, 0, 0)
            if counts is not None:  # else it was removed meanwhile
                known = self._parts.states.points_of(machine.path)
                unread = known.configured - known.good - known.uncertain - known.bad
                qualities = known.good, known.uncertain, known.bad, unread
                by_state[machine.state.value] += 1
                schedule.add(counts)
            by_quality = [*map(add, by_quality, qualities)]
            if place < limits.machines:
                columns.add(machine, qualities, counts or ScheduleCounts())
                points -= self._add_points(found, machine, points)
        columns.add_to(found, labels)
        found.set_each("lineside_machines", by_state)
        found.set_each("lineside_points", dict(zip(QUALITIES, by_quality, strict=True)))
        found.set("lineside_machines_without_series", max(0, len(machines) - limits.machines))
        found.set("lineside_scans_due_total", schedule.due)
        found.set("lineside_scans_acquired_total", schedule.taken)
        found.set("lineside_scans_missed_total", schedule.missed)
        return spent + time.thread_time() - began

    def _add_alarms(self, found: Samples) -> None:
        standing, annunciations = self._parts.alarms()
        for priority in PRIORITIES:
            found.set("lineside_alarm_annunciations_total", annunciations.get(priority, 0), priority)
            for state in ALARM_STATES:
                found.set("lineside_alarms", standing.get((priority, state), 0), priority, state)
        for target, counts in self._parts.notified().items():
            for result in ("sent", "failed"):
                found.set("lineside_notify_messages_total", counts[result], target, result)
            for reason in ("dropped", "given_up"):
                found.set("lineside_notify_alarms_lost_total", counts[reason], target, reason)
            found.set("lineside_notify_alarms_waiting", counts["waiting"], target)

    def _labels_of(self, machines: Sequence[MachineStatus]) -> _MachineLabels:
        """Return the labels of all series of machines: the same object while the machines are the same."""
        paths = [machine.path for machine in machines]
        if self._labels is None or self._paths != paths:
            plain = tuple((path.area, path.line, path.machine) for path in paths)
            self._paths, self._labels = (
                paths,
                _MachineLabels(
                    plain,
                    tuple((*one, state) for one in plain for state in STATES),
                    tuple((*one, quality) for one in plain for quality in QUALITIES),
                ),
            )
        return self._labels

    def _add_points(self, found: Samples, machine: MachineStatus, most: int) -> int:
        """Add the qualities of at most so many points; return how many were added."""
        added = 0
        if most > 0:
            for name, quality in self._parts.states.qualities(machine.path):
                if added == most:
                    break
                found.set("lineside_point_quality", LEVELS[quality], *machine.path[2:], name)
                added += 1
        return added

    def _add_devices(self, found: Samples, drivers: Mapping[str, int]) -> None:
        workers = self._parts.devices.workers
        connected = sum(worker.connected for worker in workers)
        differences = (worker.clock_offset for worker in workers)
        events = {name: n for name, n in drivers.items() if name not in {"connects", "driver_faults"}}
        found.set_each("lineside_devices", {"connected": connected, "not_connected": len(workers) - connected})
        found.set("lineside_device_connects_total", drivers.get("connects", 0))
        found.set("lineside_driver_faults_total", drivers.get("driver_faults", 0))
        found.set_each("lineside_driver_events_total", events, DRIVER_EVENTS)
        found.set(
            "lineside_device_clock_difference_max_seconds", max((abs(one) for one in differences if one), default=0.0)
        )


def _time_of(payload: bytes) -> float:
    """Return the time of the first scan of a record, in seconds since the epoch; now for a damaged record."""
    try:
        return min(decode(payload).times()) / 1e6
    except (Undecodable, ValueError):  # ValueError: it has no scan
        return time.time()
