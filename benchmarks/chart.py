"""Measure the frames of a live chart with 50 points at 1 s in Chromium, for spans of a minute to an hour.

`frame` is the processor time of the page's thread for a frame that is drawn, with all that the browser does there, and `drawn` the
number of such frames in a second: a frame in which nothing moves by a pixel is not drawn. `shown` is the rate of the browser's
frames. `processor` is that of all processes of the browser; a headless Chromium rasterizes with it. Other work on the machine does
not change processor times much.

    python benchmarks/chart.py [--points 50] [--seconds 10]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from static_pages import serve

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    print(f"{'span':>7} {'points':>6} {'frame':>9} {'drawn':>8} {'shown':>8} {'processor':>10}")
    with serve() as url, sync_playwright() as playwright:
        for span in (60, 300, 900, 3600):
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(url)
            page.evaluate("async () => { window.tests = await import('/tests/chart_page.js'); }")
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.evaluate(f"() => tests.prepareLive({options.points}, {span})")
            before, tasks = used(), task_seconds(session)
            found = page.evaluate(f"() => tests.runLive({options.seconds})")
            processor = (used() - before) / options.seconds
            print(
                f"{span:>5} s {options.points:>6} {(task_seconds(session) - tasks) / found['frames'] * 1e3:6.2f} ms "
                f"{found['frames'] / options.seconds:6.1f}/s {found['perSecond']:6.1f}/s {processor * 100:8.0f} %"
            )
            browser.close()


def task_seconds(session: CDPSession) -> float:
    """Return the processor time of the page's thread, in seconds."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def used() -> float:
    """Return the processor time of all child processes, in seconds."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


if __name__ == "__main__":
    main()
