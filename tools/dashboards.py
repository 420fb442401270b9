#!/usr/bin/env python3
"""Write the dashboards of deploy/grafana from the descriptions in this file.

    tools/dashboards.py            write deploy/grafana/dashboards/*.json
    tools/dashboards.py --check    exit 1 if a file differs from its description

A dashboard is a list of rows, a row a list of panels, a panel one or more queries. Grafana's own fields follow from
these. Files are checked in, so that Grafana can provision them without this script.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"

WIDTH = 24
"""Columns of Grafana's grid."""

Json = dict[str, Any]


class Query(NamedTuple):
    """A query, and the text of its legend; with `now` only its present value."""

    expression: str
    legend: str = ""
    now: bool = False


class Panel(NamedTuple):
    """A panel: its kind as Grafana names it, its unit as Grafana names it, and its size in the grid."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    width: int = 8
    height: int = 8
    more: Json = {}
    """Further fields of the panel."""


class Variable(NamedTuple):
    """A variable that a person chooses; `query` returns its values."""

    name: str
    query: str
    label: str = ""
    many: bool = True


class Dashboard(NamedTuple):
    """A dashboard: `source` is the type of its data source."""

    file: str
    title: str
    about: str
    source: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


# -- fields of Grafana --

GOOD, WARN, BAD = "green", "orange", "red"


def thresholds(*steps: tuple[float | None, str]) -> Json:
    """Return colours from some values on; the first has no value."""
    return {"fieldConfig": {"defaults": {"thresholds": {
        "mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}}}}  # fmt: skip


def stat(title: str, expression: str, unit: str = "short", *, more: Json | None = None, about: str = "") -> Panel:
    """Return a panel of one number."""
    query = Query(expression, now=True)
    return Panel(title, (query,), unit, "stat", about, 4, 4, more or thresholds((None, GOOD)))


ZERO_IS_GOOD = thresholds((None, GOOD), (1e-9, BAD))
STACKED: Json = {"fieldConfig": {"defaults": {"custom": {"stacking": {"mode": "normal"}, "fillOpacity": 30}}}}
YES_NO: Json = {"fieldConfig": {"defaults": {"mappings": [{"type": "value", "options": {
    "0": {"text": "no", "color": BAD}, "1": {"text": "yes", "color": GOOD}}}]}}}  # fmt: skip


def table(title: str, queries: Sequence[Query], renamed: Json, hidden: Sequence[str], width: int = 24) -> Panel:
    """Return a table with a row for each set of labels, and a column for each query."""
    organize = {"excludeByName": dict.fromkeys(("Time", *hidden), True), "renameByName": renamed}
    steps = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    return Panel(title, tuple(queries), kind="table", width=width, height=9, more={"transformations": steps})


def quantiles(metric: str, by: str, selector: str) -> tuple[Query, ...]:
    """Return queries of the median and the 99th percentile of a histogram."""
    legend = "".join(f" {{{{{label}}}}}" for label in by.split(", ") if label)
    inner = f"sum by ({', '.join(filter(None, ('le', by)))}) (rate({metric}_bucket{{{selector}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({part}, {inner})", f"{name}{legend}")
        for part, name in ((0.5, "p50"), (0.99, "p99"))
    )


# -- the dashboards --

GATEWAY, INGEST = 'gateway=~"$gateway"', 'ingest=~"$ingest"'
SITE = 'site=~"$site"'
SITES = Variable("site", "label_values(up{job=~'lineside-.*'}, site)", "Site")

FLEET = Dashboard(
    "fleet", "Lineside: fleet", "All gateways and ingests: availability, backlogs, losses.", "prometheus", (SITES,),
    (
        ("Now", (
            stat("Gateways up", f'sum(up{{job="lineside-gateway", {SITE}}})'),
            stat("Gateways down", f'count(up{{job="lineside-gateway", {SITE}}} == 0) or vector(0)', more=ZERO_IS_GOOD),
            stat("Ingests down", f'count(up{{job="lineside-ingest", {SITE}}} == 0) or vector(0)', more=ZERO_IS_GOOD),
            stat("Machines not online", f'sum(lineside_machines{{state!="online", {SITE}}})', more=ZERO_IS_GOOD),
            stat("Readings dropped in 24 h", f'sum(increase(lineside_readings_dropped_total{{reason!="adopted", {SITE}}}[24h]))',
                 more=ZERO_IS_GOOD),
            stat("Readings a second", f"sum(rate(lineside_readings_acquired_total{{{SITE}}}[$__rate_interval]))"),
        )),
        ("Alerts and gateways", (
            table("Alerts that fire", [Query('ALERTS{alertname=~"Lineside.*", alertstate="firing"}', now=True)],
                  {"alertname": "alert"}, ("Value", "__name__", "alertstate", "job")),
            table("Gateways", [
                Query(f'max by (gateway, instance, site) (up{{job="lineside-gateway", {SITE}}} * on (instance) group_left (gateway) '
                      f"max by (instance, gateway) (last_over_time(lineside_build_info{{{SITE}}}[1d])))", now=True),
                Query(f"sum by (gateway, instance, site) (rate(lineside_readings_acquired_total{{{SITE}}}[5m]))", now=True),
                Query(f"sum by (gateway, instance, site) (lineside_readings_pending{{{SITE}}})", now=True),
                Query(f"max by (gateway, instance, site) (lineside_spool_oldest_record_age_seconds{{{SITE}}})", now=True),
                Query(f'sum by (gateway, instance, site) (lineside_machines{{state!="online", {SITE}}})', now=True),
                Query(f'sum by (gateway, instance, site) (rate(process_cpu_seconds_total{{job="lineside-gateway", {SITE}}}[5m]))',
                      now=True),
                Query(f'sum by (gateway, instance, site) (process_resident_memory_bytes{{job="lineside-gateway", {SITE}}})',
                      now=True),
            ], {"Value #A": "up", "Value #B": "readings/s", "Value #C": "pending", "Value #D": "oldest record (s)",
                "Value #E": "machines not online", "Value #F": "processors", "Value #G": "memory (B)"}, ()),
            table("Versions and configurations", [
                Query(f"max by (gateway, ingest, instance, site, version) (lineside_build_info{{{SITE}}})", now=True),
                Query(f"max by (gateway, ingest, instance, site, digest) (lineside_configuration_info{{{SITE}}})", now=True),
            ], {"digest": "configuration"}, ("Value #A", "Value #B")),
        )),
        ("Over time", (
            Panel("Readings a second", (Query(
                f"sum by (gateway) (rate(lineside_readings_acquired_total{{{SITE}}}[$__rate_interval]))", "{{gateway}}"),)),
            Panel("Machines that are not online", (Query(
                f'sum by (gateway) (lineside_machines{{state!="online", {SITE}}})', "{{gateway}}"),)),
            Panel("Scans that are missed", (Query(
                f"sum by (gateway) (rate(lineside_scans_missed_total{{{SITE}}}[$__rate_interval])) "
                f"/ sum by (gateway) (rate(lineside_scans_due_total{{{SITE}}}[$__rate_interval]))", "{{gateway}}"),),
                "percentunit"),
            Panel("Used part of the spool", (Query(
                f"max by (gateway) (lineside_spool_used_bytes{{{SITE}}} / lineside_spool_limit_bytes{{{SITE}}})",
                "{{gateway}}"),), "percentunit"),
            Panel("Age of the oldest record", (Query(
                f"max by (gateway) (lineside_spool_oldest_record_age_seconds{{{SITE}}})", "{{gateway}}"),), "s"),
            Panel("Readings dropped", (Query(
                f"sum by (gateway, reason) (increase(lineside_readings_dropped_total{{{SITE}}}[$__rate_interval])) > 0",
                "{{gateway}} {{reason}}"),)),
        )),
    ),
)  # fmt: skip

GATEWAYS = Dashboard(
    "gateway", "Lineside: gateway", "One gateway: the ledger, the schedule, machines, the spool, publishing, the process.",
    "prometheus", (Variable("gateway", "label_values(lineside_readings_acquired_total, gateway)", "Gateway", many=False),),
    (
        ("Now", (
            stat("Connected to the broker", f"min(lineside_broker_connected{{{GATEWAY}}})", more=YES_NO),
            stat("Spool writable", f"min(lineside_spool_writable{{{GATEWAY}}})", more=YES_NO),
            stat("Clock trusted", f"min(lineside_clock_trusted{{{GATEWAY}}})", more=YES_NO),
            stat("Machines not online", f'sum(lineside_machines{{state!="online", {GATEWAY}}})', more=ZERO_IS_GOOD),
            stat("Readings unaccounted for", f"sum(lineside_ledger_unaccounted_readings{{{GATEWAY}}})", more=ZERO_IS_GOOD),
            stat("Oldest record", f"max(lineside_spool_oldest_record_age_seconds{{{GATEWAY}}})", "s",
                 more=thresholds((None, GOOD), (60, WARN), (300, BAD))),
        )),
        ("Ledger", (
            Panel("Readings a second", (
                Query(f"sum(rate(lineside_readings_acquired_total{{{GATEWAY}}}[$__rate_interval]))", "acquired"),
                Query(f"sum(rate(lineside_readings_unchanged_total{{{GATEWAY}}}[$__rate_interval]))", "unchanged"),
                Query(f"sum(rate(lineside_readings_confirmed_total{{{GATEWAY}}}[$__rate_interval]))", "confirmed"),
            )),
            Panel("Pending readings", (Query(f"sum(lineside_readings_pending{{{GATEWAY}}})", "pending"),)),
            Panel("Dropped readings", (Query(
                f"sum by (reason) (increase(lineside_readings_dropped_total{{{GATEWAY}}}[$__rate_interval]))",
                "{{reason}}"),)),
        )),
        ("Schedule", (
            Panel("Duration of scans", quantiles("lineside_scan_duration_seconds", "", GATEWAY), "s"),
            Panel("Delay of scans after their slots", quantiles("lineside_scan_lateness_seconds", "", GATEWAY), "s"),
            Panel("Scans a second", (
                Query(f"sum(rate(lineside_scans_acquired_total{{{GATEWAY}}}[$__rate_interval]))", "acquired"),
                Query(f"sum(rate(lineside_scans_missed_total{{{GATEWAY}}}[$__rate_interval]))", "missed"),
            )),
        )),
        ("Machines", (
            Panel("Machines by state", (Query(f"sum by (state) (lineside_machines{{{GATEWAY}}})", "{{state}}"),),
                  more=STACKED),
            Panel("Points by quality", (Query(f"sum by (quality) (lineside_points{{{GATEWAY}}})", "{{quality}}"),),
                  more=STACKED),
            Panel("Slowest machines", (Query(
                f"topk(10, rate(lineside_machine_scan_duration_seconds_sum{{{GATEWAY}}}[$__rate_interval]) "
                f"/ rate(lineside_machine_scan_duration_seconds_count{{{GATEWAY}}}[$__rate_interval]))",
                "{{line}}/{{machine}}"),), "s", about="Mean duration of a scan."),
            table("Machines that are not online", [
                Query(f'max by (area, line, machine, state) (lineside_machine_state{{state!="online", {GATEWAY}}} == 1)', now=True),
                Query('sum by (area, line, machine) (lineside_machine_points{quality="bad", ' + GATEWAY + "}) > 0", now=True),
            ], {"Value #B": "bad points"}, ("Value #A",), 16),
            Panel("Machines with missed scans", (Query(
                f"topk(10, rate(lineside_machine_scans_missed_total{{{GATEWAY}}}[$__rate_interval]) > 0)",
                "{{line}}/{{machine}}"),), height=9),
        )),
        ("Devices", (
            Panel("Devices by state", (Query(f"sum by (state) (lineside_devices{{{GATEWAY}}})", "{{state}}"),), more=STACKED),
            Panel("Connections that were opened", (
                Query(f"sum(increase(lineside_device_connects_total{{{GATEWAY}}}[$__rate_interval]))", "to devices"),
                Query(f"sum(increase(lineside_driver_faults_total{{{GATEWAY}}}[$__rate_interval]))", "driver faults"),
            )),
            Panel("Events of drivers", (Query(
                f"sum by (event) (rate(lineside_driver_events_total{{{GATEWAY}}}[$__rate_interval])) > 0", "{{event}}"),)),
        )),
        ("Alarms", (
            Panel("Alarms by state", (Query(f"sum by (state) (lineside_alarms{{{GATEWAY}}})", "{{state}}"),), more=STACKED),
            Panel("Annunciations", (Query(
                f"sum by (priority) (increase(lineside_alarm_annunciations_total{{{GATEWAY}}}[$__rate_interval]))",
                "{{priority}}"),)),
            Panel("Messages about alarms", (Query(
                f"sum by (target, result) (increase(lineside_notify_messages_total{{{GATEWAY}}}[$__rate_interval]))",
                "{{target}} {{result}}"),)),
            Panel("Alarms that nobody was notified of", (
                Query(f"sum by (target) (lineside_notify_alarms_waiting{{{GATEWAY}}}) > 0", "{{target}} waiting"),
                Query(f"sum by (target, reason) (increase(lineside_notify_alarms_lost_total{{{GATEWAY}}}"
                      "[$__rate_interval])) > 0", "{{target}} {{reason}}"),
            )),
        )),
        ("Configuration and self-test", (
            Panel("Reloads by outcome", (Query(
                f"sum by (result) (increase(lineside_configuration_reloads_total{{{GATEWAY}}}[$__rate_interval]))",
                "{{result}}"),)),
            Panel("Checks of the self-test that failed", (Query(
                f"max by (check) (lineside_self_test_failed{{{GATEWAY}}}) > 0", "{{check}}"),)),
            Panel("Folders on encrypted storage (1) or not (0)", (Query(
                f"min by (folder) (lineside_storage_encrypted{{{GATEWAY}}})", "{{folder}}"),)),
        )),
        ("Spool", (
            Panel("Size of the spool", (
                Query(f"sum(lineside_spool_used_bytes{{{GATEWAY}}})", "used"),
                Query(f"sum(lineside_spool_bytes{{{GATEWAY}}})", "records"),
                Query(f"sum(lineside_spool_limit_bytes{{{GATEWAY}}})", "limit"),
            ), "bytes"),
            Panel("Records in the spool", (Query(f"sum(lineside_spool_records{{{GATEWAY}}})", "records"),)),
            Panel("Age of the oldest record", (Query(
                f"max(lineside_spool_oldest_record_age_seconds{{{GATEWAY}}})", "oldest record"),), "s"),
        )),
        ("Publishing", (
            Panel("Time to the acknowledgement of the broker",
                  quantiles("lineside_record_acknowledgement_seconds", "", GATEWAY), "s"),
            Panel("Time to the confirmation", quantiles("lineside_record_confirmation_seconds", "", GATEWAY), "s"),
            Panel("Records a second that went wrong", (
                Query(f"sum(rate(lineside_records_resent_total{{{GATEWAY}}}[$__rate_interval]))", "published again"),
                Query(f"sum(rate(lineside_records_without_subscribers_total{{{GATEWAY}}}[$__rate_interval]))",
                      "without subscribers"),
                Query(f"sum(rate(lineside_records_refused_total{{{GATEWAY}}}[$__rate_interval]))", "refused"),
                Query(f"sum(rate(lineside_confirmations_refused_total{{{GATEWAY}}}[$__rate_interval]))",
                      "confirmed without proof"),
            )),
            Panel("Records in flight", (Query(f"sum(lineside_records_in_flight{{{GATEWAY}}})", "in flight"),)),
            Panel("Connection to the broker", (
                Query(f"min(lineside_broker_connected{{{GATEWAY}}})", "connected"),
                Query(f"sum(increase(lineside_broker_connects_total{{{GATEWAY}}}[$__rate_interval]))", "connections opened"),
            )),
            Panel("Clock", (
                Query(f"min(lineside_clock_trusted{{{GATEWAY}}})", "trusted"),
                Query(f"min(lineside_clock_synchronised{{{GATEWAY}}})", "synchronised"),
                Query(f"max(lineside_clock_maximum_error_seconds{{{GATEWAY}}})", "maximum error (s)"),
                Query(f"max(lineside_clock_estimated_error_seconds{{{GATEWAY}}})", "estimated error (s)"),
                Query(f"max(lineside_clock_ahead_seconds{{{GATEWAY}}})", "ahead (s)"),
                Query(f"sum(increase(lineside_clock_steps_total{{{GATEWAY}}}[$__rate_interval]))", "steps"),
            )),
        )),
        ("Process", (
            Panel("Processors", (Query(
                f"rate(process_cpu_seconds_total{{{GATEWAY}}}[$__rate_interval])", "{{worker}}"),), more=STACKED),
            Panel("Memory", (Query(f"process_resident_memory_bytes{{{GATEWAY}}}", "{{worker}}"),), "bytes", more=STACKED),
            Panel("File descriptors, stalls", (
                Query(f"sum(process_open_fds{{{GATEWAY}}})", "file descriptors"),
                Query(f"sum(increase(lineside_process_stalls_total{{{GATEWAY}}}[$__rate_interval]))", "stalls"),
            )),
        )),
    ),
)  # fmt: skip

INGESTS = Dashboard(
    "ingest", "Lineside: ingest", "From the broker into the stores: rates, lag, writes, refusals.", "prometheus",
    (Variable("ingest", "label_values(lineside_ingest_records_total, ingest)", "Ingest"),),
    (
        ("Now", (
            stat("Connected to the broker", f"min(lineside_ingest_broker_connected{{{INGEST}}})", more=YES_NO),
            stat("Stores available", f"min(lineside_store_available{{{INGEST}}})", more=YES_NO),
            stat("Since the last write", f"time() - max(lineside_ingest_last_write_timestamp_seconds{{{INGEST}}})", "s",
                 more=thresholds((None, GOOD), (60, WARN), (600, BAD))),
            stat("Readings not stored in 24 h",
                 f"sum(increase(lineside_ingest_readings_not_stored_total{{{INGEST}}}[24h]))", more=ZERO_IS_GOOD),
            stat("Dead letters in 24 h", f"sum(increase(lineside_ingest_dead_letters_total{{{INGEST}}}[24h]))",
                 more=ZERO_IS_GOOD),
            stat("Readings a second", f"sum(rate(lineside_ingest_readings_total{{{INGEST}}}[$__rate_interval]))"),
        )),
        ("Flow", (
            Panel("Readings a second", (Query(
                f"sum by (ingest) (rate(lineside_ingest_readings_total{{{INGEST}}}[$__rate_interval]))", "{{ingest}}"),),
                more=STACKED),
            Panel("Records a second", (Query(
                f"sum by (ingest) (rate(lineside_ingest_records_total{{{INGEST}}}[$__rate_interval]))", "{{ingest}}"),),
                more=STACKED),
            Panel("Age of readings when they are stored", quantiles("lineside_ingest_lag_seconds", "", INGEST), "s"),
            Panel("Age of readings, all buckets", (Query(
                f"sum by (le) (increase(lineside_ingest_lag_seconds_bucket{{{INGEST}}}[$__rate_interval]))", "{{le}}"),),
                "s", "heatmap", width=16),
            Panel("Written, and not durable yet", (Query(
                f"sum by (ingest) (lineside_ingest_batches_not_durable{{{INGEST}}})", "{{ingest}}"),),
                about="Batches that a store may still lose."),
            Panel("Connection to the broker", (
                Query(f"min by (ingest) (lineside_ingest_broker_connected{{{INGEST}}})", "{{ingest}} connected"),
                Query(f"sum by (ingest) (increase(lineside_ingest_broker_connects_total{{{INGEST}}}[$__rate_interval]))",
                      "{{ingest}} connections opened"),
            )),
        )),
        ("Stores", (
            Panel("Duration of a write", quantiles("lineside_store_write_seconds", "store", INGEST), "s"),
            Panel("Available", (Query(f"min by (store) (lineside_store_available{{{INGEST}}})", "{{store}}"),)),
            Panel("Failed calls a second", (Query(
                f"sum by (store) (rate(lineside_store_failures_total{{{INGEST}}}[$__rate_interval]))", "{{store}}"),)),
            Panel("Readings that are not stored", (Query(
                f"sum by (reason) (increase(lineside_ingest_readings_not_stored_total{{{INGEST}}}[$__rate_interval]))",
                "{{reason}}"),)),
            Panel("Dead letters", (
                Query(f"sum(increase(lineside_ingest_dead_letters_total{{{INGEST}}}[$__rate_interval]))", "set aside"),
                Query(f"sum(increase(lineside_ingest_dead_letters_dropped_total{{{INGEST}}}[$__rate_interval]))", "dropped"),
                Query(f"sum(lineside_ingest_dead_letters_waiting{{{INGEST}}})", "waiting for the disk"),
                Query(f"sum(increase(lineside_ingest_retained_ignored_total{{{INGEST}}}[$__rate_interval]))",
                      "retained, ignored"),
                Query(f"sum(increase(lineside_ingest_machines_claimed_total{{{INGEST}}}[$__rate_interval]))",
                      "from another gateway"),
                Query(f"sum by (reason) (increase(lineside_ingest_messages_refused_total{{{INGEST}}}[$__rate_interval]))",
                      "metadata, {{reason}}"),
            )),
            Panel("Events of stores", (Query(
                f"sum by (store, event) (increase(lineside_store_events_total{{{INGEST}}}[$__rate_interval]))",
                "{{store}} {{event}}"),)),
        )),
        ("Process", (
            Panel("Processors", (Query(
                f"rate(process_cpu_seconds_total{{{INGEST}}}[$__rate_interval])", "{{ingest}}"),)),
            Panel("Memory", (Query(f"process_resident_memory_bytes{{{INGEST}}}", "{{ingest}}"),), "bytes"),
            Panel("Metadata and confirmations", (
                Query(f"sum(increase(lineside_ingest_records_waited_for_metadata_total{{{INGEST}}}[$__rate_interval]))",
                      "waited for metadata"),
                Query(f"sum(increase(lineside_ingest_confirmations_denied_total{{{INGEST}}}[$__rate_interval]))",
                      "confirmations denied"),
            )),
        )),
    ),
)  # fmt: skip

PLACE = 'line=~"$line", machine=~"$machine"'
READINGS = '{__name__!~"(quality|lineside)_.*", ' + PLACE + "}"

PLANT_VICTORIA_METRICS = Dashboard(
    "plant-victoriametrics", "Lineside: plant (VictoriaMetrics)", "Readings of machines as ingest stores them in "
    "VictoriaMetrics. A series is <template>_<point>; machine, line, area, site and unit are labels.", "prometheus",
    (
        Variable("line", "label_values({machine!=''}, line)", "Line"),
        Variable("machine", "label_values({line=~'$line', machine!=''}, machine)", "Machine", many=False),
        Variable("unit", 'label_values({machine="$machine"}, unit)', "Unit"),
    ),
    (
        ("Now", (
            stat("Points with a reading in 5 min", f"count(count by (__name__) (last_over_time({READINGS}[5m])))"),
            stat("Bad readings in an hour",
                 f'sum(count_over_time(quality_level{{quality="bad", {PLACE}}}[1h])) or vector(0)', more=ZERO_IS_GOOD),
            stat("Since the newest reading", f"time() - max(tlast_over_time({READINGS}[1h]))", "s",
                 more=thresholds((None, GOOD), (60, WARN), (600, BAD))),
        )),
        ("Readings", (
            Panel("Readings by unit", (Query(
                f'avg_over_time({{__name__!~"(quality|lineside)_.*", unit=~"$unit", {PLACE}}}[$__interval]) keep_metric_names',
                "{{__name__}} ({{unit}})"),),
                width=24, height=12, about="Mean of each interval."),
            Panel("States and counts", (Query(
                f'last_over_time({{__name__!~"(quality|lineside)_.*", unit="", {PLACE}}}[$__interval]) keep_metric_names',
                "{{__name__}}"),),
                width=24, about="Points without a unit."),
            table("Last readings", [Query(f"last_over_time({READINGS}[1h]) keep_metric_names", now=True)],
                  {"__name__": "point"}, ("enterprise", "site", "area"), 12),
            table("Bad and uncertain readings in an hour", [Query(
                f'sum by (machine, point, quality, reason) (count_over_time(quality_level{{quality!="good", {PLACE}}}[1h]))',
                now=True)], {"Value": "readings"}, (), 12),
        )),
        ("Rates", (
            Panel("Readings a minute of each machine", (Query(
                'sum by (machine) (count_over_time({__name__!~"(quality|lineside)_.*", line=~"$line"}[1m]))', "{{machine}}"),), width=12),
            Panel("Bad readings a minute by reason", (Query(
                'sum by (reason) (count_over_time(quality_level{quality="bad", line=~"$line"}[1m]))', "{{reason}}"),),
                width=12),
        )),
    ),
)  # fmt: skip

_WHERE = '"machine" =~ /^$machine$/ AND "line" =~ /^$line$/ AND $timeFilter'

PLANT_INFLUXDB = Dashboard(
    "plant-influxdb", "Lineside: plant (InfluxDB)", "Readings of machines as ingest stores them in InfluxDB 1, 2 or 3, by "
    "InfluxQL: a measurement is a template, a field is a point; machine, line, area, site and unit are tags.", "influxdb",
    (
        Variable("template", "SHOW MEASUREMENTS", "Template", many=False),
        Variable("line", 'SHOW TAG VALUES FROM "$template" WITH KEY = "line"', "Line"),
        Variable("machine", 'SHOW TAG VALUES FROM "$template" WITH KEY = "machine"', "Machine"),
        Variable("point", 'SHOW FIELD KEYS FROM "$template"', "Point", many=False),
    ),
    (
        ("Readings", (
            Panel("$point", (Query(
                f'SELECT mean("$point") FROM "$template" WHERE {_WHERE} GROUP BY time($__interval), "machine", "unit" fill(none)',
                "$tag_machine ($tag_unit)"),), width=24, height=10, about="Mean of each interval; of a number."),
            Panel("$point, lowest and highest", (
                Query(f'SELECT min("$point") FROM "$template" WHERE {_WHERE} GROUP BY time($__interval), "machine" fill(none)',
                      "$tag_machine lowest"),
                Query(f'SELECT max("$point") FROM "$template" WHERE {_WHERE} GROUP BY time($__interval), "machine" fill(none)',
                      "$tag_machine highest"),
            ), width=12),
            Panel("$point, readings", (Query(
                f'SELECT count("$point") FROM "$template" WHERE {_WHERE} GROUP BY time($__interval), "machine" fill(0)',
                "$tag_machine"),), width=12),
            Panel("Last readings of $point", (Query(
                f'SELECT last("$point") FROM "$template" WHERE {_WHERE} GROUP BY "line", "machine", "unit"', now=True),),
                kind="table", width=12),
            Panel("Bad and uncertain readings", (Query(
                f'SELECT "quality", "reason", "code", "point", "machine" FROM "quality" WHERE "level" > 0 AND {_WHERE} '
                "ORDER BY time DESC LIMIT 100", now=True),), kind="table", width=12),
        )),
        ("Quality", (
            Panel("Readings that are not good, by machine", (Query(
                f'SELECT count("level") FROM "quality" WHERE "level" > 0 AND {_WHERE} GROUP BY time($__interval), "machine" fill(0)',
                "$tag_machine"),), width=12),
            Panel("Readings that are not good, by point", (Query(
                f'SELECT count("level") FROM "quality" WHERE "level" > 0 AND {_WHERE} GROUP BY time($__interval), "point" fill(0)',
                "$tag_point"),), width=12),
        )),
    ),
)  # fmt: skip

DASHBOARDS = (FLEET, GATEWAYS, INGESTS, PLANT_VICTORIA_METRICS, PLANT_INFLUXDB)


# -- to JSON --


def as_json(dashboard: Dashboard) -> Json:
    """Return a dashboard as Grafana reads it (schema version 39, Grafana 10 and later)."""
    panels: list[Json] = []
    y = 0
    for title, row in dashboard.rows:
        panels.append(
            {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": grid(0, y, WIDTH, 1)}
        )
        y += 1
        x = highest = 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y, highest = 0, y + highest, 0
            panels.append(panel_json(dashboard, panel) | {"gridPos": grid(x, y, panel.width, panel.height)})
            x, highest = x + panel.width, max(highest, panel.height)
        y += highest
    return {
        "uid": f"lineside-{dashboard.file}",
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["lineside"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "links": [{"type": "dashboards", "tags": ["lineside"], "title": "Lineside", "asDropdown": True, "includeVars": False,
                   "keepTime": True}],
        "templating": {"list": list(variables(dashboard))},
        "annotations": {"list": []},
        "panels": [panel | {"id": number} for number, panel in enumerate(panels, 1)],
    }  # fmt: skip


def grid(x: int, y: int, width: int, height: int) -> Json:
    """Return the place of a panel."""
    return {"x": x, "y": y, "w": width, "h": height}


def source(dashboard: Dashboard) -> Json:
    """Return the reference to the data source that the person chose."""
    return {"type": dashboard.source, "uid": "${datasource}"}


def variables(dashboard: Dashboard) -> Iterator[Json]:
    """Yield the data source, and the variables of a dashboard."""
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": dashboard.source, "hide": 0}
    for variable in dashboard.variables:
        asked: Any = variable.query
        if dashboard.source == "prometheus":
            asked = {"query": variable.query, "refId": "variable"}
        yield {
            "name": variable.name, "label": variable.label, "type": "query", "datasource": source(dashboard),
            "query": asked, "definition": variable.query, "refresh": 2, "sort": 1, "hide": 0,
            "multi": variable.many, "includeAll": variable.many, "allValue": ".*" if variable.many else None,
            "current": {"text": "All", "value": "$__all"} if variable.many else {},
        }  # fmt: skip


def panel_json(dashboard: Dashboard, panel: Panel) -> Json:
    """Return a panel without its place and number."""
    defaults: Json = {"unit": panel.unit} if panel.kind != "table" else {}
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    found: Json = {
        "type": panel.kind,
        "title": panel.title,
        "datasource": source(dashboard),
        "targets": [target(dashboard, panel, query, number) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    if panel.kind == "stat":
        found["options"] = {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "background",
            "graphMode": "none",
        }
    if panel.kind == "timeseries":
        found["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.kind == "heatmap":
        found["options"] = {"calculate": False, "yAxis": {"unit": panel.unit}, "color": {"scheme": "Oranges"}}
    if panel.about:
        found["description"] = panel.about
    return merged(found, panel.more)


def target(dashboard: Dashboard, panel: Panel, query: Query, number: int) -> Json:
    """Return one query of a panel."""
    found: Json = {"refId": chr(ord("A") + number), "datasource": source(dashboard)}
    if dashboard.source == "influxdb":
        shape = "table" if panel.kind == "table" else "time_series"
        return found | {"query": query.expression, "rawQuery": True, "resultFormat": shape, "alias": query.legend}
    shape = "table" if panel.kind == "table" else "heatmap" if panel.kind == "heatmap" else "time_series"
    return found | {
        "expr": query.expression, "legendFormat": query.legend or "__auto", "instant": query.now,
        "range": not query.now, "format": shape,
    }  # fmt: skip


def merged(one: Json, other: Json) -> Json:
    """Return two JSON objects as one; where both have an object, it is merged as well."""
    found = dict(one)
    for key, value in other.items():
        both = isinstance(found.get(key), dict) and isinstance(value, dict)
        found[key] = merged(found[key], value) if both else value
    return found


def texts() -> Iterator[tuple[Path, str]]:
    """Yield each file with its text."""
    for dashboard in DASHBOARDS:
        yield FOLDER / f"{dashboard.file}.json", json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    differs = [file for file, text in texts() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if check:
        for file in differs:
            print(f"{file}: differs; run tools/dashboards.py", file=sys.stderr)
        return 1 if differs else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, text in texts():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
