"""The main job, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from processes import Process, until

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parent.parent.parent


class Demo(Process):
    """`lineside demo` without a terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__("lineside demo", folder / "demo.log")
        self._arguments = arguments

    def command(self) -> list[str]:
        return [sys.executable, "-m", "gateway", "demo", *self._arguments]


async def test_demo_reads_every_point_stores_it_and_balances(tmp_path: Path):
    """The promise of the first page: two plants, every point good, nothing unaccounted for."""
    file, data = tmp_path / "report.json", tmp_path / "data"
    demo = Demo(tmp_path, "--for", "12s", "--report", str(file), "--data", str(data))
    demo.launch()
    assert await demo.ended(90) == 0, logs(demo, data)
    report = json.loads(file.read_text())
    assert set(report) >= {"seconds", "ledger", "schedule", "points", "stored_readings", "latency_ms", "machines"}
    assert report["parts"]["made"] == report["parts"]["traced"] >= report["parts"]["serials"] > 0
    ledger, schedule, points = report["ledger"], report["schedule"], report["points"]
    dropped = sum(ledger["dropped"].values())
    assert ledger["acquired"] == ledger["unchanged"] + dropped + ledger["pending"] + ledger["confirmed"] > 0
    assert schedule["due"] == schedule["taken"] + schedule["missed"]
    assert points["configured"] == points["good"] + points["uncertain"] + points["bad"] >= 300
    assert report["never_good"] == []
    assert ledger["confirmed"] + ledger["pending"] >= report["stored_readings"] >= ledger["confirmed"] > 1000
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert len(report["machines"]) == 39
    assert {machine["state"] for machine in report["machines"].values()} == {"online"}
    assert (data / "readings.db").exists()
    assert f"data in {data}" in demo.log.read_text()


def logs(demo: Demo, data: Path) -> str:
    """Return the ends of the logs of the demo and each of its services."""
    return "\n".join([demo.last_words(), *(f"{log.name}\n{log.read_text()[-3000:]}" for log in data.glob("*.log"))])


@pytest.mark.parametrize("stage", ["trial.lock", "simulate-*.log", "*.simulated.yaml", "ingest-*.log", "run-*.log"])
async def test_ctrl_c_at_each_stage_of_the_start_leaves_no_process(tmp_path: Path, stage: str):
    """Nobody waits for a start to stop it. Each stage begins with a file."""
    data = tmp_path / "data"
    demo = Demo(tmp_path, "--for", "1s", "--data", str(data))
    demo.launch()
    await until(lambda: list(data.glob(stage)), f"{stage} is there", 60)
    demo.signal(signal.SIGINT)
    code = await demo.ended(40)
    output = demo.log.read_text()
    assert "Traceback" not in output, output
    assert code in {0, 1, 130}, output
    assert ("stopped before everything had started" in output) == (code == 130)
    await until(lambda: not processes_that_name(data), "all processes have ended", 15)


def processes_that_name(folder: Path) -> list[str]:
    """Return the command lines of the processes that were started with a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if any(word.startswith(str(folder).encode()) for word in words):
            found.append(b" ".join(words).decode())
    return found


async def test_a_demo_stops_in_order_and_its_folder_is_used_again_beside_another_demo(tmp_path: Path):
    """One story, since a demo takes seconds of processor time: Ctrl-C, and then two demos in the same second."""
    shared = tmp_path / "data"
    before = await stopped_on_ctrl_c(tmp_path, shared)
    assert before > 0
    reports = await begun_together(tmp_path, shared)
    assert reports[0]["stored_readings"] > before, "the store and the ledgers go on"
    for report in reports:
        ledger = report["ledger"]
        assert report["balanced"]
        assert report["stored_as_counted"]
        assert ledger["confirmed"] <= report["stored_readings"] <= ledger["confirmed"] + ledger["pending"]
        assert report["stored_readings"] > 0


async def stopped_on_ctrl_c(folder: Path, data: Path) -> int:
    """Stop a demo as a user who watched the live table, and return how many readings it has stored."""
    demo = Demo(folder, "--data", str(data))
    demo.launch()
    await until(lambda: list(data.glob("ingest.alive")), "ingest runs", 60)
    await until(lambda: stored(data / "readings.db"), "a reading is stored", 60)
    demo.signal(signal.SIGINT)
    await demo.ended(30)
    output = demo.log.read_text()
    assert re.search(r"acquired \d+ = unchanged \d+ \+ dropped 0 \+ pending \d+ \+ confirmed \d+ +balanced", output)
    assert "Traceback" not in output
    assert not list(data.rglob("*.alive")), "a service was not stopped in order"
    return stored(data / "readings.db")


async def begun_together(folder: Path, shared: Path) -> list[dict[str, Any]]:
    """Run two demos, each in a folder, and return their reports; a third in a folder of these says at once so."""
    folders = [folder / name for name in ("first", "second", "third")]
    for each in folders:
        each.mkdir()
    files = [each / "report.json" for each in folders]
    (shared / "trial.lock").unlink(missing_ok=True)  # of the earlier demo
    first = Demo(folders[0], "--for", "4s", "--data", str(shared), "--report", str(files[0]))
    first.launch()
    await until((shared / "trial.lock").exists, "the first has begun", 60)
    second = Demo(folders[1], "--for", "2s", "--data", str(shared))
    third = Demo(folders[2], "--for", "4s", "--report", str(files[2]))
    second.launch()
    third.launch()
    assert await second.ended(60) == 1
    assert f"{shared} is in use by another demo: stop it, or choose another folder" in second.log.read_text()
    # 1 if a slow machine did not read all points in time
    assert await first.ended(120) in {0, 1}, logs(first, shared)
    assert await third.ended(120) in {0, 1}, third.last_words()
    return [json.loads(files[i].read_text()) for i in (0, 2)]


def stored(database: Path) -> int:
    """Return how many readings a store has, 0 while there is none."""
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            count: int = db.execute("select count(*) from samples").fetchone()[0]
            return count
    except sqlite3.OperationalError:
        return 0


def test_folders_of_demos_that_begin_in_one_second_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each has a store of its own."""
    from gateway.cli import demo

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.time, "strftime", lambda _: "demo-20261201-120000")
    names = [demo._new_folder().name for _ in range(3)]  # noqa: SLF001 - the command itself takes seconds
    assert names == ["demo-20261201-120000", "demo-20261201-120000_2", "demo-20261201-120000_3"]


async def test_demo_refuses_a_time_without_a_unit(tmp_path: Path):
    """`--for 20` could be anything."""
    demo = Demo(tmp_path, "--for", "20")
    demo.launch()
    assert await demo.ended(20) == 2
    assert "write a number and us, ms, s, m, h or d" in demo.log.read_text()


async def test_the_built_distribution_carries_the_bundled_configurations(tmp_path: Path):
    """A user who installs the wheel has no checkout: templates and plants must be inside."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w"]
    process = await asyncio.create_subprocess_exec(*build, str(tmp_path), str(ROOT))
    assert await process.wait() == 0
    [wheel] = tmp_path.glob("lineside-*.whl")
    await asyncio.to_thread(shutil.unpack_archive, wheel, tmp_path / "installed", "zip")
    script = "from gateway.settings.templates import bundled_config as b; print(b(), len(list(b().glob('*.yaml'))))"
    python = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); {script}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await python.communicate()
    folder, count = output.decode().split()
    assert folder == str(tmp_path / "installed" / "gateway" / "bundled")
    assert count == "2"
