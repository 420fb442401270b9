"""The view of a machine, in a browser, over a real broker with messages made by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from accessibility import severe_findings
from hand_made_plant import SITE, STATES, HandMadePlant, now

from gateway.model.reading import NamedScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

PATIENCE = 30_000
"""Milliseconds."""

SECOND = 1_000_000
LINE = f"{SITE}/curing/curing-1"
PRESS = f"{LINE}/press-01"
POINTS: dict[str, dict[str, Any]] = {
    "state": {"type": "int", "labels": STATES, "every": 0.5, "at_least_every": 60.0},
    "good_count": {"type": "int", "at_least_every": 60.0},
    "reject_count": {"type": "int", "at_least_every": 60.0},
    "serial_number": {"type": "string", "description": "Part in work"},
    "pressure": {"type": "float", "unit": "bar", "range": [0, 30], "at_least_every": 1.0, "description": "Bladder"},
    "mould_temperature": {"type": "float", "unit": "Cel", "range": [0, 250]},
    "platen_temperature": {"type": "float", "unit": "Cel", "revised": {"sampling": 2.0, "queue": 1}},
    "steam_valve": {"type": "bool"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandMadePlant]:
    plant = HandMadePlant.start(tmp_path_factory.mktemp("hand-made"))
    yield plant
    plant.stop()


@pytest.fixture
def press(made: HandMadePlant) -> HandMadePlant:
    """A press with a reading of each quality."""
    made.gateway("online")
    made.machine(PRESS, POINTS)
    made.scan(
        PRESS,
        NamedScan(
            now(),
            {
                "state": 6, "good_count": 41, "reject_count": 1, "serial_number": "SN-7", "pressure": 16.25,
                "mould_temperature": 300.0, "steam_valve": True,
            },
            {"platen_temperature": "refused"},
            {"mould_temperature": "out_of_range"},
            {"platen_temperature": "exception 2 illegal data address"},
        ),
    )  # fmt: skip
    return made


def opened(made: HandMadePlant, open_page: Callable[..., Page], path: str, **options: Any) -> Page:
    page = open_page(f"{made.url}/{path}", **{"viewport": {"width": 1440, "height": 900}, **options})
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    return page


def row(page: Page, name: str, kind: str = "") -> Locator:
    """Return the row of a point, once it has a reading of a kind."""
    found = page.locator(f"[data-point='{name}']{f'[data-kind={kind}]' if kind else '[data-time]'}")
    found.wait_for(timeout=PATIENCE)
    return found


def test_points_have_values_with_units_and_their_quality(
    press: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """A bad reading has no value; bad and uncertain have a symbol, a text, the reason and the protocol code."""
    page = opened(press, open_page, f"machine/{PRESS}")
    good = row(page, "pressure", "good")
    assert good.locator(".cell-value").inner_text().split() == ["16.25", "bar"]
    assert good.locator(".bar").get_attribute("aria-valuenow") == "16.25"
    bad = row(page, "platen_temperature", "bad")
    assert bad.locator(".cell-value").inner_text().strip() == "—"
    assert bad.locator(".symbol").inner_text() == "✕"
    said = bad.locator(".cell-quality").inner_text()
    assert "bad: refused by the device" in said
    assert "exception 2" in said
    doubt = row(page, "mould_temperature", "uncertain")
    assert doubt.locator(".cell-value").inner_text().split() == ["300", "°C"]
    assert "uncertain: out of range" in doubt.locator(".cell-quality").inner_text()
    assert row(page, "state").locator(".value").inner_text() == "execute"
    assert row(page, "steam_valve").locator(".value").inner_text() == "on"
    assert page.locator(".group-row strong").all_inner_texts() == [
        "State", "Production", "Part and result", "Temperature", "Pressure", "Signals",
    ]  # fmt: skip


def test_the_head_of_a_machine_says_state_part_counts_and_what_the_driver_knows(
    press: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """At 3 a.m.: its state, since when, which part, and which points have no value and why."""
    ledger = {
        "balanced": True, "spool_bytes": 0, "time": now(), "schedule": {"due": 100, "missed": 3},
        "ledger": {"acquired": 1, "unchanged": 0, "pending": 0, "confirmed": 1, "dropped": {}},
        "drivers": {"requests": 4711, "timeouts": 2, "refused": 1, "connects": 1},
    }  # fmt: skip
    press.publish(f"{SITE}/_gateways/edge-01/ledger", ledger)
    page = opened(press, open_page, f"machine/{PRESS}")
    page.locator(".big-state .state[data-kind=producing]", has_text="running").wait_for(timeout=PATIENCE)
    page.locator(".card-part dd", has_text="SN-7").wait_for(timeout=PATIENCE)
    assert page.locator(".part-figures dd").all_inner_texts()[:2] == ["41", "1"]
    assert "2.4" in page.locator(".card-part").inner_text()
    driver = page.locator(".card-driver")
    driver.locator("dd", has_text="4,711").wait_for(timeout=PATIENCE)
    text = driver.inner_text()
    for said in ("6 good", "1 uncertain", "1 bad", "1 point: refused by the device", "missed scans"):
        assert said in text, text
    driver.locator("summary", has_text="1 point that the device refuses").click()
    assert "platen_temperature · refused by the device · exception 2" in driver.inner_text()
    driver.locator("summary", has_text="other parameters").click()
    assert "platen_temperature: sampling 2 s, queue 1, requested 1 s" in driver.inner_text()


def test_a_standing_alarm_is_shown_with_its_priority(press: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """Colour, shape and number together, and since when."""
    event = '{"source": "Press", "condition": "TooHot", "severity": 900, "message": "Mould too hot", "active": true}'
    press.publish(f"{PRESS}/event", press.record(NamedScan(now(), {"alarms": event})))
    page = opened(press, open_page, f"machine/{PRESS}")
    alarm = page.locator(".standing li", has_text="Mould too hot")
    alarm.wait_for(timeout=PATIENCE)
    assert alarm.locator(".priority").get_attribute("data-priority") == "1"
    assert "active, not acknowledged" in alarm.inner_text()
    over = event.replace("true", "false").replace('"active"', '"acknowledged": true, "active"')
    press.publish(f"{PRESS}/event", press.record(NamedScan(now(), {"alarms": over})))
    page.locator(".card-alarms", has_text="No alarm stands.").wait_for(timeout=PATIENCE)


def test_a_stale_reading_is_grey_and_says_since_when(press: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """The last value never looks as if it were new: nothing was heard for too long, or the gateway is gone."""
    silent = PRESS.replace("press-01", "press-02")
    press.machine(silent, POINTS)
    press.scan(
        silent, NamedScan(now() - 60 * SECOND, {"pressure": 11.0, "mould_temperature": 100.0, "good_count": 1})
    )
    page = opened(press, open_page, f"machine/{silent}")
    old = row(page, "pressure", "stale")
    assert "stale since" in old.locator(".cell-quality").inner_text()
    assert row(page, "good_count", "good"), "a counter may be silent for a minute"
    row(page, "mould_temperature", "good")  # its server sends changes alone, so it has no limit
    press.gateway("offline", "connection lost")
    row(page, "good_count", "stale")
    page.locator(".notice", has_text="the gateway is not there").wait_for(timeout=PATIENCE)
    assert page.locator(".big-state").inner_text().startswith("no gateway")
    press.gateway("online")
    row(page, "good_count", "good")


def test_points_are_searched_folded_chosen_and_opened_in_trends_with_the_keyboard(
    press: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """Arrows move, / searches, the space bar chooses, Enter opens."""
    page = opened(press, open_page, f"machine/{PRESS}")
    row(page, "pressure")
    page.keyboard.press("/")
    page.keyboard.type("temperature")
    page.wait_for_function(
        "() => document.querySelectorAll('.points-body [data-point]').length === 2", timeout=PATIENCE
    )
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    active = page.locator(".point-row.active")
    assert active.get_attribute("data-point") == "mould_temperature"
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.locator("[aria-selected=true]").count() == 2
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.locator(".group-row[aria-expanded=false]").wait_for(timeout=PATIENCE)
    page.wait_for_function(
        "() => document.querySelectorAll('.points-body [data-point]').length === 0", timeout=PATIENCE
    )
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/trends?**", timeout=PATIENCE)
    points = parse_qs(urlsplit(page.url).query)["point"]
    assert points == [f"{PRESS}/mould_temperature", f"{PRESS}/platen_temperature"]


def test_a_point_that_does_not_change_is_shown_each_time_it_is_seen(
    made: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """Its only reading was sent long ago; a row that is seen again, also after a moment, must not be empty."""
    path = f"{LINE}/still-01"
    names = [f"set_point_{number:03}" for number in range(300)]
    still = {"type": "float", "unit": "bar"}
    made.machine(path, {"serial_number": {"type": "string"}} | dict.fromkeys(names, still))
    made.scan(path, NamedScan(now(), {"serial_number": "SN-9"} | dict.fromkeys(names, 4.5)))
    page = opened(made, open_page, f"machine/{path}")
    row(page, "serial_number", "good")
    for wait in (0, 30, 500):
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(wait)
        page.evaluate("() => scrollTo(0, 0)")
        row(page, "serial_number", "good")
        row(page, names[0], "good")


def test_only_what_is_not_good_is_shown_on_demand(press: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """Of ten thousand points a person looks for the two that are wrong."""
    page = opened(press, open_page, f"machine/{PRESS}")
    row(page, "pressure")
    page.click("text=Only points that are not good")
    page.wait_for_function(
        "() => document.querySelectorAll('.points-body [data-point]').length === 2", timeout=PATIENCE
    )
    assert "2 of 8 points" in page.locator(".points-tools").inner_text()
    press.scan(PRESS, NamedScan(now(), {"mould_temperature": 20.0, "platen_temperature": 21.0}))
    page.locator(".empty", has_text="All points are good.").wait_for(timeout=PATIENCE)


def test_the_timeline_of_states_is_read_with_the_keyboard(
    press: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """The keyboard shows the same as the mouse."""
    press.scan(PRESS, NamedScan(now(), {"state": 11}))
    page = opened(press, open_page, f"machine/{PRESS}")
    page.locator(".big-state .state[data-kind=held]").wait_for(timeout=PATIENCE)
    page.focus(".lanes-axis")
    page.keyboard.press("End")
    assert "Production: held, since" in page.locator(".lanes-said").inner_text()
    assert "Connection: online" in page.locator(".lanes-axis").get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    assert "Production: not known" in page.locator(".lanes-said").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".lanes-said").inner_text() == ""
    press.scan(PRESS, NamedScan(now(), {"state": 6}))


def test_hostile_texts_of_a_machine_are_shown_as_text(press: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """A person who can write into a controller must not run anything in the browser of a control room."""
    evil = f"{LINE}/press-66"
    script = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    press.machine(evil, {
        script[:60]: {"type": "string", "description": script, "unit": "<b>", "labels": {"1": script}},
        "right to left": {"type": "string"}, "huge": {"type": "string"},
    }, template="<b>template</b>")  # fmt: skip
    press.scan(evil, NamedScan(now(), {script[:60]: script, "right to left": "\u202etxt", "huge": "W" * 1_000_000}))
    page = opened(press, open_page, f"machine/{evil}")
    row(page, "huge", "good")
    assert page.locator(".points img, .points script, .title b").count() == 0
    assert page.title() == "press-66 · Lineside"
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_an_unknown_machine_is_said_in_words(press: HandMadePlant, open_page: Callable[..., Page]) -> None:
    """A link in an old mail must not show an empty page."""
    page = opened(press, open_page, f"machine/{LINE}/press-99")
    page.locator(".empty", has_text=f"No machine {LINE}/press-99 is known").wait_for(timeout=PATIENCE)
    page = opened(press, open_page, "machine/only/two")
    page.locator(".empty", has_text="This is not the address of a machine").wait_for(timeout=PATIENCE)


@pytest.mark.parametrize(("theme", "size"), [("light", (1440, 900)), ("dark", (768, 1024))])
def test_the_view_of_a_machine_has_no_barriers(
    press: HandMadePlant, open_page: Callable[..., Page], theme: str, size: tuple[int, int]
) -> None:
    """A screen reader reads the same; contrasts hold in both themes; nothing is cut on a tablet."""
    viewport = {"width": size[0], "height": size[1]}
    page = opened(press, open_page, f"machine/{PRESS}", color_scheme=theme, viewport=viewport)
    page.locator(".points-tools", has_text="8 points").wait_for(timeout=PATIENCE)
    page.evaluate("() => document.querySelector('.points-panel').scrollIntoView()")
    row(page, "pressure")
    assert severe_findings(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


MEASURE = """async () => {
    const begin = performance.now();
    let frames = 0, longest = 0, last = begin;
    await new Promise((done) => {
        const step = (time) => {
            frames++;
            longest = Math.max(longest, time - last);
            last = time;
            if (time - begin > 3000) done(); else requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
    });
    return {frames: frames / ((last - begin) / 1000), longest};
}"""


def test_ten_thousand_points_at_ten_thousand_values_a_second_do_not_slow_the_page(
    press: HandMadePlant, open_page: Callable[..., Page], record_property: Callable[[str, object], None]
) -> None:
    """Rows exist where they are seen, and readings are sent of those alone: the browser works for thirty points."""
    path = f"{LINE}/huge-01"
    point = {"type": "float", "unit": "Cel", "range": [0, 300], "at_least_every": 1.0}
    names = [f"zone_{number:05}" for number in range(10_000)]
    press.machine(path, dict.fromkeys(names, point))
    stop = threading.Event()

    def feed() -> None:
        turn = 0
        while not stop.wait(1.0):
            turn += 1
            press.scan(
                path,
                NamedScan(now(), {name: 150.0 + (at * 7 + turn * 13) % 100 / 10 for at, name in enumerate(names)}),
            )

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        page = opened(press, open_page, f"machine/{path}")
        row(page, "zone_00000", "good")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        before = tasks(session)
        measured = page.evaluate(MEASURE)
        busy = (tasks(session) - before) / 3
        record_property("frames a second", round(measured["frames"], 1))
        record_property("part of a processor", round(busy, 3))
        assert busy < 0.5, "the page of a busy machine leaves half of a processor"
        assert page.locator(".points-body .point-row").count() < 60
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        row(page, "zone_09999", "good")
        assert page.locator(".points-body .point-row").count() < 60
        before_value = page.get_attribute("[data-point='zone_09999']", "data-time")
        page.wait_for_function(
            "(before) => document.querySelector(\"[data-point='zone_09999']\").dataset.time !== before",
            arg=before_value, timeout=PATIENCE,
        )  # fmt: skip
        page.fill(".points-tools input", "zone_0500")
        page.wait_for_function(
            "() => document.querySelectorAll('.points-body [data-point]').length === 10", timeout=PATIENCE
        )
    finally:
        stop.set()
        feeder.join()


def tasks(session: Any) -> float:
    """Return the seconds of processor time of the page so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def test_a_lost_broker_greys_all_readings_and_ends_the_timelines(
    press: HandMadePlant, open_page: Callable[..., Page]
) -> None:
    """The gateway may go on, and the page does not know: it says since when it knows nothing."""
    page = opened(press, open_page, f"machine/{PRESS}")
    row(page, "good_count", "good")
    press.broker.kill()
    try:
        old = row(page, "good_count", "stale")
        assert "no connection to the broker" in old.locator(".cell-quality").inner_text()
        page.locator(".notice", has_text="no connection to the broker").wait_for(timeout=PATIENCE)
        page.focus(".lanes-axis")
        page.wait_for_function(
            """() => {
                document.querySelector(".lanes-axis").dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
                return document.querySelector(".lanes-said").textContent.includes("Production: unknown, since");
            }""",
            timeout=PATIENCE,
        )
    finally:
        press.broker.up_and_wait()
    press.machine(PRESS, POINTS)
    page.locator(".notice").wait_for(state="hidden", timeout=PATIENCE)
