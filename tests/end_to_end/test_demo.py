"""The main job, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
from pathlib import Path

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


async def test_demo_stops_in_order_on_ctrl_c_and_prints_its_report(tmp_path: Path):
    """A user who watches the live table ends it with Ctrl-C, and then wants to know how it went."""
    demo = Demo(tmp_path, "--data", str(tmp_path / "data"))
    demo.launch()
    await until(lambda: list((tmp_path / "data").glob("ingest.alive")), "ingest runs", 60)
    await asyncio.to_thread(until_stored, tmp_path / "data" / "readings.db")
    demo.signal(signal.SIGINT)
    await demo.ended(30)
    output = demo.log.read_text()
    assert re.search(r"acquired \d+ = unchanged \d+ \+ dropped 0 \+ pending \d+ \+ confirmed \d+ +balanced", output)
    assert "Traceback" not in output
    assert not list((tmp_path / "data").rglob("*.alive")), "a service was not stopped in order"


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


async def test_two_demos_begin_in_the_same_second(tmp_path: Path):
    """With a folder each they both work; the second in one folder says at once that there is a first."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    shared = str(tmp_path / "data")
    files = [folder / "report.json" for folder in folders]
    first = Demo(folders[0], "--for", "10s", "--data", shared, "--report", str(files[0]))
    first.launch()
    await until((tmp_path / "data" / "trial.lock").exists, "the first has begun", 60)
    second = Demo(folders[1], "--for", "2s", "--data", shared)
    third = Demo(folders[2], "--for", "10s", "--report", str(files[2]))
    second.launch()
    third.launch()
    assert await second.ended(30) == 1
    assert f"{shared} is in use by another demo: stop it, or choose another folder" in second.log.read_text()
    for demo, file in ((first, files[0]), (third, files[2])):
        assert await demo.ended(120) in {0, 1}, (
            demo.last_words()
        )  # 1 if a slow machine did not read all points in time
        report = json.loads(file.read_text())
        assert report["balanced"]
        assert report["stored_as_counted"]
        assert report["stored_readings"] > 0


def test_folders_of_demos_that_begin_in_one_second_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each has a store of its own."""
    from gateway.cli import demo

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.time, "strftime", lambda _: "demo-20261201-120000")
    names = [demo._new_folder().name for _ in range(3)]  # noqa: SLF001 - the command itself takes seconds
    assert names == ["demo-20261201-120000", "demo-20261201-120000_2", "demo-20261201-120000_3"]


async def test_folder_of_an_earlier_demo_can_be_used_again(tmp_path: Path):
    """The store and the ledgers go on; the files of the earlier processes are replaced, and not waited for."""
    counts = []
    for _ in range(2):
        file = tmp_path / "report.json"
        demo = Demo(tmp_path, "--for", "2s", "--report", str(file), "--data", str(tmp_path / "data"))
        demo.launch()
        assert await demo.ended(120) in {0, 1}, logs(demo, tmp_path / "data")  # 1 as above
        report = json.loads(file.read_text())
        ledger = report["ledger"]
        assert ledger["confirmed"] <= report["stored_readings"] <= ledger["confirmed"] + ledger["pending"]
        assert report["stored_as_counted"]
        counts.append(report["stored_readings"])
    assert counts[1] > counts[0] > 0


def until_stored(database: Path) -> None:
    """Wait until the store has a reading."""
    import sqlite3
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if database.exists():
            db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
            try:
                if db.execute("select count(*) from samples").fetchone()[0]:
                    return
            except sqlite3.OperationalError:
                pass
            finally:
                db.close()
        time.sleep(0.05)
    raise AssertionError("nothing stored")


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
