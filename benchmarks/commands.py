"""Start times of the command line: `--help`, `validate`, completion, and a service to its first stored reading.

    python benchmarks/commands.py [--runs 10]

Prints the median and the largest of several runs in seconds, beside the limit, and the median of the processor time,
which depends less on other work of the machine. Each run is a new process. The last row is the time from the start of `lineside run` and `lineside ingest`, with simulated machines and an embedded broker that
run already, to the first row in the store.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings.templates import bundled_config
from gateway.trial.configuration import tried
from gateway.trial.listening import listening
from gateway.trial.processes import Service
from gateway.trial.readings import is_made
from simulators.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

PLANT = bundled_config() / "tire-plant.yaml"
COMPLETE = {"_LINESIDE_COMPLETE": "bash_complete", "COMP_CWORD": "1", "COMP_WORDS": "lineside "}

ROWS = {
    "lineside --help": (["--help"], {}, 0.3),
    "lineside check --help": (["check", "--help"], {}, 0.8),
    "completion of a command": ([], COMPLETE, 0.3),
    "lineside validate, 20 machines": (["validate", str(PLANT)], {}, 0.8),
    "lineside plan, 20 machines": (["plan", str(PLANT)], {}, 0.8),
}
PROGRAM = "import sys; sys.argv[0] = 'lineside'; from gateway.cli import main; main()"


def once(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return the seconds that it took, and its processor time."""
    began, before = time.perf_counter(), os.times()
    command = [sys.executable, "-c", PROGRAM, *arguments]
    subprocess.run(command, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    processor = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - began, processor


async def there(look: Callable[[], bool]) -> None:
    """Look every 10 ms until there is something."""
    while not look():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)


async def first_reading(folder: Path) -> float:
    """Return the seconds from the start of gateway and ingest to the first stored row."""
    port, moved, store = free_port(), folder / "moved.yaml", folder / "readings.db"
    simulate = ("simulate", str(PLANT), "--ports", "auto", "--write", str(moved))
    async with (
        Service("broker", folder / "broker.log", "embedded-broker", "--port", str(port)),
        Service("simulate", folder / "simulate.log", *simulate),
    ):
        await there(moved.exists)
        await listening(port, time.monotonic() + 60)
        await asyncio.sleep(3)  # OPC UA servers load for seconds
        config = folder / "factory.yaml"
        config.write_text(tried(moved, folder, store, port))
        began = time.perf_counter()
        async with (
            Service("ingest", folder / "ingest.log", "ingest", str(config)),
            Service("run", folder / "run.log", "run", str(config)),
        ):
            await there(lambda: is_made(store))
            return time.perf_counter() - began


def show(name: str, seconds: list[float], limit: float, processor: list[float] | None = None) -> None:
    used = f"   processor {statistics.median(processor):5.2f} s" if processor else ""
    times = f"median {statistics.median(seconds):5.2f}   most {max(seconds):5.2f}   limit {limit:4.1f} s"
    print(f"{name:<34} {times}{used}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    for name, (arguments, environment, limit) in ROWS.items():
        once(arguments, environment)  # compiles modules that are not compiled yet
        seconds, processor = zip(*(once(arguments, environment) for _ in range(runs)), strict=True)
        show(name, list(seconds), limit, list(processor))
    starts = []
    for _ in range(max(1, runs // 3)):
        with tempfile.TemporaryDirectory() as folder:
            starts.append(asyncio.run(first_reading(Path(folder))))
    show("start to the first stored reading", starts, 3.0)


if __name__ == "__main__":
    main()
