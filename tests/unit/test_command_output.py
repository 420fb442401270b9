"""The documents that commands print with `--format json` have the keys of docs/commands.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import LISTED, Found, lineside, named
from fakes.certificates import make
from fakes.modbus_server import right, served
from processes import write_factory

from gateway.common.heartbeat import STALE
from gateway.settings.sections import SpoolSection
from gateway.settings.templates import bundled_config
from gateway.spool.spool import Spool

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")
PLANT = str(bundled_config() / "tire-plant.yaml")

OTHERWISE = {
    "completion", "dashboard", "export-points", "import", "ingest", "init", "run", "schema", "spool export", "update",
}  # fmt: skip
"""Commands that print a script, CSV, JSON in any case, the names of files, or a log."""


def documented(row: str) -> set[str]:
    """Return the keys of a row of the tables of machine-readable output."""
    [cells] = re.findall(rf"^\| `{re.escape(row)}`[^|]* \| (.*) \|$", PAGE, re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", cells)))


def printed(*arguments: str, code: int = 0) -> Any:
    """Run a command, and return the document that it prints."""
    result = lineside(*arguments, "--format", "json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("one", [one for one in LISTED if one.name not in OTHERWISE], ids=named)
def test_every_command_with_a_result_prints_it_for_programs(one: Found) -> None:
    """A script need not take a text apart, which changes with the next version."""
    [option] = [option for option in one.options() if "--format" in option.opts]
    assert {"text", "json"} <= set(getattr(option.type, "choices", ()))
    assert option.default == "text"


def test_plan() -> None:
    """The load of each connection, and the cost of each group."""
    found = printed("plan", PLANT)
    assert found.keys() == documented("lineside plan")
    assert found["kept"] is True
    for connection in found["connections"]:
        assert connection.keys() == documented("connections")
        for group in connection["groups"]:
            assert group.keys() == documented("groups")
    assert len(found["connections"]) > 5
    assert sum(len(group["points"]) for one in found["connections"] for group in one["groups"]) > 200


def test_probe() -> None:
    """The units, and the meanings of a register."""
    with served(right) as (port, _):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=1"
        fast = ("--units", "1", "--to", "10", "--per-second", "1000")
        found = printed("probe", url, *fast)
        meanings = printed("probe", url, "--register", "holding 10")
    assert found.keys() == documented("lineside probe")
    [unit] = found["units"]
    assert unit.keys() == documented("units")
    assert unit["tables"]["holding"]["ranges"] == [[0, 10]]
    assert meanings.keys() == documented("lineside probe --register")
    assert all(one.keys() == documented("meanings") for one in meanings["meanings"])
    assert {"raw": "uint16", "order": "ABCD", "value": 10, "plausible": True} in meanings["meanings"]


def test_certs(tmp_path: Path) -> None:
    """The certificates of a folder, and one that is moved."""
    server = make("server")
    (tmp_path / "rejected").mkdir()
    (tmp_path / "rejected" / "server.der").write_bytes(server.der)
    (tmp_path / "rejected" / "bad.der").write_bytes(b"nothing")
    found = printed("certs", "list", str(tmp_path))
    assert found.keys() == documented("lineside certs list")
    [folder] = found["folders"]
    assert folder.keys() == documented("folders")
    assert folder["unreadable"] == [str(tmp_path / "rejected" / "bad.der")]
    [certificate] = folder["certificates"]
    shown = printed("certs", "show", str(tmp_path), certificate["thumbprint"][:8])
    assert shown == {"certificates": [certificate | {"folder": str(tmp_path)}]}
    assert shown.keys() == documented("lineside certs show")
    trusted = printed("certs", "trust", str(tmp_path), certificate["fingerprint"])
    assert trusted == certificate | {"kind": "trusted"}
    assert trusted.keys() == documented("lineside certs trust")
    assert printed("certs", "reject", str(tmp_path), certificate["fingerprint"]) == certificate


@pytest.mark.parametrize("age", [0.0, STALE + 1])
def test_health(age: float, tmp_path: Path) -> None:
    """A container's health check asks for the folder, a person for the configuration."""
    import os
    import time

    folder = tmp_path / "data"
    folder.mkdir()
    config = factory(tmp_path, folder)
    assert printed("health", config, code=1) == {"alive": False, "services": []}
    (folder / "edge-01.alive").touch()
    os.utime(folder / "edge-01.alive", (time.time() - age,) * 2)
    alive = age < STALE
    for target in (config, str(folder)):
        found = printed("health", target, code=0 if alive else 1)
        assert found.keys() == documented("lineside health")
        [service] = found["services"]
        assert service.keys() == documented("services")
        assert (found["alive"], service["service"], service["alive"]) == (alive, "edge-01", alive)
        assert "edge-01: " in lineside("health", target).output
    missing = lineside("health", str(tmp_path / "none"))
    assert (missing.exit_code, missing.stderr) == (1, f"no service runs in {tmp_path / 'none'}\n")


def factory(folder: Path, data: Path) -> str:
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    return str(
        write_factory(
            folder / "factory.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(data), "max_size": "1MiB"}},
            broker={"url": "mqtt://127.0.0.1:1"},
            ingest={"folder": str(data)},
            lines={"line": {"area": "area", "machines": {"m-01": machine}}},
        )
    )


async def test_spool_and_ledger(tmp_path: Path) -> None:
    """A gateway that has never acquired a reading has both."""
    config = factory(tmp_path, tmp_path / "data")
    for gateway in ("edge-01", "edge-00"):
        async with Spool(SpoolSection(folder=tmp_path / "data", max_size=2**20), gateway):
            pass
    assert printed("spool", "status", config).keys() == documented("lineside spool status") - {"workers"}
    assert printed("ledger", config).keys() == documented("lineside ledger")
    adopted = printed("spool", "adopt", config, "--from", "edge-00")
    assert adopted.keys() == documented("lineside spool adopt")
    assert adopted["records"] == 0


def test_check(tmp_path: Path) -> None:
    """A machine that is not there is a finding."""
    found = printed("check", factory(tmp_path, tmp_path), "--timeout", "1s", code=1)
    of_trials = {"simulated", "ledger", "balanced", "schedule", "stored", "compared", "latency_ms"}
    assert found.keys() == documented("lineside check") - of_trials
    assert found["passed"] is False


def test_show_has_the_sections_and_the_machines() -> None:
    """It is the configuration with everything applied."""
    found = printed("show", PLANT, "--machine", "press-01")
    assert {"factory", "gateway", "broker", "machines"} <= found.keys()
    assert len(found["machines"]) == 1


def test_faults_of_simulated_machines() -> None:
    """The list needs no configuration."""
    found = printed("simulate", "--faults")
    assert found.keys() == documented("lineside simulate --faults")
    assert all(fault.keys() == documented("faults") for fault in found["faults"])
    text = lineside("simulate", "--faults").stdout
    assert all(fault["name"] in text for fault in found["faults"])
    without = lineside("simulate")
    assert (without.exit_code, "Missing argument 'CONFIG'" in without.stderr) == (2, True)


def test_reload_of_a_gateway_that_does_not_run_prints_no_document(tmp_path: Path) -> None:
    """Exit code 3 says that there is nobody to ask; the line is on standard error."""
    result = lineside("reload", factory(tmp_path, tmp_path), "--format", "json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no gateway edge-01 works in" in result.stderr
    wrong = lineside("reload", factory(tmp_path, tmp_path), "--wait", "soon")
    assert (wrong.exit_code, "'soon' is not a duration" in wrong.stderr) == (2, True)
