"""Measure the processor time of each test, with that of all processes that it starts.

    python benchmarks/cost_of_tests.py tests/end_to_end --most 20
    python benchmarks/cost_of_tests.py -n 6 --dist worksteal

A control group counts it, so forked services, browsers and servers are in it, with any parent, and other work on
the machine is not. Each worker of pytest-xdist has a group of its own. Servers that live as long as the session count for the
test that runs meanwhile. Needs root, and the controller `cpuacct` (version 1) or a writable hierarchy of version 2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

OUTPUT, GROUP = "LINESIDE_TEST_COSTS", "LINESIDE_TEST_GROUP"
"""The variables with the file that the test process appends its lines to, and with the folder of its control group."""

ROOT_V1, ROOT_V2 = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")


class Cost(NamedTuple):
    """The time of a test in seconds: processor time of all processes, of the test process alone, and wall time."""

    test: str
    all: float
    own: float
    wall: float


class Group:
    """A control group; the processes that enter it, and those that they start, are counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._usage = folder / ("cpuacct.usage" if folder.is_relative_to(ROOT_V1) else "cpu.stat")

    @classmethod
    def make(cls) -> Self:
        """Make a group."""
        folder = (ROOT_V1 if ROOT_V1.is_dir() else ROOT_V2) / f"lineside-test-costs-{os.getpid()}"
        folder.mkdir()
        return cls(folder)

    @classmethod
    def of_this_process(cls) -> Self | None:
        """Return the group of a process that runs tests; None in one that measures nothing."""
        if GROUP not in os.environ:
            return None
        folder = Path(os.environ[GROUP])
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        if worker is not None:
            folder /= worker
            folder.mkdir(exist_ok=True)
        return cls(folder)

    def __str__(self) -> str:
        return str(self._folder)

    def enter(self) -> None:
        """Count this process."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Remove the group, once the processes that end with the tests have ended; a group of others stays."""
        for _ in range(50):
            try:
                for folder in (*(one for one in self._folder.iterdir() if one.is_dir()), self._folder):
                    folder.rmdir()
            except OSError:
                time.sleep(0.1)
            else:
                break

    def used(self) -> float:
        """Return the processor time of the group so far, in seconds."""
        text = self._usage.read_text()
        if self._usage.name == "cpuacct.usage":
            return int(text) / 1e9
        return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6


_group = Group.of_this_process()


def pytest_configure() -> None:
    """Enter the control group in the process that runs the tests."""
    if _group is not None:
        _group.enter()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Write down the cost of a test, its fixtures included."""
    if _group is None:
        return (yield)
    used, own, began = _group.used(), time.process_time(), time.monotonic()
    result = yield
    line = Cost(item.nodeid, _group.used() - used, time.process_time() - own, time.monotonic() - began)
    with Path(os.environ[OUTPUT]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return result


def run(arguments: Iterable[str]) -> list[Cost]:
    """Run pytest in a process of its own; return the costs of its tests."""
    group = Group.make()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "costs"
        file.touch()
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {OUTPUT: str(file), GROUP: str(group), "PYTHONPATH": paths}
        command = [sys.executable, "-m", "pytest", "-p", Path(__file__).stem, *arguments]
        subprocess.run(command, env=environment, check=False)
        group.remove()
        return [Cost(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Print the sums of the files and the most expensive tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=30, help="lines of each table")
    options, arguments = parser.parse_known_args()
    costs = run(arguments)
    files: dict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        files[cost.test.partition("::")[0]].append(cost)
    sums = [Cost(name, *(sum(column) for column in list(zip(*of, strict=True))[1:])) for name, of in files.items()]
    whole = sum(cost.all for cost in costs)
    print(f"\n{len(costs)} tests: {whole:.1f} s of processor time\n")
    for title, rows in (("file", sums), ("test", costs)):
        print(f"{'all s':>8} {'own s':>8} {'wall s':>8}  {title}")
        for row in sorted(rows, key=lambda cost: -cost.all)[: options.most]:
            print(f"{row.all:8.2f} {row.own:8.2f} {row.wall:8.1f}  {row.test}")
        print()


if __name__ == "__main__":
    main()
