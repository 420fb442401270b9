"""The view of the trends, with a small plant."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from accessibility import severe_findings
from page_plant import PRESS_1, PRESS_2, PlantWithPage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""


def trends(*points: str, **query: object) -> str:
    return f"/trends?{urlencode([('point', one) for one in points] + [*query.items()])}"


def wait_for_data(page: Page, series: int = 1) -> None:
    """Wait until the table of the chart has a value of each series."""
    page.wait_for_function(
        "(count) => [...document.querySelectorAll('.chart-table tbody tr')]"
        ".filter((row) => row.lastChild.textContent).length >= count",
        arg=series, timeout=PATIENCE,
    )  # fmt: skip


def query_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def length_of(query: dict[str, list[str]]) -> float:
    """Return the seconds that a chart shows."""
    if "range" in query:
        return float(query["range"][0])
    return (int(query["to"][0]) - int(query["from"][0])) / 1e6


def test_a_point_is_found_by_words_and_shown_with_its_history(open_view: Open):
    """With the keyboard alone: search, choose, read."""
    page = open_view("/trends")
    page.wait_for_selector(".trend-main .empty:not([hidden])")
    page.get_by_role("searchbox", name="Search points").fill("press-01 bladder pressure left")
    point = page.locator(".picker-point")
    point.first.wait_for(timeout=PATIENCE)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_data(page)
    assert query_of(page)["point"] == [f"{PRESS_1}/bladder_pressure_left"]
    row = page.locator(".series-table tbody tr")
    assert row.locator(".legend-name").inner_text() == "bladder_pressure_left"
    assert row.locator(".unit").inner_text() == "bar"
    page.wait_for_function("() => /^[0-9]/.test(document.querySelector('.legend-value').textContent)")


def test_a_link_reproduces_the_view(open_view: Open):
    """One shift sends its view to the next."""
    points = [f"{PRESS_1}/bladder_pressure_left", f"{PRESS_2}/bladder_pressure_left", f"{PRESS_1}/phase"]
    page = open_view(trends(*points, range=600))
    wait_for_data(page, 3)
    names = page.locator(".legend-name").all_inner_texts()
    assert names == ["press-01 · bladder_pressure_left", "press-02 · bladder_pressure_left", "press-01 · phase"]
    assert page.locator(".segments [aria-pressed=true]").count() == 0
    page.get_by_role("button", name="15 min").click()
    assert query_of(page) == {"point": points, "range": ["900"]}
    page.get_by_role("button", name="Live", exact=True).click()
    fixed = query_of(page)
    assert set(fixed) == {"point", "from", "to"}
    again = open_view(page.url.removeprefix(page.evaluate("() => location.origin")))
    wait_for_data(again, 3)
    assert query_of(again) == fixed
    assert again.locator(".legend-name").all_inner_texts() == names


def find(page: Page, words: str) -> Locator:
    """Search points, and return the first that is found."""
    page.get_by_role("searchbox", name="Search points").fill(words)
    point = page.locator(".picker-point").first
    point.wait_for(timeout=PATIENCE)
    page.wait_for_function(
        "(words) => document.querySelector('.picker-point')?.dataset.point.endsWith(words)",
        arg=words.rsplit(maxsplit=1)[-1], timeout=PATIENCE,
    )  # fmt: skip
    return point


def middle(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, point: Locator, target: tuple[float, float]) -> None:
    """Press the mouse on a point, move it to a place, and keep it pressed."""
    page.mouse.move(*middle(point))
    page.mouse.down()
    page.mouse.move(*target, steps=8)


CURVE = """(name) => {
  const canvas = document.querySelector(".chart-canvas");
  const colour = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const wanted = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Set();
  for (let at = 0; at < data.length; at += 4) {
    if (wanted.every((one, n) => data[at + n] === one)) columns.add((at / 4) % canvas.width);
  }
  return columns.size > 30;
}"""
"""Whether a chart has pixels of a colour in more than 30 columns: a line, and no text of an axis."""


def test_points_are_dragged_with_the_mouse_into_the_chart(open_view: Open):
    """Chart after chart of a machine is put together by hand: a point is seen where it was dropped."""
    page = open_view("/trends", viewport={"width": 1280, "height": 800})
    empty = page.locator(".trend-main .empty")
    assert "drag them here" in empty.inner_text()
    for number, name in enumerate(["bladder_pressure_left", "bladder_pressure_right"], 1):
        drag(page, find(page, f"press-01 {name}"), middle(page.locator(".trend-main")))
        ghost = page.locator(".drag-ghost")
        assert ghost.inner_text().endswith(name)
        assert page.locator(".trend-main.drop-here").count() == 1
        page.mouse.up()
        assert ghost.count() == 0
        wait_for_data(page, number)
        page.wait_for_function(CURVE, arg=f"--series-{number}", timeout=PATIENCE)
    points = [f"{PRESS_1}/bladder_pressure_{side}" for side in ("left", "right")]
    assert query_of(page)["point"] == points
    assert page.locator(".picker-point[aria-pressed=true]").count() == 1
    status = page.locator(".picker [role=status]")
    assert status.inner_text() == "press-01 · bladder_pressure_right is in the chart."


def test_a_drag_that_ends_elsewhere_or_with_escape_changes_nothing(open_view: Open):
    """A point that was dropped beside the chart is not chosen by the end of the movement either."""
    page = open_view(trends(f"{PRESS_1}/bladder_pressure_left", range=300), viewport={"width": 1280, "height": 800})
    wait_for_data(page)
    before = query_of(page)
    chart = middle(page.locator(".trend-plot"))
    point = find(page, "press-01 bladder_pressure_right")
    drag(page, point, (chart[0], 60))  # the title
    page.mouse.up()
    drag(page, point, chart)
    page.keyboard.press("Escape")
    assert page.locator(".drag-ghost").count() == 0
    page.mouse.up()
    drag(page, point, chart)
    page.mouse.move(*middle(point), steps=4)
    page.mouse.up()
    same = find(page, "press-01 bladder_pressure_left")
    drag(page, same, chart)
    assert page.locator(".drag-ghost.drag-refused").inner_text() == "This point is in the chart already."
    page.mouse.up()
    assert query_of(page) == before
    point = find(page, "press-01 bladder_pressure_right")
    point.click()  # a click without a movement still chooses
    wait_for_data(page, 2)
    assert len(query_of(page)["point"]) == 2


def test_a_finger_drags_after_a_short_rest_and_scrolls_without(open_view: Open):
    """On a tablet the list is below the chart, and a finger that moves at once scrolls."""
    page = open_view("/trends", viewport={"width": 900, "height": 1100}, has_touch=True)
    point = find(page, "press-01 bladder_pressure_left")
    point.scroll_into_view_if_needed()
    touch = page.context.new_cdp_session(page)

    def finger(kind: str, *places: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]})

    x, y = middle(point)
    finger("touchStart", (x, y))
    finger("touchMove", (x, y - 30))
    assert page.locator(".drag-ghost").count() == 0
    finger("touchEnd")
    x, y = middle(point)
    finger("touchStart", (x, y))
    page.locator(".drag-ghost").wait_for(timeout=PATIENCE)
    target = middle(page.locator(".trend-main"))
    finger("touchMove", (x, (y + target[1]) / 2))
    finger("touchMove", target)
    page.locator(".trend-main.drop-here").wait_for(timeout=PATIENCE)
    finger("touchEnd")
    wait_for_data(page)
    assert query_of(page)["point"] == [f"{PRESS_1}/bladder_pressure_left"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_during_a_drag(open_view: Open, scheme: str):
    """The name at the pointer and the marked chart are read in both themes."""
    page = open_view("/trends", color_scheme=scheme, viewport={"width": 1280, "height": 800})
    drag(page, find(page, "press-01 bladder_pressure_left"), middle(page.locator(".trend-main")))
    assert severe_findings(page) == []
    page.mouse.up()


@pytest.mark.parametrize(("locale", "hint"), [("de-DE", "hierher, um ihren Verlauf zu sehen"), ("zh-CN", "拖到此处")])
def test_the_hint_for_a_drag_is_in_the_language_of_the_reader(open_view: Open, locale: str, hint: str):
    page = open_view("/trends", locale=locale)
    assert hint in page.locator(".trend-main .empty").inner_text()


def test_points_without_a_unit_share_an_axis(open_view: Open):
    """A count has no unit; the page invents none."""
    page = open_view(trends(f"{PRESS_1}/good_count", f"{PRESS_1}/reject_count", range=300))
    wait_for_data(page, 2)
    assert page.locator(".series-table tbody .unit").all_inner_texts() == ["", ""]
    assert "undefined" not in page.locator("main").inner_text()


def test_live_readings_move_the_chart(open_view: Open):
    page = open_view(trends(f"{PRESS_1}/phase_time", range=300))
    wait_for_data(page)
    before = page.locator(".legend-value").inner_text()
    page.wait_for_function(
        "(before) => document.querySelector('.legend-value').textContent !== before", arg=before, timeout=PATIENCE
    )


def test_a_zoom_loads_finer_data_and_a_double_click_goes_back(open_view: Open):
    page = open_view(trends(f"{PRESS_1}/bladder_pressure_left", range=28_800))
    wait_for_data(page)
    page.get_by_role("button", name="Live", exact=True).click()
    wide = query_of(page)
    page.focus(".chart")
    with page.expect_response(lambda answer: "/api/trend" in answer.url) as answer:
        page.keyboard.press("End")
        for _ in range(8):
            page.keyboard.press("+")
    assert answer.value.ok
    narrow = query_of(page)
    assert length_of(narrow) < length_of(wide) / 10
    for _ in range(10):
        if query_of(page) == wide:
            break
        page.dblclick(".chart")
    assert query_of(page) == wide


def test_readings_are_saved_for_a_spreadsheet(open_view: Open, tmp_path: Path):
    page = open_view(trends(f"{PRESS_1}/bladder_pressure_left", range=300))
    wait_for_data(page)
    page.locator("summary", has_text="Export").click()
    page.get_by_label("Decimal mark").select_option("comma")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save CSV").click()
    file = tmp_path / "readings.csv"
    download.value.save_as(file)
    heading, *rows = csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig")), delimiter=";")
    assert heading[:4] == ["time", "machine", "point", "value"]
    assert rows
    assert {row[1] for row in rows} == {PRESS_1}
    assert all("." not in row[3] for row in rows)


def test_the_chart_is_saved_as_a_picture(open_view: Open, tmp_path: Path):
    page = open_view(trends(f"{PRESS_1}/bladder_pressure_left", range=300))
    wait_for_data(page)
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    file = tmp_path / "trend.png"
    download.value.save_as(file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_without_a_store_live_values_are_shown_and_the_reason(plant: PlantWithPage, open_view: Open):
    """A store that is away must not blind the shift."""
    page = open_view("/overview")

    def refuse(route: object) -> None:
        route.fulfill(  # type: ignore[attr-defined]
            status=503, content_type="application/json",
            body='{"error": "the store influxdb is unavailable: refused", "kind": "store_unavailable"}',
        )  # fmt: skip

    page.route("**/api/trend*", refuse)
    page.goto(plant.url + trends(f"{PRESS_1}/phase_time", f"{PRESS_1}/phase", range=300))
    note = page.locator(".trend-note.severe")
    note.wait_for(timeout=PATIENCE)
    assert note.inner_text() == "the store influxdb is unavailable: refused Only live values are shown."
    page.wait_for_function(
        "() => [...document.querySelectorAll('.legend-value')].every((one) => /[0-9a-z]/.test(one.textContent))",
        timeout=PATIENCE,
    )
    assert page.locator(".legend-value").nth(1).inner_text() in {
        "none", "load", "shape", "steam", "nitrogen", "exhaust", "open",
    }  # fmt: skip
    page.unroute("**/api/trend*")
    note.wait_for(state="detached", timeout=PATIENCE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_view: Open, scheme: str):
    """Contrast, names of controls and their roles, for a screen reader."""
    page = open_view(trends(f"{PRESS_1}/bladder_pressure_left", f"{PRESS_1}/phase", range=300), color_scheme=scheme)
    wait_for_data(page, 2)
    page.get_by_role("button", name="Compare cycles").click()
    page.locator("summary", has_text="Export").click()
    assert severe_findings(page) == []


def test_a_text_of_a_device_is_never_markup(open_view: Open):
    """The name of a point in a link is not of the plant, and may be anything."""
    page = open_view(trends(f"{PRESS_1}/<img src=x onerror=alert(1)>", range=300))
    page.wait_for_selector(".legend-name")
    assert page.locator(".legend-name").inner_text() == "<img src=x onerror=alert(1)>"
    assert page.locator(".view-trends img").count() == 0
    page.locator(".trend-note", has_text="Not stored yet").wait_for(timeout=PATIENCE)
