"""The view of a line, in a browser, over a real broker with messages made by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from accessibility import severe_findings
from hand_made_plant import SITE, STATES, HandMadePlant, now

from gateway.model.reading import NamedScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PATIENCE = 30_000
"""Milliseconds."""

SECOND = 1_000_000
MINUTE = 60 * SECOND
LINE = f"{SITE}/assembly/line-1"
NAMES = ["former-01", "foamer-01", "tester-01"]
POINTS: dict[str, dict[str, Any]] = {
    "state": {"type": "int", "labels": STATES},
    "good_count": {"type": "int"},
    "reject_count": {"type": "int"},
    "cycle_time_last": {"type": "float", "unit": "s"},
}
IDLE, SUSPENDED, EXECUTE, HELD = 4, 5, 6, 11


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandMadePlant]:
    """A line of three machines: the second stopped, the first is blocked, the third is starved."""
    plant = HandMadePlant.start(tmp_path_factory.mktemp("hand-made"))
    begin = now() - 12 * MINUTE
    for number, name in enumerate(NAMES):
        path = f"{LINE}/{name}"
        plant.machine(path, POINTS, template=name)
        counts = [{"good_count": 10 * minute, "reject_count": minute // 4} for minute in range(12)]
        plant.scan(path, NamedScan(begin, {"state": EXECUTE, "cycle_time_last": 30.0 + number}))
        plant.scan(path, *(NamedScan(begin + minute * MINUTE, one) for minute, one in enumerate(counts)))
    for minutes, name, state in ((4, "foamer-01", HELD), (3, "tester-01", SUSPENDED), (2, "former-01", SUSPENDED)):
        plant.scan(f"{LINE}/{name}", NamedScan(now() - minutes * MINUTE, {"state": state}))
    yield plant
    plant.stop()


def opened(made: HandMadePlant, open_page: Callable[..., Page], path: str, **options: Any) -> Page:
    page = open_page(f"{made.url}/line/{path}", **{"viewport": {"width": 1440, "height": 900}, **options})
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    return page


def tile(path: str) -> str:
    return f".line-tile[data-path='{path}']"


def test_a_line_shows_its_machines_in_order_who_waits_for_whom_and_the_flow(
    made: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """The shift leader sees the machine that is the cause, and what it holds up."""
    page = opened(made, open_page, LINE)
    page.locator(f"{tile(f'{LINE}/tester-01')} .waits[data-kind=starved]").wait_for(timeout=PATIENCE)
    assert page.locator(".line-tile strong").all_inner_texts() == NAMES
    assert page.locator(f"{tile(f'{LINE}/former-01')} .waits").inner_text().split() == ["▸", "blocked"]
    assert page.locator(f"{tile(f'{LINE}/foamer-01')} .state").get_attribute("data-kind") == "held"
    assert page.locator(f"{tile(f'{LINE}/foamer-01')} .waits").is_hidden()
    page.wait_for_function("() => Number(document.querySelector('.passed-count').textContent) > 0", timeout=PATIENCE)
    assert "3 machines" in page.locator(".title").inner_text()
    figures = page.locator(".line-figures")
    figures.locator("dd", has_text="per hour").first.wait_for(timeout=PATIENCE)
    assert "Reject" in figures.inner_text()


def test_a_stop_names_who_waited_because_of_it_and_is_marked_in_the_timelines(
    made: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """The cause of each wait, on one time axis with a common cursor."""
    page = opened(made, open_page, LINE)
    stop = page.locator(".stops li", has_text="foamer-01")
    stop.locator(".affected", has_text="former-01 blocked").wait_for(timeout=PATIENCE)
    assert re.search(r"tester-01 starved after 1\s?min", stop.inner_text())
    assert page.locator(".lane-mark[data-kind=held]").count() == 3
    stop.locator("button").click()
    page.wait_for_selector(".lanes-cursor:not([hidden])")
    assert page.locator(".lane-state[data-past=yes]").count() == 3
    assert page.locator(".lane", has_text="foamer-01").locator(".lane-state").inner_text().startswith("held")
    page.focus(".lanes-axis")
    page.keyboard.press("Home")
    states = page.locator(".line-lanes .lane-state").all_inner_texts()
    assert states == ["not known"] * 3, "the line was heard for 12 of 15 minutes"
    page.keyboard.press("Shift+ArrowRight")
    assert all(one.startswith("running") for one in page.locator(".line-lanes .lane-state").all_inner_texts())
    page.keyboard.press("Escape")
    assert page.locator(".lane-state[data-past=yes]").count() == 0


def test_the_time_is_chosen_and_the_address_reproduces_it(
    made: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """A link in a message shows what its sender saw."""
    page = opened(made, open_page, LINE)
    page.locator(".lane-strip").first.wait_for(timeout=PATIENCE)
    page.click("button:text-is('8 h')")
    page.wait_for_function("() => location.search === '?span=28800'")
    page.reload()
    page.locator("button[aria-pressed=true]:text-is('8 h')").wait_for(timeout=PATIENCE)
    page.locator(".lane-strip").first.wait_for(timeout=PATIENCE)
    ends = [int(page.get_attribute(".lanes-axis", f"aria-value{end}") or 0) for end in ("min", "max")]
    assert ends[1] - ends[0] == 8 * 3600


def test_a_line_of_one_machine_is_a_line(made: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """No neighbours: it waits, and nobody knows what for."""
    alone = f"{SITE}/assembly/alone"
    made.machine(f"{alone}/single-01", POINTS)
    made.scan(f"{alone}/single-01", NamedScan(now(), {"state": SUSPENDED}))
    page = opened(made, open_page, alone)
    page.locator(f"{tile(f'{alone}/single-01')} .waits[data-kind=waits]").wait_for(timeout=PATIENCE)
    assert page.locator(".stage[data-bottleneck=yes]").count() == 0
    assert page.locator(".passed").is_hidden()


def test_an_unknown_line_is_said_in_words_and_comes_when_it_is_heard(
    made: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """A link in an old mail must not show an empty page."""
    later = f"{SITE}/assembly/later"
    page = opened(made, open_page, later)
    page.locator(".empty", has_text=f"No line {later} is known").wait_for(timeout=PATIENCE)
    made.machine(f"{later}/m-01", POINTS)
    page.locator(".line-tile", has_text="m-01").wait_for(timeout=PATIENCE)
    assert page.locator(".empty:visible").count() == 0


def test_a_line_of_a_thousand_machines_is_paged(made: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """Forty machines at once: the page stays quick, and the figures of all are there."""
    long = f"{SITE}/assembly/long"
    for number in range(1000):
        made.machine(f"{long}/m-{number:04}", POINTS, template=f"type-{number}")
        made.scan(f"{long}/m-{number:04}", NamedScan(now(), {"state": EXECUTE, "good_count": 1}))
    page = opened(made, open_page, long)
    page.locator(".pager", has_text="1 to 40 of 1,000 machines").wait_for(timeout=PATIENCE)
    page.locator(".title", has_text="1,000 running").wait_for(timeout=PATIENCE)
    assert page.locator(".line-tile").count() == 40
    page.click("button:text-is('Next')")
    page.locator(".line-tile", has_text="m-0040").wait_for(timeout=PATIENCE)
    page.wait_for_function("() => document.querySelectorAll('.line-lanes > .lanes-rows > .lane').length === 40")
    assert page.locator(".line-tile").count() == 40
    assert page.url.endswith("?first=40")


@pytest.mark.parametrize(("theme", "size"), [("light", (1440, 900)), ("dark", (768, 1024))])
def test_the_view_of_a_line_has_no_barriers(
    made: HandMadePlant, open_page: Callable[..., Page], theme: str, size: tuple[int, int]
) -> None:
    """A screen reader reads the same; contrasts hold in both themes; nothing is cut on a tablet."""
    viewport = {"width": size[0], "height": size[1]}
    page = opened(made, open_page, LINE, color_scheme=theme, viewport=viewport)
    page.locator(".stops .affected", has_text="former-01 blocked").wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
