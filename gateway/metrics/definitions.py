"""Every metric that the services have, by name. docs/metrics.md is made from these tables.

Names follow the rules of Prometheus: base units, `_total` for counters, the unit behind the name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The type of a metric, as in the text formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Definition(NamedTuple):
    """A metric: its name, kind and meaning, and its labels beside those that all metrics of a service have."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit in its name; empty for a number of things."""
        stem = self.name.removesuffix("_total")
        return next((unit for unit in ("seconds", "bytes") if stem.endswith(f"_{unit}")), "")

    @property
    def family(self) -> str:
        """The name in a header of OpenMetrics, which for a counter is without `_total`."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series in Prometheus."""
        if self.kind is Kind.HISTOGRAM:
            return f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count"
        if self.kind is Kind.SUMMARY:
            return f"{self.name}_sum", f"{self.name}_count"
        return (self.name,)


COUNTER, GAUGE, HISTOGRAM, SUMMARY = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM, Kind.SUMMARY

MACHINE = ("area", "line", "machine")
"""The labels of a machine; enterprise and site are labels of `lineside_gateway_info`."""

GATEWAY_LABEL, WORKER_LABEL, INGEST_LABEL = "gateway", "worker", "ingest"
"""The labels of all metrics of a gateway, of a gateway with workers, and of an ingest."""

RELOADS = "lineside_configuration_reloads_total"
"""The metric of a gateway as a whole, which its service or its supervisor sets."""

TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the buckets of durations, in seconds."""

AGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""The same for ages of readings, which grow in an outage."""

_BUILD = (
    Definition("lineside_build_info", GAUGE, "The running version; always 1.", ("version", "python")),
    Definition("lineside_configuration_info", GAUGE, "The digest of the active configuration, and the gateway and "
               "the factory that it is for; always 1.", ("enterprise", "site", "configured_gateway", "digest")),
)  # fmt: skip

_PROCESS = (
    Definition("lineside_clock_synchronised", GAUGE, "1 if the kernel says that something keeps the clock of the box "
               "right, else 0; missing where it can't be asked."),
    Definition("lineside_clock_maximum_error_seconds", GAUGE, "The error that the kernel gives as the maximum; it "
               "grows as long as no time server corrects the clock."),
    Definition("lineside_clock_estimated_error_seconds", GAUGE, "The error that the kernel estimates."),
    Definition("process_cpu_seconds_total", COUNTER, "Processor time of the process, user and system."),
    Definition("process_resident_memory_bytes", GAUGE, "Resident memory of the process."),
    Definition("process_virtual_memory_bytes", GAUGE, "Virtual memory of the process."),
    Definition("process_start_time_seconds", GAUGE, "Start of the process, since the epoch."),
    Definition("process_open_fds", GAUGE, "Open file descriptors of the process."),
    Definition("process_max_fds", GAUGE, "The limit of open file descriptors of the process."),
    Definition("lineside_scrape_collect_seconds", GAUGE, "Processor time in the service's event loop that the "
               "values of this scrape needed."),
)  # fmt: skip

_SELF_TEST = (
    Definition("lineside_self_test_failed", GAUGE, "1 if a check of the last self-test found something to act on, or "
               "could not be made, else 0. Ingest checks the installed software alone.", ("check",)),
    Definition("lineside_self_test_timestamp_seconds", GAUGE, "Time of the last self-test, since the epoch."),
)  # fmt: skip

GATEWAY = (
    *_BUILD,
    Definition(RELOADS, COUNTER, "Reloads by what became of them: applied, unchanged, "
               "refused for an error, or untrusted: refused by the policy or the signature.", ("result",)),
    # -- the ledger --
    Definition("lineside_readings_acquired_total", COUNTER, "Readings that drivers returned, good or not, since the "
               "spool was created."),
    Definition("lineside_readings_unchanged_total", COUNTER, "Readings that report by exception did not send."),
    Definition("lineside_readings_dropped_total", COUNTER, "Readings that were lost or set aside, by reason (see "
               "docs/delivery.md).", ("reason",)),
    Definition("lineside_readings_confirmed_total", COUNTER, "Readings that the store, or with `confirm: broker` "
               "the broker, has."),
    Definition("lineside_readings_pending", GAUGE, "Readings that are not confirmed yet."),
    Definition("lineside_ledger_unaccounted_readings", GAUGE, "Acquired readings that the ledger does not account "
               "for. It is 0, or there is an error in Lineside."),
    # -- the schedule --
    Definition("lineside_scans_due_total", COUNTER, "Scans that the schedule asked for, of all machines."),
    Definition("lineside_scans_acquired_total", COUNTER, "Scans that were read, of all machines."),
    Definition("lineside_scans_missed_total", COUNTER, "Scans that could not begin before the next was due, of all "
               "machines."),
    Definition("lineside_scan_duration_seconds", HISTOGRAM, "Duration of a scan by schedule; not of pushed scans."),
    Definition("lineside_scan_lateness_seconds", HISTOGRAM, "Delay of a scan by schedule after its slot."),
    # -- machines and points --
    Definition("lineside_machines", GAUGE, "Machines in a state: starting, online, degraded or "
               "offline.", ("state",)),
    Definition("lineside_points", GAUGE, "Points whose last reading has a quality: good, uncertain, bad, or unread "
               "for points without a reading.", ("quality",)),
    Definition("lineside_alarms", GAUGE, "Alarms that are standing, shelved, suppressed or out of service, by "
               "priority.", ("priority", "state")),
    Definition("lineside_alarm_annunciations_total", COUNTER, "Annunciations of alarms, by priority, since the "
               "start.", ("priority",)),
    Definition("lineside_notify_messages_total", COUNTER, "Messages about alarms by target, and what became of them: "
               "sent, or failed for attempts that failed.", ("target", "result")),
    Definition("lineside_notify_alarms_lost_total", COUNTER, "Alarms that a target was not notified of, by reason: "
               "dropped for want of room, or given_up.", ("target", "reason")),
    Definition("lineside_notify_alarms_waiting", GAUGE, "Alarms that a target has yet to be notified "
               "of.", ("target",)),
    Definition("lineside_machines_without_series", GAUGE, "Machines above the limit `gateway.metrics.machines`, "
               "which have no series of their own."),
    Definition("lineside_machine_state", GAUGE, "1 for the state that a machine has, 0 for the "
               "others.", (*MACHINE, "state")),
    Definition("lineside_machine_points", GAUGE, "Points of a machine by quality, as in "
               "`lineside_points`.", (*MACHINE, "quality")),
    Definition("lineside_machine_readings_total", COUNTER, "Readings of a machine, good or not, since the "
               "start.", MACHINE),
    Definition("lineside_machine_scans_due_total", COUNTER, "Scans of a machine that were due.", MACHINE),
    Definition("lineside_machine_scans_missed_total", COUNTER, "Scans of a machine that were missed.", MACHINE),
    Definition("lineside_machine_scan_duration_seconds", SUMMARY, "Durations of the acquired scans of a "
               "machine.", MACHINE),
    Definition("lineside_machine_scan_lateness_seconds", SUMMARY, "Delays of the acquired scans of a machine after "
               "their slots.", MACHINE),
    Definition("lineside_point_quality", GAUGE, "Quality of the last reading of a point: 0 good, 1 uncertain, 2 "
               "bad. For as many points as `gateway.metrics.points` says.", (*MACHINE, "point")),
    # -- devices --
    Definition("lineside_devices", GAUGE, "Connections to devices by state: connected, not_connected.", ("state",)),
    Definition("lineside_device_connects_total", COUNTER, "Connections that were opened to devices; more than there "
               "are devices means reconnects."),
    Definition("lineside_driver_faults_total", COUNTER, "Unexpected errors of drivers, after which another driver "
               "was started."),
    Definition("lineside_driver_events_total", COUNTER, "Events that drivers count, such as requests, retries, "
               "timeouts and refused, over all devices.", ("event",)),
    Definition("lineside_device_clock_difference_max_seconds", GAUGE, "The largest difference between the clock of "
               "a device and that of the gateway."),
    # -- the spool --
    Definition("lineside_spool_records", GAUGE, "Records in the spool."),
    Definition("lineside_spool_bytes", GAUGE, "Payload of the records in the spool."),
    Definition("lineside_spool_used_bytes", GAUGE, "Size of the spool's database, without free pages. The limit "
               "applies to it."),
    Definition("lineside_spool_limit_bytes", GAUGE, "The limit of the spool, `gateway.spool.max_size`; with workers "
               "the part of each worker."),
    Definition("lineside_spool_oldest_record_age_seconds", GAUGE, "Time since the oldest unconfirmed record was "
               "made; 0 without records."),
    Definition("lineside_spool_writable", GAUGE, "1 if the disk of the spool accepts writes, else 0."),
    Definition("lineside_spool_commits_failed_total", COUNTER, "Commits that failed for another reason than the "
               "disk."),
    Definition("lineside_spool_confirmations_refused_total", COUNTER, "Confirmations of numbers that were never "
               "used."),
    # -- publishing --
    Definition("lineside_broker_connected", GAUGE, "1 while the connection to the broker is open, else 0."),
    Definition("lineside_broker_connects_total", COUNTER, "Connections that were opened to the broker."),
    Definition("lineside_records_in_flight", GAUGE, "Records that were published and are not confirmed."),
    Definition("lineside_records_resent_total", COUNTER, "Records that were published again."),
    Definition("lineside_records_without_subscribers_total", COUNTER, "Records for which the broker had no "
               "subscribers."),
    Definition("lineside_records_refused_total", COUNTER, "Records that the broker refused."),
    Definition("lineside_confirmations_refused_total", COUNTER, "Records of confirmations that were ignored, by "
               "reason: `unproved` (one for each message), `wrong_proof`, or `not_sent` (also the second "
               "confirmation of a record that was sent twice).", ("reason",)),
    Definition("lineside_record_acknowledgement_seconds", HISTOGRAM, "Time from publishing a record to the "
               "acknowledgement of the broker (PUBACK)."),
    Definition("lineside_record_confirmation_seconds", HISTOGRAM, "Time from publishing a record to its "
               "confirmation."),
    # -- clock and process --
    Definition("lineside_clock_trusted", GAUGE, "1 if the clock of the box can be trusted, else 0."),
    Definition("lineside_clock_steps_total", COUNTER, "Changes of the wall clock by more than 0.5 s."),
    Definition("lineside_clock_ahead_seconds", GAUGE, "Time by which the stamps of readings are ahead of the wall "
               "clock, after a small step back."),
    Definition("lineside_process_stalls_total", COUNTER, "Times that the process did not run for a while: it was "
               "stopped, suspended or blocked."),
    *_SELF_TEST,
    Definition("lineside_storage_encrypted", GAUGE, "1 if a folder of the service is on encrypted storage or in "
               "memory, 0 if it is not or may not be.", ("folder",)),
    # -- workers --
    Definition("lineside_worker_up", GAUGE, "1 while a worker process reports, else 0; only with workers."),
    Definition("lineside_worker_restarts_total", COUNTER, "Starts of a worker process after its first; only with "
               "workers."),
    *_PROCESS,
)  # fmt: skip

INGEST = (
    *_BUILD,
    Definition("lineside_ingest_records_total", COUNTER, "Records that were written to the stores."),
    Definition("lineside_ingest_readings_total", COUNTER, "Readings that were written to the stores; a record that "
               "comes twice counts twice."),
    Definition("lineside_ingest_readings_set_aside_total", COUNTER, "Readings that are in the dead-letter file and "
               "in no store."),
    Definition("lineside_ingest_readings_not_stored_total", COUNTER, "Readings that a store did not take, by "
               "reason.", ("reason",)),
    Definition("lineside_ingest_dead_letters_total", COUNTER, "Messages and rows that were set aside."),
    Definition("lineside_ingest_dead_letters_dropped_total", COUNTER, "Dead letters for which the disk had no "
               "room."),
    Definition("lineside_ingest_dead_letters_waiting", GAUGE, "Dead letters in memory that the disk does not have "
               "yet."),
    Definition("lineside_ingest_records_waited_for_metadata_total", COUNTER, "Records that had to wait for the "
               "metadata of their machine."),
    Definition("lineside_ingest_confirmations_denied_total", COUNTER, "Confirmations that the broker refused."),
    Definition("lineside_ingest_machines_claimed_total", COUNTER, "Times that a record of a machine came from "
               "another gateway than the record before."),
    Definition("lineside_ingest_retained_ignored_total", COUNTER, "Retained messages where none belong."),
    Definition("lineside_ingest_messages_refused_total", COUNTER, "Metadata that is not signed as it has to be, by "
               "reason.", ("reason",)),
    Definition("lineside_ingest_batches_not_durable", GAUGE, "Written batches that a store may still lose, and that "
               "are not confirmed yet."),
    Definition("lineside_ingest_lag_seconds", HISTOGRAM, "Age of readings when they were written to the stores."),
    Definition("lineside_ingest_last_write_timestamp_seconds", GAUGE, "Time of the last written batch, since the "
               "epoch; 0 before the first."),
    Definition("lineside_ingest_broker_connected", GAUGE, "1 while the connection to the broker is open, else 0."),
    Definition("lineside_ingest_broker_connects_total", COUNTER, "Connections that were opened to the broker."),
    Definition("lineside_store_available", GAUGE, "1 if the last call of a store succeeded, else 0; 0 before the "
               "first.", ("store",)),
    Definition("lineside_store_failures_total", COUNTER, "Calls of a store that failed, and were tried "
               "again.", ("store",)),
    Definition("lineside_store_write_seconds", HISTOGRAM, "Duration of one write of a batch to a "
               "store.", ("store",)),
    Definition("lineside_store_events_total", COUNTER, "Events that a store counts: rows_ignored, "
               "scans_merged.", ("store", "event")),
    *_SELF_TEST,
    Definition("lineside_storage_encrypted", GAUGE, "1 if a folder of the service is on encrypted storage or in "
               "memory, 0 if it is not or may not be.", ("folder",)),
    *_PROCESS,
)  # fmt: skip

DEFINITIONS: dict[str, Definition] = {one.name: one for one in (*GATEWAY, *INGEST)}
"""Every metric by its name; those that both services have are the same."""

BUCKETS: dict[str, tuple[float, ...]] = {
    one.name: AGES if one.name in {"lineside_ingest_lag_seconds", "lineside_record_confirmation_seconds"} else TIMES
    for one in DEFINITIONS.values()
    if one.kind is Kind.HISTOGRAM
}
"""The upper bounds of the buckets of each histogram, in seconds."""
