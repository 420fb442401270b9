"""Alarms, production and parts, in a browser."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from accessibility import severe_findings
from page_plant import MIXER, PRESS_1, PRESS_2, ZONE, PlantWithPage, wait_for
from processes import LOOPBACK

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.production import SECOND, Tally, TimeState
from gateway.model.reading import NamedScan
from gateway.settings.calendar import CalendarSection, calendar_of
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""

HOUR = 3600 * SECOND


def send_events(plant: PlantWithPage, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Publish events of machines as their gateway would, all at once."""
    at = time.time_ns() // 1000

    def record(number: int, changes: dict[str, Any]) -> str:
        event = {
            "id": str(number), "type": "AlarmType", "source": "Boiler", "condition": "Level", "severity": 700,
            "message": "high", "active": True, "acknowledged": False, "condition_id": None, "branch_id": None,
        } | changes  # fmt: skip
        scan = {"t": at + number, "values": {"alarms": json.dumps(event)}}
        return json.dumps({"v": 1, "gateway": "edge-02", "spool": "by-hand", "seq": at + number, "scans": [scan]})

    async def publish() -> None:
        async with aiomqtt.Client(LOOPBACK, plant.broker.port, max_inflight_messages=100) as client:
            await asyncio.gather(
                *(
                    client.publish(f"lineside/v1/{path}/event", record(number, changes), qos=1)
                    for number, (path, changes) in enumerate(events)
                )
            )

    wait_for(publish())


@pytest.fixture
def alarms(plant: PlantWithPage) -> Iterator[Callable[..., None]]:
    """A function that raises alarms; at the end of the test they are over."""
    raised: set[tuple[str, str]] = set()

    def raise_alarms(*events: tuple[str, dict[str, Any]]) -> None:
        raised.update((path, changes.get("condition", "Level")) for path, changes in events)
        send_events(plant, list(events))

    yield raise_alarms
    over = {"active": False, "acknowledged": True}
    send_events(plant, [(path, {"condition": condition} | over) for path, condition in sorted(raised)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["alarms", "alarms?tab=statistics", "production", "parts"])
def test_axe_finds_nothing_serious(open_view: Open, alarms: Callable[..., None], view: str, scheme: str):
    """A screen reader needs contrast, names of controls and their roles."""
    alarms((PRESS_1, {"condition": "Grease low", "severity": 100}), (PRESS_2, {"condition": "Oil", "severity": 950}))
    page = open_view(f"/{view}", color_scheme=scheme)
    page.wait_for_function("() => !document.querySelector('[aria-busy]')", timeout=PATIENCE)
    page.wait_for_selector(".alarm-table tbody tr, .ranked li, .produced-machine, .serials", timeout=PATIENCE)
    assert severe_findings(page) == []


def names(page: Page) -> list[str]:
    """Return the names of the alarms in their order, without those that the plant raises itself after an outage."""
    return [name for name in page.locator(".alarm-table .alarm-name").all_inner_texts() if "_" not in name]


def test_alarms_are_sorted_filtered_and_noted_for_all_readers(open_view: Open, alarms: Callable[..., None]):
    """Two shift leaders see the notes of each other; the page says that the machine is unchanged."""
    page, other = open_view("/alarms"), open_view("/alarms")
    alarms(
        (PRESS_1, {"condition": "Grease low", "severity": 100}),
        (PRESS_2, {"condition": "Light curtain", "severity": 950, "message": "<script>alert(1)</script>"}),
        (MIXER, {"condition": "Temperature", "severity": 500}),
    )
    for name in ("Light curtain", "Temperature", "Grease low"):
        page.locator(".alarm-name", has_text=name).wait_for(timeout=PATIENCE)
    assert names(page) == ["Light curtain", "Temperature", "Grease low"]
    assert "<script>alert(1)</script>" in page.locator(".alarm-message").first.inner_text()
    page.get_by_role("button", name="Priority 4").click()
    page.locator(".alarm-name", has_text="Grease low").wait_for(state="detached", timeout=PATIENCE)
    assert "priorities=1%2C2%2C3" in page.url
    page.get_by_label("Select this alarm").first.check()
    page.get_by_role("button", name="Acknowledge on this page").click()
    dialog = page.locator("dialog")
    assert "The machine is not changed" in dialog.inner_text()
    dialog.get_by_label("Comment").fill("seen, technician is on the way")
    dialog.get_by_role("button", name="Acknowledge 1 alarm on this page").click()
    note = other.locator(".alarm-note", has_text="seen, technician is on the way")
    note.wait_for(timeout=PATIENCE)
    assert "Noted as acknowledged by local" in note.inner_text()
    other.get_by_label("Select this alarm").first.check()
    other.get_by_role("button", name="Shelve…").click()
    other.locator("dialog").get_by_label("Comment").fill("spare part is ordered")
    other.get_by_role("button", name="Shelve 1 alarm", exact=True).click()
    page.locator(".alarm-name", has_text="Light curtain").wait_for(state="detached", timeout=PATIENCE)
    page.get_by_role("button", name="Shelved", exact=True).click()
    page.locator(".alarm-note", has_text="spare part is ordered").wait_for(timeout=PATIENCE)


def test_a_flood_of_alarms_reaches_the_page_whole(open_view: Open, alarms: Callable[..., None]):
    """500 alarms in two seconds: none is lost, and the page still reacts."""
    page = open_view("/alarms?text=Zone")
    page.wait_for_selector(".alarm-summary", timeout=PATIENCE)
    alarms(*((MIXER, {"condition": f"Zone {number}", "severity": 1 + number}) for number in range(500)))
    page.get_by_role("button", name="Show more: 300 alarms are not shown").wait_for(timeout=PATIENCE)
    assert len(names(page)) == 200
    began = time.monotonic()
    page.get_by_label("Search in alarms").fill("Zone 499")
    page.wait_for_function("() => document.querySelectorAll('.alarm-table tbody tr').length === 1", timeout=PATIENCE)
    assert time.monotonic() - began < 10
    page.get_by_role("button", name="Statistics").click()
    page.locator(".fact", has_text="EEMUA 191").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="History").click()
    page.locator(".alarm-table tbody tr", has_text="Zone 499").first.wait_for(timeout=PATIENCE)


def test_production_shows_states_counts_and_details_out_of_the_store(open_view: Open):
    """The sums are those of the store, and the timeline has a text for those who can't see it."""
    page = open_view(f"/production?path={'/'.join(PRESS_1.split('/')[:4])}")
    page.wait_for_selector(".produced-strip[aria-label]", timeout=PATIENCE)
    assert [one.inner_text() for one in page.locator(".produced-name strong").all()] == ["press-01", "press-02"]
    page.wait_for_function(
        "() => /running [0-9.,]+ ?%/.test(document.querySelector('.produced-strip').getAttribute('aria-label'))",
        timeout=PATIENCE,
    )
    page.get_by_role("button", name="More about press-01").click()
    details = page.locator(".produced-details").first
    details.locator(".shares li").first.wait_for(timeout=PATIENCE)
    assert "not known: no connection" in details.inner_text()
    page.get_by_role("button", name="This shift").click()
    page.get_by_label("a shift begins at").fill("05:00")
    page.wait_for_function("() => location.search.includes('begins=05%3A00')", timeout=PATIENCE)


def test_a_scanned_serial_number_shows_its_machines_and_the_field_waits_for_the_next(open_view: Open):
    """A scanner is a keyboard that ends with Enter: nobody touches a mouse between two parts."""
    page = open_view("/parts")
    serial = page.locator("tr", has_text="press-01").locator(".serial").first
    serial.wait_for(timeout=PATIENCE)
    wanted = serial.inner_text()
    page.wait_for_function("() => document.activeElement.id === 'serial'", timeout=PATIENCE)
    page.keyboard.type(wanted)
    page.keyboard.press("Enter")
    page.locator(".visit", has_text="press-01").first.wait_for(timeout=PATIENCE)
    trends = page.locator(".visit a", has_text="Trends").first.get_attribute("href")
    assert trends.startswith("/trends?point=acme%2Fnorth%2Fcuring%2Fcuring-1%2Fpress-01%2F")
    page.keyboard.type("no such part")
    page.keyboard.press("Enter")
    page.get_by_text("This serial number was not seen.").wait_for(timeout=PATIENCE)
    assert "Searched: " in page.locator(".searched").inner_text()
    assert page.locator(":focus").get_attribute("id") == "serial"


RECORDS = [
    (MIXER, "part", {"serial": "B-1", "operation": "mixing", "place": "", "lot": "ML77", "result": "good"}),
    (PRESS_1, "part_left", {
        "serial": "GT-77", "operation": "curing", "place": "left", "result": "undercured", "recipe": "CURE-1",
        "values": [{"name": "pressure", "value": 16.5, "unit": "bar"}, {"name": "weight", "reason": "no_response"}],
        "materials": [{"name": "compound", "lot": "ML77"}], "curves": ["bladder_pressure_left"],
    }),
    (PRESS_2, "part_right", {"serial": "GT-77", "operation": "curing", "place": "right", "result": "good"}),
    (PRESS_2, "part_left", {"serial": "C-1", "operation": "packing", "place": "", "materials": [
        {"name": "tyre", "lot": "GT-77"}
    ]}),
]  # fmt: skip


def store_records(plant: PlantWithPage) -> None:
    """Put records of parts into the store, a minute apart, as ingest does."""
    begin = time.time_ns() // 1000 - 600_000_000
    with SqliteStore(SqliteSettings(path=plant.folder / "readings.db")) as store:
        for at, (path, point, record) in enumerate(RECORDS):
            meta = MachineMeta("x", {point: "json"}, {}, {point: "part"})
            began = begin + at * 60_000_000
            text = json.dumps({"began": began, "ended": began + 50_000_000} | record)
            scan = NamedScan(began + 50_000_000, {point: text})
            store.write([MachineScan(MachinePath(*path.split("/")), meta, scan, 0)])


def test_a_recorded_part_shows_its_operations_and_a_lot_the_parts_that_it_went_into(
    plant: PlantWithPage, open_view: Open
):
    """A complaint ends at a batch, and a bad batch at the parts to be called back."""
    store_records(plant)
    page = open_view("/parts")
    page.wait_for_function("() => document.activeElement.id === 'serial'", timeout=PATIENCE)
    page.keyboard.type("GT-77")
    page.keyboard.press("Enter")
    first, second = (page.locator(".visit").nth(at) for at in (0, 1))
    second.wait_for(timeout=PATIENCE)
    text = first.inner_text()
    assert all(one in text for one in ("curing", "undercured", "press-01 (left)", "16.5 bar", "missing: no_response"))
    assert "run 2" in second.inner_text()
    curves = first.get_by_role("link", name="Curves").get_attribute("href")
    assert curves.startswith(
        "/trends?point=acme%2Fnorth%2Fcuring%2Fcuring-1%2Fpress-01%2Fbladder_pressure_left&from="
    )
    assert severe_findings(page) == []
    first.get_by_role("button", name="ML77").click()
    page.locator(".uses tbody tr").nth(1).wait_for(timeout=PATIENCE)
    rows = page.locator(".uses tbody tr").all_inner_texts()
    assert ["GT-77" in rows[0], "compound ML77" in rows[0], "C-1" in rows[1], "tyre GT-77" in rows[1]] == [True] * 4
    assert page.evaluate("() => location.search") == "?lot=ML77"
    page.get_by_role("link", name="C-1").click()
    page.locator(".visit", has_text="packing").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Where it was seen").click()
    page.get_by_text("This serial number was not seen.").wait_for(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("view", "de", "zh"),
    [("alarms", "Alarme", "报警"), ("production", "Produktion", "生产"), ("parts", "Teile", "工件")],
)
def test_the_views_speak_german_and_chinese_and_fit_a_tablet(open_view: Open, view: str, de: str, zh: str):
    """Longer words must not push anything out of a tablet."""
    for locale, title in (("de-DE", de), ("zh-CN", zh)):
        page = open_view(f"/{view}", locale=locale, viewport={"width": 768, "height": 1024})
        assert page.locator("h1").inner_text() == title
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def store_shift(plant: PlantWithPage) -> None:
    """Store an hour of both presses, as their gateway would: the first jammed, and both rejected some.

    It is the last whole hour; of the hours of the shift before it nothing is known.
    """
    now = time.time_ns() // 1000
    calendar = calendar_of(CalendarSection(zone=ZONE))
    day = str(calendar.find("current", now))
    end = calendar.hour_at(now)[0]
    contents = {"production": "production", "stops": "stops"}
    meta = MachineMeta("curing-press", dict.fromkeys(contents, "json"), {}, contents)
    batch = []
    for number, path in enumerate((PRESS_1, PRESS_2)):
        tally = Tally(good=8, reject=1, parts=9, planned_production=9 * 390 * SECOND, target=9.2, failures=1)
        down = 600 * SECOND if number == 0 else 0
        tally.times.update({TimeState.PRODUCTION: 3600 * SECOND - down, TimeState.DOWN: down})
        if down:
            tally.add_reason("bladder", down)
        for duration in (779.0, 781.5, 790.0):
            tally.cycles.count(duration)
        row = {"kind": "hour", "shift": day, "begin": end - HOUR, "end": end, "order": "4711", "recipe": "CURE"}
        values = {"production": json.dumps(row | tally.as_row())}
        batch.append(MachineScan(MachinePath(*path.split("/")), meta, NamedScan(end + number, values, {}, {}, {}), 0))
    with SqliteStore(SqliteSettings.model_validate({"path": str(plant.folder / "readings.db")})) as store:
        store.write(batch)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_shift_shows_factors_losses_and_parts_against_the_plan(
    plant: PlantWithPage, open_view: Open, scheme: str
):
    """It is the report of the command, and the first that a shift leader looks at."""
    store_shift(plant)
    page = open_view(f"/production?path={'/'.join(PRESS_1.split('/')[:4])}", color_scheme=scheme)
    table = page.locator(".oee-table")
    table.locator("tbody tr", has_text="press-01").wait_for(timeout=PATIENCE)
    text = table.locator("tbody tr", has_text="press-01").inner_text()
    assert "83.3" in text, "availability: 3,000 s of 3,600 s"
    assert "88.9" in text, "quality: 8 of 9"
    losses = page.locator(".losses").first.inner_text()
    assert "down: bladder" in losses
    assert "not known: no connection" in losses
    assert "Good parts against plan" in page.locator(".oee").inner_text()
    page.get_by_role("button", name="Last shift").click()
    page.wait_for_function("() => location.search.includes('shift=last')", timeout=PATIENCE)
    assert severe_findings(page) == []


def test_the_tiles_of_the_overview_show_the_oee_that_the_gateway_reports(open_view: Open):
    """Without a look into the store."""
    page = open_view("/overview")
    page.locator(".tile-counts", has_text="OEE").first.wait_for(timeout=PATIENCE * 3)
