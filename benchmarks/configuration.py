"""Measure the time to validate a factory of 1,000 machines with 100 points each, and to start its gateway."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINES, POINTS, ROUNDS = 1000, 100, 3

HEAD = """format: 1
factory: {enterprise: acme, site: one}
gateway: {id: edge-1, spool: {folder: FOLDER}}
broker: {url: "mqtt://localhost:1"}
lines:
  line:
    area: area
    machines:
"""


def template(address: str) -> str:
    points = [
        f'  value_{i:03d}: {{address: "holding {address.format(2 * i)}", raw: float32, unit: bar, range: [0, 30], '
        f"deadband: 1%, description: Value {i}}}"
        for i in range(POINTS)
    ]
    return "\n".join(["format: 1", "protocol: modbus", "parameters: {base: 0}", "points:", *points]) + "\n"


def write(folder: Path, address: str, machines: str) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "machine.yaml").write_text(template(address))
    file = folder / "factory.yaml"
    file.write_text(HEAD.replace("FOLDER", str(folder / "spool")) + machines)
    return file


def lines(_: int) -> str:
    return "".join(
        f'      m-{n:04d}: {{template: machine, connection: "modbus+tcp://10.0.{n // 250}.{n % 250 + 1}:502?unit=1"}}\n'
        for n in range(1, MACHINES + 1)
    )


def a_range(base: int) -> str:
    return (
        f'      m-{{0001..{MACHINES}}}: {{template: machine, parameters: {{base: "{{n%{base}*10}}"}}, '
        'connection: "modbus+tcp://10.0.{n//250}.{n%250+1}:502"}\n'
    )


def best(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest round."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "gateway", *arguments], check=True, stdout=subprocess.DEVNULL)


def until_started(file: Path) -> None:
    """Run the gateway until it logs that it has started; its drivers then connect to machines that do not exist."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "--log", "json", "run", str(file)], stderr=subprocess.PIPE, text=True
    ) as gateway:
        assert gateway.stderr is not None
        for line in gateway.stderr:
            if '"gateway.started"' in line:
                break
        else:
            raise RuntimeError("the gateway ended")
        gateway.kill()
        gateway.stderr.close()


def main() -> None:
    print(f"{MACHINES} machines x {POINTS} points, best of {ROUNDS}")
    ways = {
        "a line each, points shared": ("{}", lines(0)),
        "one range, points shared": ("{}", a_range(1)),
        "one range, 10 sets of registers": ("{{base+{}}}", a_range(10)),
        "one range, each its own registers": ("{{base+{}}}", a_range(MACHINES + 1)),
    }
    for name, (address, machines) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            file = write(Path(folder), address, machines)
            factory = load_factory(file)
            assert sum(len(machine.points) for machine in factory.machines) == MACHINES * POINTS
            loaded = best(lambda file=file: load_factory(file))
            validated = best(lambda file=file: command("validate", str(file)))
            started = best(lambda file=file: until_started(file))
            print(
                f"{name:<36} load {loaded:6.2f} s   lineside validate {validated:6.2f} s   run started {started:6.2f} s"
            )


if __name__ == "__main__":
    main()
