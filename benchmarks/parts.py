"""Measure the processor time that the history of parts adds to the gateway of a bundled plant.

Two gateways read the same simulated plant, one with the sections `part` of the templates and one without, in turns. The
difference is small, and within the noise of a machine that has other work. So the steps are measured alone, too: each
machine of the plant takes a scan of all its points in each simulated second, and saves its changed state.

With `--all` the other gateway has neither derived points, alarms, production nor parts, and the steps are not measured alone:

    python benchmarks/parts.py --all --for 60s
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from typing import TYPE_CHECKING

import yaml
from measure.experiments import workplace
from measure.lineside import ROOT, Lineside
from measure.processes import Mosquitto, Process, end_on_sigterm, processor_time

from drivers.base import Scan
from gateway.acquisition.groups import groups_of
from gateway.common.setting_types import parse_duration
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.parts import MachineParts
from gateway.settings.load import load_factory
from simulators.machines.plant import Plant
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

PLANTS = "tire-plant", "appliance-plant"

NAMES = "without", "with"

CALCULATED = "derive", "alarms", "production", "part"
"""The sections of a template with calculations."""

WARM_UP = 8.0
"""Seconds after the start that do not count."""


def simulate(folder: Path, plant: str) -> tuple[Process, Path]:
    """Serve the machines of a plant; returns the configuration that points to them."""
    moved = folder / "moved.yaml"
    simulator = Process(
        "lineside simulate",
        folder / "simulate.log",
        [
            sys.executable,
            "-m",
            "gateway",
            "simulate",
            str(ROOT / "config" / f"{plant}.yaml"),
            "--ports",
            "auto",
            "--write",
            str(moved),
        ],
        {"PYTHONPATH": str(ROOT)},
    ).start()
    simulator.wait_for(moved.exists, "its configuration")
    return simulator, moved


def write(folder: Path, moved: Path, broker: int, without: Collection[str]) -> Path:
    """Write the configuration of a gateway, without some sections of the templates and machines."""
    folder.mkdir()
    shutil.copytree(ROOT / "config" / "machines", folder / "machines")
    for file in (folder / "machines").glob("*.yaml"):
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
        kept = {key: value for key, value in written.items() if key not in without}
        file.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    sections = yaml.safe_load(moved.read_text(encoding="utf-8"))
    for line in sections["lines"].values():
        for machine in line["machines"].values():
            for key in without:
                machine.pop(key, None)
    sections["broker"] = {"url": f"mqtt://{LOOPBACK}:{broker}"}
    sections["gateway"] |= {"spool": {"folder": str(folder / "spool")}, "confirm": "broker"}
    sections.pop("stores", None)
    file = folder / "factory.yaml"
    file.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
    return file


def measured(folder: Path, file: Path, seconds: float) -> float:
    """Run a gateway; return its processor time in milliseconds a second."""
    gateway = Lineside().gateway(folder, file)
    try:
        time.sleep(WARM_UP)
        before, began = processor_time(gateway.pid), time.monotonic()
        time.sleep(seconds)
        return (processor_time(gateway.pid) - before) / (time.monotonic() - began) * 1e3
    finally:
        gateway.stop()


def steps_of(plant: str, seconds: int) -> float:
    """Return the processor time of the steps of parts alone, in milliseconds for a second of the whole plant."""
    factory = load_factory(ROOT / "config" / f"{plant}.yaml")
    simulated = Plant(factory, "1")
    followed = []
    for machine, outputs in simulated.machines:
        surroundings = Surroundings(lambda *_: lambda _: None, lambda: 0, lambda: simulated.clock, lambda: None)
        parts = MachineParts.of(machine, surroundings)
        for group, _ in groups_of(machine) if parts is not None else ():
            if (step := parts.step(group)) is not None:
                followed.append((parts, group, step, outputs))
    spent = 0.0
    for second in range(seconds):
        simulated.step(1.0)
        scans = []
        for parts, group, step, outputs in followed:
            values = outputs.values()
            scans.append((parts, step, Scan(group, second * 1_000_000, [values[name] for name in group.names])))
        began = time.process_time()
        for parts, step, scan in scans:
            step(scan)
            if parts.due <= simulated.clock:
                parts.tick(simulated.clock)
            if parts.changed:
                parts.save()
        spent += time.process_time() - began
    return spent / seconds * 1e3


def main() -> None:
    end_on_sigterm()
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--for", dest="seconds", type=parse_duration, default=30.0, help="the time of a turn")
    options.add_argument("--runs", type=int, default=3, help="turns with each")
    options.add_argument("--all", action="store_true", help="compare with a gateway that calculates nothing")
    given = options.parse_args()
    sections = CALCULATED if given.all else ("part",)
    for plant in () if given.all else PLANTS:
        print(f"{plant:<16} steps alone {steps_of(plant, 300):6.2f} ms/s")
    for plant in PLANTS if given.runs else ():
        with workplace() as (folder, processes):
            broker = processes.enter_context(Mosquitto(folder))
            simulator, moved = simulate(folder, plant)
            processes.callback(simulator.stop)
            left_out = {"with": (), "without": sections}
            files = {name: write(folder / name, moved, broker.port, left_out[name]) for name in NAMES}
            found: dict[str, list[float]] = {name: [] for name in NAMES}
            for _ in range(given.runs):
                for name, file in files.items():
                    found[name].append(measured(file.parent, file, given.seconds))
        without, with_them = (statistics.median(found[name]) for name in NAMES)
        print(f"{plant:<16} without {without:6.1f} ms/s, with {with_them:6.1f} ms/s: {with_them / without - 1:+.1%}")


if __name__ == "__main__":
    main()
