"""The view of configurations in a browser: points, plan, settings, mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accessibility import severe_findings

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_plant import PlantWithPage
    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""

ROWS = ".tab-panel .virtual-body .virtual-row:not([hidden])"


def test_points_are_found_by_words_and_shown_whole(plant: PlantWithPage, open_view: Open):
    """A maintainer asks which register the pressure of press 2 is in."""
    page = open_view("/configuration?search=press-02+bladder_pressure")
    page.locator(ROWS, has_text="bladder_pressure_left").wait_for(timeout=PATIENCE)
    assert all("press-02" in row.inner_text() for row in page.locator(ROWS).all())
    page.locator(".virtual").focus()
    page.keyboard.press("ArrowDown")
    detail = page.locator(".link-detail")
    detail.get_by_text("address: holding").wait_for(timeout=PATIENCE)
    assert "curing-press" in detail.inner_text()
    page.get_by_label("Search").fill("mixer-01")
    page.locator(ROWS, has_text="mixer-01").first.wait_for(timeout=PATIENCE)
    page.wait_for_url("**/configuration?tab=points&search=mixer-01", timeout=PATIENCE)
    assert str(plant.config) in page.locator(".fact-grid").first.inner_text()


def test_connections_show_their_plan_and_what_is_simulated(open_view: Open):
    """`lineside plan` without a shell."""
    page = open_view("/configuration?tab=connections")
    row = page.locator(ROWS, has_text="press-01")
    row.click()
    detail = page.locator(".link-detail")
    detail.get_by_text("curing-press with a model of its physics").wait_for(timeout=PATIENCE)
    detail.locator("summary").first.click()
    detail.locator("details[open] .requests li").first.wait_for(timeout=PATIENCE)
    assert "%" in row.inner_text()


def test_tabs_are_chosen_by_keys_and_sections_are_complete(open_view: Open):
    """The tabs follow the pattern that a screen reader announces."""
    page = open_view("/configuration")
    page.locator(ROWS).first.wait_for(timeout=PATIENCE)
    page.locator(".tab[aria-selected=true]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator("pre", has_text="id: edge-01").wait_for(timeout=PATIENCE)
    assert page.locator(".tab[aria-selected=true]").inner_text() == "Settings and files"
    page.locator("td", has_text="curing-press.yaml").wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []


def test_a_mistake_in_a_file_is_said_and_the_page_goes_on(plant: PlantWithPage, open_view: Open):
    """A person edits the file while the plant runs."""
    text = plant.config.read_text(encoding="utf-8")
    plant.config.write_text(text.replace("curing-press", "curing-pres"), encoding="utf-8")
    try:
        page = open_view("/configuration")
        page.locator(".errors", has_text="did you mean 'curing-press'").wait_for(timeout=PATIENCE)
        page.locator(ROWS, has_text="mixer-01").first.wait_for(timeout=PATIENCE)
        assert severe_findings(page) == []
    finally:
        plant.config.write_text(text, encoding="utf-8")
    page.reload()
    page.locator(ROWS).first.wait_for(timeout=PATIENCE)
    assert page.locator(".errors").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_the_view(open_view: Open, theme: str):
    """With a screen reader, without colours, in a dark room."""
    page = open_view("/configuration?tab=connections", color_scheme=theme)
    page.locator(ROWS).first.click()
    page.locator(".link-detail summary").first.wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
