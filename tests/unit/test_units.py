"""The units of systemd: hardened, complete, and about files that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from processes import need

from gateway.cli import COMMANDS
from gateway.cli.common import STOP_SECONDS

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))

WORST_EXPOSURE = 2.0
"""systemd-analyze calls up to 2.0 "OK"."""


def value(unit: Path, key: str) -> str:
    """Return the value of a key that a unit has once."""
    (found,) = re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    return found


def test_there_is_a_unit_for_each_service():
    services = ("dashboard", "gateway", "ingest")
    assert [unit.name for unit in UNITS] == [f"lineside-{service}@.service" for service in services]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_exposure_of_a_unit_is_low(unit: Path):
    """A gateway parses what machines and brokers send: a defect there must not be worth much."""
    line = [need("systemd-analyze"), "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= WORST_EXPOSURE, said


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_has_no_key_that_systemd_does_not_know(unit: Path):
    """systemd ignores such a key with a warning, and a service would be less protected than it looks."""
    ran = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", str(unit)], check=False, capture_output=True, text=True
    )
    others = [line for line in ran.stderr.splitlines() if "/opt/lineside/bin/lineside is not executable" not in line]
    assert others == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_writes_in_one_folder_and_is_bounded(unit: Path):
    """Code of an intruder must find no other place to stay in, and no resources of others."""
    assert value(unit, "ProtectSystem") == "strict"
    assert value(unit, "StateDirectory") == "lineside"
    assert value(unit, "UMask") == "0077"
    assert value(unit, "User") == "lineside"
    assert value(unit, "CapabilityBoundingSet") == ""
    text = unit.read_text(encoding="utf-8")
    others = "ReadWritePaths|BindPaths|CacheDirectory|LogsDirectory|ConfigurationDirectory|RuntimeDirectory"
    assert not re.search(rf"^({others})=", text, re.MULTILINE)
    assert re.fullmatch(r"\d+[MG]", value(unit, "MemoryMax"))
    assert (value(unit, "MemorySwapMax"), value(unit, "LimitCORE")) == ("0", "0")  # no secret in swap space or a dump
    for key in ("TasksMax", "LimitNOFILE"):
        assert int(value(unit, key)) > 0


USED = {
    "accept4", "bind", "clock_adjtime", "clone3", "connect", "epoll_pwait2", "eventfd2", "execve", "fallocate",
    "fcntl", "fdatasync", "fsync", "getrandom", "listen", "mmap", "mprotect", "openat", "pidfd_open", "prctl",
    "pwrite64", "recvfrom", "rename", "sched_getaffinity", "sendto", "setsockopt", "socketpair", "unlink", "wait4",
}  # fmt: skip
"""System calls of a gateway with workers, serial lines, TLS and `clock: require_sync`."""


def test_the_filter_of_the_gateway_permits_its_system_calls():
    """glibc asks with clock_adjtime whether the clock is synchronised, and the group of that call is denied."""
    said = subprocess.run(
        [need("systemd-analyze"), "syscall-filter"], check=True, capture_output=True, text=True
    ).stdout
    groups: dict[str, set[str]] = {}
    for line in said.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), set())
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.add(line.strip())

    def calls(name: str) -> set[str]:
        return set().union(*map(calls, groups[name])) if name.startswith("@") else {name}

    permitted: set[str] = set()
    unit = (FOLDER / "lineside-gateway@.service").read_text(encoding="utf-8")
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        named = set().union(*map(calls, line.removeprefix("~").split()))
        permitted = permitted - named if line.startswith("~") else permitted | named
    assert USED - permitted - calls("@default") == set()
    assert {"settimeofday", "reboot", "mount", "ptrace", "setuid"}.isdisjoint(permitted)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_commands_that_exist_and_never_gives_up(unit: Path):
    commands = re.findall(
        r"^Exec\w+=/opt/lineside/bin/lineside (?:--log json )?(\w+)", unit.read_text(), re.MULTILINE
    )
    assert commands
    assert set(commands) <= set(COMMANDS)
    assert value(unit, "Restart") == "always"
    assert value(unit, "StartLimitIntervalSec") == "0"
    assert float(value(unit, "TimeoutStopSec")) > STOP_SECONDS
