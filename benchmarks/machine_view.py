"""Measure the page: how soon a view is there, how late a value is on the screen, and what ten thousand points cost.

    python benchmarks/machine_view.py [--seconds 60] [--part first|latency|points]

Needs Chromium, mosquitto and the libraries of the tests. The first part opens the page of a simulated plant with gateway,
broker, ingest and store in a browser without a cache, and measures the time from the request to live values on the screen.
The second part notes in the browser, at the frame that shows a reading, how long ago it was acquired. The third part
publishes a machine with 10,000 points once a second, and opens it in one to four browsers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hand_made_plant import SITE, HandMadePlant, now
from page_link import sign_in
from page_plant import PRESS_1, PlantWithPage
from playwright.sync_api import sync_playwright

from gateway.model.reading import NamedScan

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

POINTS, VIEWERS, SECONDS = 10_000, (0, 1, 4), 10

OPENED = 7
"""Times that each view is opened."""

FIRST = {
    "overview": ("/overview", ".tile .state[data-kind=producing]"),
    "machine": (f"/machine/{PRESS_1}", ".points-body [data-kind=good]"),
    "delivery": ("/delivery", ".equation[data-balanced=yes]"),
}
"""The views whose first live content is waited for: path and selector."""

LATENCIES = """() => {
    const found = window.found = [], seen = new Map();
    const look = () => {
        for (const row of document.querySelectorAll(".points-body [data-time]")) {
            const before = seen.get(row.dataset.point), time = Number(row.dataset.time);
            if (before !== undefined && time > before) found.push(Date.now() - time / 1000);
            seen.set(row.dataset.point, time);
        }
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""

FRAMES = """(millis) => new Promise((done) => {
    const begin = performance.now();
    let frames = 0, last = begin, longest = 0;
    const step = (time) => {
        frames++;
        longest = Math.max(longest, time - last);
        last = time;
        if (time - begin > millis) done([frames / ((last - begin) / 1000), longest]);
        else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
})"""


def main() -> None:
    """Run both measurements, and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="to note latencies")
    parser.add_argument("--part", choices=("first", "latency", "points"), help="one of the measurements alone")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-headless-shell"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        if chosen.part in {None, "first"}:
            measure_first(browser, Path(folder))
        if chosen.part in {None, "latency"}:
            measure_latency(browser, Path(folder), chosen.seconds)
        if chosen.part in {None, "points"}:
            measure_points(browser, Path(folder))
        browser.close()


def measure_first(browser: Browser, folder: Path) -> None:
    """Print the time from the request of a view to its first live content, each in a new browser context."""
    (folder / "first").mkdir()
    plant = PlantWithPage.start(folder / "first")
    for name, (path, selector) in FIRST.items():
        found = []
        for _ in range(OPENED):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            sign_in(context, plant.url)
            page = context.new_page()
            began = time.monotonic()
            page.goto(f"{plant.url}{path}", wait_until="commit")
            page.wait_for_selector(selector, timeout=60_000)
            found.append((time.monotonic() - began) * 1000)
            context.close()
        print(f"load {os.getloadavg()[0]:.1f}: {name}: first content after {statistics.median(found):.0f} ms "
              f"(median of {OPENED}), longest {max(found):.0f} ms")  # fmt: skip
    for process in (plant.page, plant.ingest, plant.gateway, plant.machines, plant.broker):
        process.kill()


def measure_latency(browser: Browser, folder: Path, seconds: float) -> None:
    """Print how long after its acquisition a value is shown."""
    plant = PlantWithPage.start(folder)
    page = opened(browser, f"{plant.url}/machine/{PRESS_1}")
    page.fill(".points-tools input", "pressure")  # these change with each scan
    page.evaluate(LATENCIES)
    page.wait_for_timeout(seconds * 1000)
    found = sorted(page.evaluate("() => window.found"))
    cuts = statistics.quantiles(found, n=100)
    print(f"load {os.getloadavg()[0]:.1f}: {len(found)} values on the screen: "
          f"median {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms, longest {found[-1]:.0f} ms")  # fmt: skip
    for process in (plant.page, plant.ingest, plant.gateway, plant.machines, plant.broker):
        process.kill()


def measure_points(browser: Browser, folder: Path) -> None:
    """Print what a machine with 10,000 points at 10,000 values a second costs page and server."""
    plant = HandMadePlant.start(folder)
    path = f"{SITE}/curing/curing-1/huge-01"
    point = {"type": "float", "unit": "Cel", "range": [0, 300], "at_least_every": 1.0}
    names = [f"zone_{number:05}" for number in range(POINTS)]
    plant.machine(path, dict.fromkeys(names, point))
    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(plant, path, names, stop))
    feeder.start()
    pages: list[Page] = []
    try:
        for viewers in VIEWERS:
            while len(pages) < viewers:
                pages.append(opened(browser, f"{plant.url}/machine/{path}"))
            before, begin = used(plant.page.pid), time.monotonic()
            if pages:
                session = pages[0].context.new_cdp_session(pages[0])
                session.send("Performance.enable")
                tasks = task_seconds(session)
                frames, longest = pages[0].evaluate(FRAMES, SECONDS * 1000)
                busy = (task_seconds(session) - tasks) / SECONDS
                shown = f", page: {frames:.1f} frames/s, longest {longest:.0f} ms, {busy:.1%} of a processor"
            else:
                time.sleep(SECONDS)
                shown = ""
            share = (used(plant.page.pid) - before) / (time.monotonic() - begin)
            print(f"load {os.getloadavg()[0]:.1f}: {viewers} viewers: server {share:.1%} of a processor{shown}")
    finally:
        stop.set()
        feeder.join()
        plant.stop()
        plant.page.kill()
        plant.broker.kill()


def opened(browser: Browser, url: str) -> Page:
    """Return a page that shows the readings of a machine."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, url)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".points-body [data-kind=good]", timeout=60_000)
    return page


def feed(plant: HandMadePlant, path: str, names: list[str], stop: threading.Event) -> None:
    """Publish a value of each point every second."""
    turn = 0
    while not stop.wait(1.0):
        turn += 1
        values = {name: 150.0 + (at * 7 + turn * 13) % 100 / 10 for at, name in enumerate(names)}
        plant.scan(path, NamedScan(now(), values))


def used(pid: int) -> float:
    """Return the seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def task_seconds(session: Any) -> float:
    """Return the seconds of processor time of a page."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
