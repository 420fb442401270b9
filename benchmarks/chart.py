"""Measure the frames of a live chart with 50 points at 1 s in Chromium, for spans of a minute to an hour.

`script` is the time of the chart's own code in a frame, `longest` its longest, `drawn` the frames that had to be drawn: a
frame in which nothing moves by a pixel is not. `frames/s` is what the browser showed, with the rasterizer that it has (that of
a headless Chromium is the processor). `processor` is the time of all processes of the browser in a second.

    python benchmarks/chart.py [--points 50] [--seconds 10]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from static_pages import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    print(f"{'span':>7} {'points':>6} {'script':>9} {'longest':>9} {'drawn':>8} {'frames/s':>9} {'processor':>10}")
    with serve() as url, sync_playwright() as playwright:
        for span in (60, 300, 900, 3600):
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(url)
            page.evaluate("async () => { window.tests = await import('/tests/chart_page.js'); }")
            before = used()
            found = page.evaluate(f"() => tests.live({options.points}, {options.seconds}, {span})")
            processor = (used() - before) / options.seconds
            print(
                f"{span:>5} s {options.points:>6} {found['script']:6.2f} ms {found['longest']:6.2f} ms "
                f"{found['frames'] / options.seconds:6.1f}/s {found['perSecond']:9.1f} {processor * 100:8.0f} %"
            )
            browser.close()


def used() -> float:
    """Return the processor time of all processes that this one has started, in seconds."""
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
