"""Each alert rule fires when it should, and only then: promtool evaluates them over series of numbers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from processes import need

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "lineside.rules.yml"
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}

GATEWAY = {"gateway": "edge-01", "instance": "box:9464", "job": "lineside-gateway"}
INGEST = {"ingest": "ingest", "instance": "server:9465", "job": "lineside-ingest"}
MACHINE = GATEWAY | {"area": "curing", "line": "curing-1", "machine": "press-01"}
FILE = {"enterprise": "acme", "site": "north", "configured_gateway": "edge-01"}

Series = dict[str, str]
"""Values each minute, in the notation of promtool, by series."""


def series(name: str, labels: Mapping[str, str], values: str, **more: str) -> Series:
    """Return one series."""
    listed = ", ".join(f'{key}="{value}"' for key, value in (labels | more).items())
    return {f"{name}{{{listed}}}": values}


class Case(NamedTuple):
    """Series for which an alert fires at a time with these labels, and series for which it does not."""

    alert: str
    fires: Series
    labels: Mapping[str, str]
    quiet: Series
    at: str = "40m"


def up(target: Mapping[str, str], value: str) -> Series:
    labels = {key: target[key] for key in ("instance", "job")}
    return series("up", labels, value)


def state(name: str, value: int) -> Series:
    return series("lineside_machine_state", MACHINE, f"{value}x60", state=name)


def without(labels: Mapping[str, str], *names: str) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key not in names}


CASES = [
    Case("LinesideGatewayDown", up(GATEWAY, "1x5 0x60"), without(GATEWAY, "gateway"), up(GATEWAY, "1x38 0x1")),
    Case(
        "LinesideGatewayRestarts",
        series("process_start_time_seconds", GATEWAY, "0+1x60"),
        GATEWAY,
        series("process_start_time_seconds", GATEWAY, "1x10 2x60")
        | series("process_start_time_seconds", GATEWAY, "0+1x60", worker="2"),  # which has an alert of its own
    ),
    Case(
        "LinesideWorkerDown",
        series("lineside_worker_up", GATEWAY, "1x5 0x60", worker="2"),
        GATEWAY | {"worker": "2"},
        series("lineside_worker_up", GATEWAY, "1x60", worker="2"),
    ),
    Case(
        "LinesideReadingsDropped",
        series("lineside_readings_dropped_total", GATEWAY, "0x35 100x30", reason="spool_full"),
        GATEWAY | {"reason": "spool_full"},
        series("lineside_readings_dropped_total", GATEWAY, "500x60", reason="spool_full")
        | series("lineside_readings_dropped_total", GATEWAY, "0+9x60", reason="adopted"),
    ),
    Case(
        "LinesideLedgerUnbalanced",
        series("lineside_ledger_unaccounted_readings", GATEWAY, "-1x60"),
        GATEWAY,
        series("lineside_ledger_unaccounted_readings", GATEWAY, "0x60"),
    ),
    Case(
        "LinesideSpoolNotWritable",
        series("lineside_spool_writable", GATEWAY, "0x60"),
        GATEWAY,
        series("lineside_spool_writable", GATEWAY, "1x60"),
    ),
    Case(
        "LinesideSpoolNearlyFull",
        series("lineside_spool_used_bytes", GATEWAY, "81x60")
        | series("lineside_spool_limit_bytes", GATEWAY, "100x60"),
        GATEWAY,
        series("lineside_spool_used_bytes", GATEWAY, "79x60")
        | series("lineside_spool_limit_bytes", GATEWAY, "100x60"),
    ),
    Case(
        "LinesideSpoolFullSoon",
        series("lineside_spool_used_bytes", GATEWAY, "0+10x90")
        | series("lineside_spool_limit_bytes", GATEWAY, "2000x90"),
        GATEWAY,
        series("lineside_spool_used_bytes", GATEWAY, "0+1x90")
        | series("lineside_spool_limit_bytes", GATEWAY, "2000x90"),
        at="60m",
    ),
    Case(
        "LinesideBacklogOld",
        series("lineside_spool_oldest_record_age_seconds", GATEWAY, "0+60x60"),
        GATEWAY,
        series("lineside_spool_oldest_record_age_seconds", GATEWAY, "290x60"),
    ),
    Case(
        "LinesideGatewayWithoutBroker",
        series("lineside_broker_connected", GATEWAY, "1 0x60"),
        GATEWAY,
        series("lineside_broker_connected", GATEWAY, "1x60"),
    ),
    Case(
        "LinesideRecordsRefused",
        series("lineside_records_refused_total", GATEWAY, "0+1x60"),
        GATEWAY,
        series("lineside_records_refused_total", GATEWAY, "7x60"),
    ),
    Case(
        "LinesideConfirmationsRefused",
        series("lineside_confirmations_refused_total", GATEWAY, "0+1x60", reason="wrong_proof"),
        GATEWAY,
        series("lineside_confirmations_refused_total", GATEWAY, "0x60", reason="wrong_proof")
        | series("lineside_confirmations_refused_total", GATEWAY, "0+1x60", reason="not_sent"),
    ),
    Case(
        "LinesideMachineOffline",
        state("offline", 1),
        MACHINE | {"state": "offline"},
        state("offline", 0) | state("degraded", 1),
    ),
    Case("LinesideMachineDegraded", state("degraded", 1), MACHINE | {"state": "degraded"}, state("degraded", 0)),
    Case(
        "LinesideManyMachinesOffline",
        series("lineside_machines", GATEWAY, "6x60", state="offline")
        | series("lineside_machines", GATEWAY, "4x60", state="online"),
        GATEWAY,
        series("lineside_machines", GATEWAY, "4x60", state="offline")
        | series("lineside_machines", GATEWAY, "6x60", state="online"),
    ),
    Case(
        "LinesideScansMissed",
        series("lineside_machine_scans_due_total", MACHINE, "0+60x60")
        | series("lineside_machine_scans_missed_total", MACHINE, "0+2x60")
        | state("online", 1),
        MACHINE,
        # a machine that is off misses all of its scans: that has an alert of its own
        series("lineside_machine_scans_due_total", MACHINE, "0+60x60")
        | series("lineside_machine_scans_missed_total", MACHINE, "0+60x60")
        | state("online", 0),
    ),
    Case(
        "LinesideDriverFaults",
        series("lineside_driver_faults_total", GATEWAY, "0x30 1x30"),
        GATEWAY,
        series("lineside_driver_faults_total", GATEWAY, "3x60"),
    ),
    Case(
        "LinesideClockNotTrusted",
        series("lineside_clock_trusted", GATEWAY, "0x60"),
        GATEWAY,
        series("lineside_clock_trusted", GATEWAY, "1x60"),
    ),
    Case(
        "LinesideClockNotSynchronised",
        series("lineside_clock_synchronised", GATEWAY, "0x60"),
        GATEWAY,
        series("lineside_clock_synchronised", GATEWAY, "1x60")
        | series("lineside_clock_maximum_error_seconds", GATEWAY, "0.5x60"),
    ),
    Case(
        "LinesideClockNotSynchronised",
        series("lineside_clock_maximum_error_seconds", INGEST, "6x60"),
        INGEST,
        series("lineside_clock_maximum_error_seconds", INGEST, "4x60"),
    ),
    Case(
        "LinesideProcessStalled",
        series("lineside_process_stalls_total", GATEWAY, "0+1x60"),
        GATEWAY,
        series("lineside_process_stalls_total", GATEWAY, "0x20 1x60"),
    ),
    Case(
        "LinesideAlarmsNotNotified",
        series("lineside_notify_alarms_lost_total", GATEWAY, "0x35 3x30", target="shift", reason="given_up"),
        GATEWAY | {"target": "shift", "reason": "given_up"},
        series("lineside_notify_alarms_lost_total", GATEWAY, "3x60", target="shift", reason="given_up"),
    ),
    Case(
        "LinesideAlarmsNotNotified",
        series("lineside_notify_alarms_lost_total", GATEWAY, "0x35 1x30", target="shift", reason="dropped"),
        GATEWAY | {"target": "shift", "reason": "dropped"},
        series("lineside_notify_alarms_lost_total", GATEWAY, "5x36 0x30", target="shift", reason="dropped"),
    ),
    Case(
        "LinesideNotificationFails",
        series("lineside_notify_alarms_waiting", GATEWAY, "2x60", target="shift")
        | series("lineside_notify_messages_total", GATEWAY, "0+1x60", target="shift", result="failed"),
        GATEWAY | {"target": "shift"},
        # alarms wait for a limit of messages; and another target has failed, and works again
        series("lineside_notify_alarms_waiting", GATEWAY, "2x60", target="shift")
        | series("lineside_notify_messages_total", GATEWAY, "0+1x60", target="shift", result="sent")
        | series("lineside_notify_alarms_waiting", GATEWAY, "1x36 0x30", target="manager")
        | series("lineside_notify_messages_total", GATEWAY, "0+1x36 36x30", target="manager", result="failed"),
    ),
    Case("LinesideIngestDown", up(INGEST, "0x60"), without(INGEST, "ingest"), up(INGEST, "1x60")),
    Case(
        "LinesideIngestWithoutBroker",
        series("lineside_ingest_broker_connected", INGEST, "0x60"),
        INGEST,
        series("lineside_ingest_broker_connected", INGEST, "1x60"),
    ),
    Case(
        "LinesideStoreUnavailable",
        series("lineside_store_available", INGEST, "0x60", store="influxdb"),
        INGEST | {"store": "influxdb"},
        series("lineside_store_available", INGEST, "1x60", store="influxdb"),
    ),
    Case(
        "LinesideStoreRefusesReadings",
        series("lineside_ingest_readings_not_stored_total", INGEST, "0+1x60", reason="refused"),
        INGEST | {"reason": "refused"},
        series("lineside_ingest_readings_not_stored_total", INGEST, "5x60", reason="refused"),
    ),
    Case(
        "LinesideOtherGateway",
        series("lineside_ingest_machines_claimed_total", INGEST, "0+1x60"),
        INGEST,
        series("lineside_ingest_machines_claimed_total", INGEST, "3x60"),
    ),
    Case(
        "LinesideBadSignature",
        series("lineside_ingest_readings_not_stored_total", INGEST, "0+1x60", reason="bad_signature"),
        INGEST | {"reason": "bad_signature"},
        series("lineside_ingest_readings_not_stored_total", INGEST, "5x60", reason="bad_signature"),
    ),
    Case(
        "LinesideBadSignature",
        series("lineside_ingest_messages_refused_total", INGEST, "0+1x60", reason="unsigned"),
        INGEST | {"reason": "unsigned"},
        series("lineside_ingest_messages_refused_total", INGEST, "0+1x60", reason="repeated"),
    ),
    Case(
        "LinesideDeadLettersGrow",
        series("lineside_ingest_dead_letters_total", INGEST, "0+1x60"),
        INGEST,
        series("lineside_ingest_dead_letters_total", INGEST, "9x60"),
    ),
    Case(
        "LinesideDeadLettersDropped",
        series("lineside_ingest_dead_letters_dropped_total", INGEST, "0+1x60"),
        INGEST,
        series("lineside_ingest_dead_letters_dropped_total", INGEST, "0x60"),
    ),
    Case(
        "LinesideIngestLate",
        series("lineside_ingest_lag_seconds_bucket", INGEST, "0+1x60", le="60.0")
        | series("lineside_ingest_lag_seconds_bucket", INGEST, "0+9x60", le="300.0")
        | series("lineside_ingest_lag_seconds_bucket", INGEST, "0+9x60", le="+Inf"),
        INGEST,
        series("lineside_ingest_lag_seconds_bucket", INGEST, "0+9x60", le="60.0")
        | series("lineside_ingest_lag_seconds_bucket", INGEST, "0+9x60", le="300.0")
        | series("lineside_ingest_lag_seconds_bucket", INGEST, "0+9x60", le="+Inf"),
    ),
    Case(
        "LinesideIngestIdle",
        series("lineside_ingest_last_write_timestamp_seconds", INGEST, "60x60"),
        INGEST,
        series("lineside_ingest_last_write_timestamp_seconds", INGEST, "0+60x60")
        | series("lineside_ingest_last_write_timestamp_seconds", INGEST | {"ingest": "new"}, "0x60"),
    ),
    Case(
        "LinesideConfigurationDiffers",
        series("lineside_configuration_info", GATEWAY | FILE, "1x60", digest="0123456789ab")
        | series("lineside_configuration_info", INGEST | FILE, "1x60", digest="ba9876543210"),
        FILE,
        series("lineside_configuration_info", GATEWAY | FILE, "1x60", digest="0123456789ab")
        | series("lineside_configuration_info", INGEST | FILE, "1x60", digest="0123456789ab")
        | series(
            "lineside_configuration_info", GATEWAY | FILE | {"configured_gateway": "edge-02"}, "1x60", digest="ba"
        ),
    ),
    Case(
        "LinesideSoftwareChanged",
        series("lineside_self_test_failed", GATEWAY, "1x60", check="software"),
        GATEWAY | {"check": "software"},
        series("lineside_self_test_failed", GATEWAY, "0x60", check="software")
        | series("lineside_self_test_failed", GATEWAY, "1x60", check="clock"),
    ),
    Case(
        "LinesideVersionsDiffer",
        series("lineside_build_info", GATEWAY, "1x1600", version="1.0.0")
        | series("lineside_build_info", INGEST, "1x1600", version="1.1.0"),
        {},
        series("lineside_build_info", GATEWAY, "1x1600", version="1.1.0")
        | series("lineside_build_info", INGEST, "1x1600", version="1.1.0"),
        at="1500m",
    ),
]


def rendered(text: str, labels: Mapping[str, str]) -> str:
    """Return an annotation as Prometheus writes it."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels.get(match[1], ""), text)


def promtool_test(case: Case, given: Series, alerts: list[dict[str, Any]], at: str) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": case.alert, "exp_alerts": alerts}],
    }


def rules_of(alert: str) -> dict[str, Any]:
    """Return the rules of one alert alone, in their groups: promtool evaluates each rule of a file each minute."""
    groups = [group | {"rules": [rule for rule in group["rules"] if rule["alert"] == alert]} for group in GROUPS]
    return {"groups": [group for group in groups if group["rules"]]}


def test_every_alert_has_a_case():
    """A rule that was never seen firing may never fire."""
    assert {case.alert for case in CASES} == set(ALERTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_for_its_condition_and_not_beside_it(tmp_path: Path, case: Case):
    """The first minute is before the condition has lasted long enough, so nothing fires there."""
    rule = ALERTS[case.alert]
    expected = {
        "exp_labels": dict(case.labels) | rule["labels"],
        "exp_annotations": {key: rendered(text, case.labels) for key, text in rule["annotations"].items()},
    }
    tests = [
        promtool_test(case, case.fires, [expected], case.at),
        promtool_test(case, case.quiet, [], case.at),
        *([promtool_test(case, case.fires, [], "0m")] if "for" in rule else []),
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules_of(case.alert)))
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(
        [need("promtool"), "test", "rules", str(file)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_the_example_are_right():
    """Prometheus refuses to start with one wrong line."""
    example = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    done = subprocess.run(
        [need("promtool"), "check", "config", str(example)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_every_alert_says_what_to_do():
    """A person who is called at night needs the next step."""
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert set(rule["annotations"]) == {"summary", "description"}, name
