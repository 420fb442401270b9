"""Sparkline, strip and rangebar, in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from static_pages import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

DRAW = """async () => (await import("/tests/small_charts.js")).draw()"""

COLOURS = """async (id) => (await import("/tests/small_charts.js")).colours(id)"""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serve() as url:
        yield url


def test_small_charts_draw_and_describe_what_they_show(site: str, open_page: Callable[..., Page]) -> None:
    """Screen readers get the same facts as eyes do."""
    page = open_page(site)
    page.evaluate(DRAW)
    assert page.evaluate(COLOURS, "sparkline") > 4
    assert page.evaluate(COLOURS, "strip") > 4
    assert page.get_attribute("#sparkline", "aria-label").startswith("Pressure: ")
    assert page.get_attribute("#strip", "aria-label").startswith("State: Execute 43%, Held 15%")
    assert page.get_attribute("#doubt", "aria-valuetext") == "14 bar, uncertain, normal 15 to 17"
    assert page.get_attribute("#none", "aria-valuenow") is None
    assert page.locator("#alarm .rangebar-pointer-alarm").count() == 2
    assert page.locator("#good .rangebar-pointer-good").count() == 2


def test_small_charts_follow_a_change_of_theme(site: str, open_page: Callable[..., Page]) -> None:
    """A person switches between light and dark while a page is open."""
    page = open_page(site)
    page.evaluate(DRAW)
    picture = "() => document.querySelector('#sparkline').toDataURL()"
    before = page.evaluate(picture)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.wait_for_function("(before) => document.querySelector('#sparkline').toDataURL() !== before", arg=before)
