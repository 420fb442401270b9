#!/usr/bin/env python3
"""Take the pictures of the page.

tools/screenshots.py [--out FOLDER] [--after SECONDS] [VIEW...]

It runs the demo, waits until its plants have some history, and photographs each view: light and dark, on a desktop
and on a tablet. It exits with 1 if a page wrote an error into the console of the browser. It needs Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Self

from PIL import Image
from playwright.async_api import async_playwright

from gateway.dashboard.security.link import links_in

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent

OUT = ROOT / "docs" / "pictures" / "page"

SITE = "doublestar/huangdao"
PRESS = f"{SITE}/curing/curing-1/press-01"

VIEWS = {
    "overview": "/overview",
    "line": f"/line/{SITE}/curing/curing-1",
    "machine": f"/machine/{PRESS}",
    "trends": f"/trends?point={PRESS}/bladder_pressure_left&point={PRESS}/mould_temperature_left&point={PRESS}/phase",
    "alarms": "/alarms",
    "production": "/production",
    "parts": "/parts",
    "delivery": "/delivery",
    "events": "/events",
    "configuration": "/configuration",
}
"""The address of each view, with something to see in the demo."""

DEVICES = {"desktop": (1440, 900), "tablet": (1024, 768)}

THEMES = ("light", "dark")

COLOURS = 128
"""Colours of a picture: few are enough for a calm page, and make small files."""

START_SECONDS = 120.0
"""Seconds in which the page of the demo has started."""

SETTLE = 4.0
"""Seconds until a view shows live values."""


class Demo:
    """A demo in a process of its own; `url` is the address of its page, and `link` signs in to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = self.link = ""

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "gateway", "demo", "--data", str(self._folder / "data")]
        self._process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        output = self._process.stdout
        assert output is not None
        async for line in output:
            if found := re.match(rb"page at (\S+)", line):
                self.url = found[1].decode()
                break
        async with asyncio.timeout(START_SECONDS):
            while not (links := links_in(self._folder / "data" / "spool")):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.5)
        self.link = links[0]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._process.terminate()
        await self._process.communicate()


async def photograph(demo: Demo, views: Sequence[str], out: Path) -> list[str]:
    """Write the pictures of views; return the complaints of the console."""
    complaints: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    browsers = map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))
    executable = next(filter(None, browsers), None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for device, (width, height) in DEVICES.items():
            for theme in THEMES:
                context = await browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=theme, locale="en-GB"
                )
                page = await context.new_page()
                page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
                page.on("pageerror", lambda error: complaints.append(str(error)))
                await page.goto(demo.link)
                for view in views:
                    await page.goto(demo.url.rstrip("/") + VIEWS[view])
                    await page.wait_for_selector("html[data-server=there] h1", timeout=60_000)
                    await asyncio.sleep(SETTLE)
                    save(await page.screenshot(), out / f"{view}-{device}-{theme}.png")
                await context.close()
        await browser.close()
    return complaints


def save(picture: bytes, file: Path) -> None:
    """Write a picture with few colours."""
    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            file, optimize=True
        )


async def main(options: argparse.Namespace) -> int:
    """Run the demo, take the pictures, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="lineside-screenshots-") as folder:
        async with Demo(Path(folder)) as demo:
            await asyncio.sleep(options.after)
            complaints = await photograph(demo, options.views or list(VIEWS), options.out)
    for complaint in dict.fromkeys(complaints):
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", nargs="*", metavar="VIEW", help=f"{', '.join(VIEWS)}; all of them by default")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    parser.add_argument("--after", type=float, default=240.0, help="seconds of the demo before the first picture")
    given = parser.parse_args()
    if unknown := sorted(set(given.views) - set(VIEWS)):
        parser.error(f"unknown: {', '.join(unknown)}")
    sys.exit(asyncio.run(main(given)))
