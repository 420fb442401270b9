"""A browser for all tests, pages in it that notice each error, and a plant with its page."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from page_link import sign_in
from page_plant import PlantWithPage
from processes import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright


class Chromium:
    """Chromium without a window, started again after a crash, and the event loop of Playwright."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._started: Browser | None = None
        self.loop = asyncio.get_running_loop()

    def browser(self) -> Browser:
        """Return a browser that runs."""
        if self._started is None or not self._started.is_connected():
            self._started = self._playwright.chromium.launch(
                # the shell draws pages for a third of the processor time of the whole browser
                executable_path=shutil.which("chromium-headless-shell") or need("chromium"),
                args=["--no-sandbox", "--disable-dev-shm-usage", "--lang=en-US"],
            )
        return self._started

    def close(self) -> None:
        """End the browser."""
        if self._started is not None:
            self._started.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """Playwright and its browser; once for each worker."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = Chromium(playwright)
        _run_loop(None)
        yield started
        _run_loop(started.loop)
        started.close()


@pytest.fixture(scope="module")
def browser(chromium: Chromium) -> Iterator[Browser]:
    """The browser, for the tests of a module. Those of other modules have event loops of their own."""
    _run_loop(chromium.loop)
    yield chromium.browser()
    _run_loop(None)


def _run_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Say which event loop runs in this thread: Playwright leaves its own there between two calls."""
    asyncio._set_running_loop(loop)  # noqa: SLF001 - Playwright would have to be started for each module


OUTAGES = ("net::ERR_", "status of 409", "status of 503", "WebSocket connection to")
"""Parts of messages of the network, in the console when a test stops a server or a store, or has a change refused."""


def is_problem(message: ConsoleMessage) -> bool:
    return message.type in {"error", "warning"} and not any(one in message.text for one in OUTAGES)


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
        sign_in(context, url)
        page = context.new_page()
        page.on("console", lambda one: problems.append(one.text) if is_problem(one) else None)
        page.on("pageerror", lambda one: problems.append(str(one)))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> PlantWithPage:
    """A small plant with its page; once for each worker."""
    return PlantWithPage.start(tmp_path_factory.mktemp("plant"), "session")


@pytest.fixture
def open_view(plant: PlantWithPage, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """A function that opens a view of the plant's page, such as `/overview`, and waits until it is connected."""

    def open_(path: str, **options: object) -> Page:
        page = open_page(plant.url + path, **options)
        page.wait_for_selector("html[data-server=there] h1", timeout=60_000)
        return page

    return open_
