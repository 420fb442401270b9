"""The chart in a browser: its picture, and the movements of a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from static_pages import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

START, SECOND = 1_764_000_000_000_000, 1_000_000

PIXELS = """async (box) => (await import("/tests/chart_page.js")).colours(...box)"""
"""How many pixels have each colour, in a box of the chart: left, top, width and height."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serve() as url:
        yield url


@pytest.fixture
def page(site: str, open_page: Callable[..., Page]) -> Page:
    """A page with the chart of a press: ten minutes from `START`."""
    page = open_page(site)
    page.evaluate("async () => (await import('/tests/chart_page.js')).press()")
    return page


def span(page: Page) -> tuple[float, float]:
    """Return the ends of the chart, in seconds after `START`."""
    found = page.evaluate("() => [chart.from, chart.to]")
    return (found[0] - START) / SECOND, (found[1] - START) / SECOND


def settle(page: Page) -> None:
    page.evaluate("async () => (await import('/tests/chart_page.js')).drawn()")


def plot(page: Page) -> Any:
    return page.evaluate("() => ({ ...chart.plot, at: (chart.canvas.getBoundingClientRect()).toJSON() })")


def test_a_gap_has_no_line(page: Page) -> None:
    """A line over an outage would show values that nobody has measured: there the plot has grid and bands alone."""
    box = plot(page)
    x = page.evaluate(
        "() => [0.64, 0.66].map((part) => chart.plot.left + part * (chart.plot.right - chart.plot.left))"
    )
    series = page.evaluate(
        "() => ['--series-1', '--series-2', '--series-3', '--series-4'].map((name) => "
        "getComputedStyle(document.documentElement).getPropertyValue(name).trim())"
    )
    colours = {",".join(str(int(one[n : n + 2], 16)) for n in (1, 3, 5)) for one in series}
    area = (x[0], box["top"], x[1] - x[0], box["bottom"] - box["top"])
    assert not colours & set(page.evaluate(PIXELS, area))
    left = (box["left"] + 20, box["top"], 100, box["bottom"] - box["top"])
    assert colours <= set(page.evaluate(PIXELS, left))


def test_bad_and_uncertain_readings_are_marked_below_the_lines(page: Page) -> None:
    box = plot(page)
    bad, uncertain = page.evaluate(
        "() => ['--quality-bad', '--quality-uncertain'].map((name) => "
        "getComputedStyle(document.documentElement).getPropertyValue(name).trim())"
    )
    strip = page.evaluate(PIXELS, (box["left"], box["bottom"], box["right"] - box["left"], 7))
    for colour in (bad, uncertain):
        assert strip.get(",".join(str(int(colour[n : n + 2], 16)) for n in (1, 3, 5)), 0) > 5


def test_the_cross_hair_has_time_and_values_of_all_series(page: Page) -> None:
    box = plot(page)
    page.mouse.move(box["at"]["left"] + box["left"] + (box["right"] - box["left"]) / 4.9, box["at"]["top"] + 200)
    assert page.evaluate("() => chart.cursor") == pytest.approx(START + 122 * SECOND, abs=2 * SECOND)
    values = page.evaluate("() => chart.samples(chart.cursor).map((one, n) => chart.valueText(chart.series[n], one))")
    assert len(values) == 6
    assert values[4:] == ["steam", "true"]
    assert page.evaluate("() => chart.timeText(chart.cursor)").startswith("24 Nov 2025, 17:02:")


def test_the_wheel_zooms_at_the_pointer(page: Page) -> None:
    """The time below the pointer stays there."""
    box = plot(page)
    page.mouse.move(box["at"]["left"] + box["left"] + (box["right"] - box["left"]) / 4, box["at"]["top"] + 200)
    page.mouse.wheel(0, -500)
    page.wait_for_function("(start) => chart.from > start", arg=START)
    since, until = span(page)
    assert until - since == pytest.approx(600 * 0.472, rel=0.01)
    assert since + (until - since) / 4 == pytest.approx(150, abs=2)


def test_a_drag_pans_and_shift_with_a_drag_zooms_into_the_box(page: Page) -> None:
    box = plot(page)
    width, left, y = box["right"] - box["left"], box["at"]["left"] + box["left"], box["at"]["top"] + 200
    page.mouse.move(left + width / 2, y)
    page.mouse.down()
    page.mouse.move(left + width / 4, y, steps=4)
    page.mouse.up()
    assert span(page)[0] == pytest.approx(150, abs=3)
    settle(page)
    page.keyboard.down("Shift")
    page.mouse.move(left + width / 4, y)
    page.mouse.down()
    page.mouse.move(left + width / 2, y, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    since, until = span(page)
    assert (since, until) == (pytest.approx(300, abs=4), pytest.approx(450, abs=4))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("ArrowRight", (90, 690)), ("ArrowLeft", (-90, 510)), ("+", (90, 510)), ("-", (-129, 729)),
        ("Home", (0, 600)), ("End", (-1, 599)),
    ],
)  # fmt: skip
def test_keys_move_and_zoom(page: Page, key: str, expected: tuple[float, float]) -> None:
    page.focus(".chart")
    page.keyboard.press(key)
    assert span(page) == pytest.approx(expected, abs=1)


def test_a_screen_reader_reads_values_at_the_cross_hair_and_a_table(page: Page) -> None:
    page.focus(".chart")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    spoken = page.text_content(".chart [aria-live]")
    assert spoken is not None
    assert spoken.startswith("24 Nov 2025, 17:00:18 UTC+01: press-01 · bladder_pressure_left ")
    rows = page.locator(".chart-table tbody tr")
    assert rows.count() == 6
    cells = rows.nth(2).locator("th, td").all_text_contents()
    assert cells[:2] == ["press-01 · mould_temperature", "°C"]
    assert float(cells[2]) < float(cells[3])
    assert page.get_attribute(".chart-canvas", "aria-label").startswith("Press 01, 6 series, 24 Nov 2025, 17:00:00")


def test_a_series_that_is_hidden_gives_up_its_axis(page: Page) -> None:
    assert page.evaluate("() => chart.axes.map((one) => one.unit)") == ["bar", "°C", "kN"]
    page.evaluate("() => chart.setVisible('mt', false)")
    assert page.evaluate("() => chart.axes.map((one) => one.unit)") == ["bar", "kN"]


def test_the_picture_is_a_png_with_a_legend(page: Page) -> None:
    size = page.evaluate(
        """async () => {
          const blob = await chart.toPNG("Press 01");
          const picture = await createImageBitmap(blob);
          return [blob.type, picture.width, picture.height, chart.canvas.width, chart.canvas.height];
        }"""
    )
    assert size[0] == "image/png"
    assert size[1] == size[3]
    assert size[2] > size[4]


def test_data_of_a_long_time_are_bands_with_a_line(site: str, open_page: Callable[..., Page]) -> None:
    page = open_page(site)
    page.evaluate("async () => (await import('/tests/chart_page.js')).buckets()")
    box = plot(page)
    assert len(page.evaluate(PIXELS, (box["left"], box["top"], 200, box["bottom"] - box["top"]))) > 10
    [text] = page.evaluate(
        "() => [chart.valueText(chart.series[0], chart.series[0].at((chart.from + chart.to * 3) / 4))]"
    )
    low, high = text.partition("(")[2].rstrip(")").split(" … ")
    assert float(low) < float(text.split()[0]) < float(high)


def test_a_live_chart_moves_and_draws_nothing_where_nothing_changes(
    site: str, open_page: Callable[..., Page]
) -> None:
    """A page that is open all day must not keep a processor busy."""
    page = open_page(site)
    found = page.evaluate("async () => (await import('/tests/chart_page.js')).live(5, 2, 3600)")
    assert found["frames"] >= 1
    assert found["frames"] <= 40
    last = page.evaluate("() => chart.to")
    page.wait_for_function("(last) => chart.to > last", arg=last)


def test_a_theme_of_the_page_is_followed(page: Page) -> None:
    before = page.evaluate("() => chart.canvas.toDataURL()")
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.wait_for_function("(before) => chart.canvas.toDataURL() !== before", arg=before)


def test_a_live_chart_follows_the_size_of_its_place(site: str, open_page: Callable[..., Page]) -> None:
    """A tablet that is turned must not show a stretched picture."""
    page = open_page(site)
    page.evaluate("async () => (await import('/tests/chart_page.js')).prepareLive(2, 3600)")
    page.evaluate("() => { chart.element.parentElement.style.inlineSize = '500px'; }")
    page.wait_for_function("() => chart.canvas.width === 500 && chart.plot.right < 500")


def test_two_fingers_zoom(site: str, open_page: Callable[..., Page]) -> None:
    """A tablet beside the line has no wheel."""
    page = open_page(site, has_touch=True)
    page.evaluate("async () => (await import('/tests/chart_page.js')).press()")
    box = plot(page)
    middle, y = box["at"]["left"] + (box["left"] + box["right"]) / 2, box["at"]["top"] + 200
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *apart: float) -> None:
        points = [{"x": middle + sign * one, "y": y, "id": n} for one in apart for n, sign in enumerate((-1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 50)
    for apart in (60, 80, 100):
        touch("touchMove", apart)
    touch("touchEnd")
    page.wait_for_function("() => chart.to - chart.from < 400e6")
    since, until = span(page)
    assert until - since == pytest.approx(300, rel=0.1)
    assert (since + until) / 2 == pytest.approx(300, abs=15)
