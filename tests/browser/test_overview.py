"""The overview and the shell of the page, in a browser."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from page_plant import PRESS_1, SITE, PlantWithPage, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""


def test_the_plant_appears_as_lines_of_machines_in_their_order(open_view: Open):
    """A person who opens the address sees the plant, with no further step."""
    page = open_view("/")
    page.wait_for_selector(".tile >> nth=2", timeout=PATIENCE)
    assert [name.inner_text() for name in page.locator(".tile strong").all()] == ["mixer-01", "press-01", "press-02"]
    assert [name.inner_text() for name in page.locator(".flow-name strong").all()] == ["mixing", "curing-1"]
    page.wait_for_selector(f".tile[data-path='{PRESS_1}'] .state[data-kind=producing]", timeout=PATIENCE)
    assert page.title() == "Overview · Lineside"


def test_a_machine_that_goes_is_shown_with_its_reason_within_five_seconds(plant: PlantWithPage, open_view: Open):
    """At 3 a.m. the shift leader sees what is wrong, where, and since when."""
    page = open_view("/overview")
    page.wait_for_selector(
        f".tile[data-path='{SITE}/mixing/mixing/mixer-01'] .state[data-kind=producing]", timeout=PATIENCE
    )
    plant.machines.signal(signal.SIGSTOP)
    try:
        # its alarms of bad quality may come first
        row = page.locator(".attention li", has_text=re.compile(r"offline: (no response|not connected)"))
        row.filter(has_text="press-01").wait_for(timeout=PATIENCE)
        assert page.locator(f".tile[data-path='{PRESS_1}'] .state[data-kind=offline]").count() == 1
        assert "press-01" in page.locator(".attention").inner_text()
    finally:
        plant.machines.signal(signal.SIGCONT)
    page.wait_for_selector(f".tile[data-path='{PRESS_1}'] .state[data-kind=producing]", timeout=PATIENCE)
    # machines hold by themselves now and then, and that is in the list too
    page.wait_for_function(
        "() => !/offline|no response/.test(document.querySelector('.attention').innerText)",
        timeout=PATIENCE,
    )


def test_the_page_says_that_the_broker_is_lost_and_recovers(plant: PlantWithPage, open_view: Open):
    """A value that is not updated any more must not look as if it were live."""
    page = open_view("/overview")
    page.wait_for_selector("html[data-broker=there]", timeout=PATIENCE)
    plant.broker.kill()
    try:
        page.locator(".banner", has_text="No connection to the broker").wait_for(timeout=PATIENCE)
    finally:
        plant.broker.up_and_wait()
    page.wait_for_function("() => !document.querySelector('.banner')", timeout=PATIENCE)


def test_a_page_finds_its_server_again_by_itself(plant: PlantWithPage, open_view: Open):
    """Nobody walks to a control-room screen to press a key after an upgrade."""
    page = open_view("/overview")
    page.wait_for_selector(".tile >> nth=2", timeout=PATIENCE)
    plant.page.kill()
    page.locator(".banner", has_text="The connection to the server is lost").wait_for(timeout=PATIENCE)
    assert page.evaluate("() => document.documentElement.dataset.server") == "lost"
    wait_for(plant.page.restart())
    page.wait_for_function("() => document.documentElement.dataset.server === 'there'", timeout=PATIENCE)
    page.wait_for_function("() => !document.querySelector('.banner')", timeout=PATIENCE)
    page.wait_for_selector(".tile >> nth=2", timeout=PATIENCE)


@pytest.mark.parametrize(("locale", "title"), [("de-DE", "Übersicht"), ("zh-CN", "总览"), ("fr-FR", "Overview")])
def test_the_page_speaks_the_language_of_the_browser(open_view: Open, locale: str, title: str):
    """A language without a catalogue gets English."""
    page = open_view("/overview", locale=locale)
    assert page.locator("h1").inner_text() == title


def test_the_theme_is_that_of_the_system_and_a_choice_stays(open_view: Open):
    """A dark control room must not be lit by a page."""
    page = open_view("/overview", color_scheme="dark")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Theme").click()
    page.reload()
    page.wait_for_selector("h1")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "light"
