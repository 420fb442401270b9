"""A browser for the tests of a module, and pages in it that notice each error."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    if EXECUTABLE is None:
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-dev-shm-usage", "--lang=en-US"]
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a URL; at the end of the test no page may have logged an error."""
    contexts, problems = [], []

    def open_(url: str, **options: object) -> Page:
        settings = {
            "viewport": {"width": 1000, "height": 640}, "locale": "en-GB", "timezone_id": "Europe/Berlin", **options,
        }  # fmt: skip
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda one: problems.append(one.text) if one.type in {"error", "warning"} else None)
        page.on("pageerror", lambda one: problems.append(str(one)))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not problems
