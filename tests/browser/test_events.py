"""The view of events in a browser: filtered, paused, walked through, saved."""

from __future__ import annotations

import csv
import signal
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from accessibility import severe_findings
from page_plant import PRESS_1, PlantWithPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""

ROWS = ".events-panel .virtual-body .virtual-row:not([hidden])"


@pytest.fixture(scope="module", autouse=True)
def outage(plant: PlantWithPage) -> Iterator[None]:
    """Machines that were offline once, so that the journal has something of every press."""
    plant.machines.signal(signal.SIGSTOP)
    yield
    plant.machines.signal(signal.SIGCONT)


@pytest.fixture
def events(open_view: Open) -> Callable[..., Page]:
    """A function that opens the view with a query, and waits for a row."""

    def opened(query: str = "", **options: object) -> Page:
        page = open_view(f"/events{query}", **options)
        page.locator(ROWS, has_text="press-01").filter(has_text="offline").first.wait_for(timeout=PATIENCE)
        return page

    return opened


def texts(page: Page) -> list[str]:
    """Return the texts of the rows, of one moment."""
    rows: list[str] = page.locator(ROWS).evaluate_all("(rows) => rows.map((row) => row.innerText)")
    return [" ".join(row.split()) for row in rows]


def test_a_link_reproduces_the_filter_and_the_page_keeps_it(events: Callable[..., Page]):
    """Somebody sends the address to a colleague."""
    page = events("?kind=machine&level=error&path=curing-1&text=offline")
    page.wait_for_function("() => document.querySelector('.summary').textContent.includes(' of ')", timeout=PATIENCE)
    assert texts(page)
    assert all("curing-1" in row and "offline" in row and "machine" in row for row in texts(page))
    page.get_by_role("button", name="Stores").click()
    page.get_by_label("Text").fill("nothing has this text")
    page.get_by_text("No event fits the filter.").wait_for(timeout=PATIENCE)
    assert page.url.endswith("/events?kind=machine%2Cstore&level=error&text=nothing+has+this+text&path=curing-1")
    assert "The journal begins at" in page.locator(".events-since").inner_text()


def test_a_pause_holds_new_events_back_and_counts_them(plant: PlantWithPage, events: Callable[..., Page]):
    """A list that moves can't be read."""
    page = events()
    page.locator("h1").click()
    page.keyboard.press("p")
    page.locator("[aria-pressed=true]", has_text="Go on").wait_for(timeout=PATIENCE)
    before = texts(page)
    plant.machines.signal(signal.SIGCONT)
    try:
        page.locator("button", has_text=" new)").wait_for(timeout=PATIENCE)
        assert texts(page)[:10] == before[:10]
        page.keyboard.press("p")
        page.locator(ROWS, has_text="online").first.wait_for(timeout=PATIENCE)
    finally:
        plant.machines.signal(signal.SIGSTOP)


def test_the_list_is_walked_through_by_keys_and_leads_to_the_machine(events: Callable[..., Page]):
    """In a control room there is no mouse on the desk."""
    page = events(f"?kind=machine&path={PRESS_1}&text=offline")
    page.locator(".virtual").focus()
    page.keyboard.press("End")
    page.keyboard.press("Home")
    current = page.locator(".virtual-row[aria-selected=true]")
    current.wait_for()
    assert page.locator(".virtual").get_attribute("aria-activedescendant") == current.get_attribute("id")
    page.locator(".event-detail", has_text=PRESS_1).wait_for(timeout=PATIENCE)
    assert page.locator(".event-detail a").get_attribute("href") == f"/machine/{PRESS_1}"


def test_shown_events_are_saved_as_a_table_that_runs_nothing(events: Callable[..., Page]):
    """A spreadsheet takes a text that begins with '=' for a formula."""
    page = events("?kind=machine&level=error")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    text = download.value.path().read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(StringIO(text)))
    assert {row["kind"] for row in rows} == {"machine"}
    assert PRESS_1 in {row["subject"] for row in rows}
    hostile = ["=1+1", "+a", "-a", "@a", "\ta", 'say "a", b', "plain"]
    found = page.evaluate("async (row) => (await import('/static/js/csv.js')).csv(['a'], [row, [-5]])", hostile)
    _, cells, figures = csv.reader(StringIO(found))
    assert cells == ["'=1+1", "'+a", "'-a", "'@a", "'\ta", 'say "a", b', "plain"]
    assert figures == ["-5"]


def test_of_many_events_only_the_visible_ones_are_in_the_document(events: Callable[..., Page]):
    """Five thousand rows would make every change slow."""
    page = events()
    page.evaluate("""async () => {
      const { VirtualList } = await import('/static/js/virtual.js');
      const { h } = await import('/static/js/dom.js');
      window.many = new VirtualList({ label: "many", columns: ["a"], make: () => [h("span")],
        update: (cells, item) => { cells[0].textContent = item; } });
      document.querySelector(".events-panel").replaceChildren(window.many.element);
      window.many.show(100000, (index) => `row ${index}`);
    }""")
    assert page.locator(".virtual-body .virtual-row").count() < 80
    page.locator(".virtual").focus()
    page.keyboard.press("End")
    page.get_by_text("row 99999", exact=True).wait_for(timeout=PATIENCE)
    assert page.locator(".virtual-body .virtual-row").count() < 160
    assert page.locator(".virtual").get_attribute("aria-rowcount") == "100001"
    # rows that come above keep the visible rows in their place
    page.evaluate("() => window.many.show(100010, (index) => `row ${index - 10}`, window.many.first + 10)")
    assert page.get_by_text("row 99999", exact=True).is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_the_view(events: Callable[..., Page], theme: str):
    """With a screen reader, without colours, in a dark room."""
    page = events(color_scheme=theme, viewport={"width": 1024, "height": 768})
    page.locator(ROWS).first.click()
    page.locator(".event-detail dd").first.wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
