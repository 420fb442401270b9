"""Actions of an operator on the page reach the gateway: alarms, and reasons of stops, in a browser."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Self

import aiomqtt
import pytest
import yaml
from accessibility import severe_findings
from chaos.machines import Machines
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from page_link import start_page
from page_plant import ZONE, wait_for
from processes import LOOPBACK, Lineside, free_port, lineside, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""

HOSTILE = '<img src=x onerror=alert(1)> {who} \u202e \\ " end'
MACHINE = "enterprise/site/area/line/press-01"

TEMPLATE: dict[str, Any] = {
    "format": 1,
    "protocol": "modbus",
    "points": {
        "count": {"address": "holding 0", "raw": "uint32", "every": "100ms"},
        "third": {"address": "holding 4", "raw": "float64", "every": "100ms"},
    },
    "derive": {
        "state": {"expression": "count % 60 < 30 ? 6 : 9", "labels": {6: "execute", 9: "aborted"}},
    },
    "production": {"state": "state", "micro_stop": "1s", "reasons": ["bladder", "<b>no material</b>"]},
    "alarms": {
        "few": {"point": "count", "low": 1e9, "message": "Only {count} parts"},
        "early": {"point": "count", "low": 20, "priority": "low", "latch": True},
    },
}
"""A machine that runs for thirty readings and is down for thirty. One of its alarms does not end, one has a latch."""


class _Machines(threading.Thread):
    """Machines that are served by a thread, beside the event loop of Playwright."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port = 0
        self._up, self._over = threading.Event(), threading.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with Machines(1) as machines:
            self.port = machines.port
            self._up.set()
            await asyncio.to_thread(self._over.wait)

    def up(self) -> int:
        """Start; return the port."""
        self.start()
        assert self._up.wait(30)
        return self.port

    def down(self) -> None:
        self._over.set()
        self.join(30)


class Plant:
    """A machine, its gateway that takes signed commands alone, ingest, and a page with the key."""

    def __init__(self, folder: Path) -> None:
        self.config, self.port = folder / "factory.yaml", free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.broker = Mosquitto(folder, scope="module")
        self.machines = _Machines()
        self._folder = folder

    def start(self) -> Self:
        self.broker.up_and_wait()
        self._write(self.machines.up())
        wait_for(self._start())
        return self

    def _write(self, port: int) -> None:
        key = Ed25519PrivateKey.generate()
        public = b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
        pem = self._folder / "page.pem"
        pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pem.chmod(0o600)
        (self._folder / "machines").mkdir()
        (self._folder / "machines" / "press.yaml").write_text(yaml.safe_dump(TEMPLATE))
        machine = {"template": "press", "connection": f"modbus+tcp://{LOOPBACK}:{port}?timeout=20&unit=1"}
        commands = {"keys": {"page": {"key": public, "people": "any"}}}
        write_factory(
            self.config,
            gateway={"id": "edge-01", "spool": {"folder": str(self._folder / "spool")}, "commands": commands},
            dashboard={"commands": {"key": {"file": str(pem)}, "name": "page", "wait": "3s"}},
            broker={"url": self.broker.url},
            calendar={"zone": ZONE},
            ingest={"folder": str(self._folder)},
            stores=[{"sqlite": {"path": str(self._folder / "readings.db")}}],
            lines={"line": {"area": "area", "machines": {"press-01": machine}}},
        )  # fmt: skip

    async def _start(self) -> None:
        self.gateway = await Lineside.start("run", self.config)
        self.ingest = await Lineside.start("ingest", self.config)
        self.page = await start_page(self.config, f"{LOOPBACK}:{self.port}")
        for process in (self.gateway, self.ingest, self.page):
            process.scope = "module"

    def stop(self) -> None:
        async def stop() -> None:
            for process in (self.page, self.gateway, self.ingest):
                if process.running:
                    await process.stop()

        wait_for(stop())
        self.machines.down()

    def document(self, *arguments: str) -> Any:
        return json.loads(wait_for(lineside(*arguments, "--format", "json")).text)

    def renew(self) -> None:
        """Let the alarm be annunciated as a new alarm, whatever a test has done to it."""
        signed = ("--key", "page", "--key-file", str(self._folder / "page.pem"))
        for action in ("shelve", "unshelve"):  # one that is shelved already refuses the first, and is returned
            wait_for(lineside("alarms", action, str(self.config), "press-01", "few", *signed))
        assert self.alarms()["few"][0] == "unacknowledged"

    def alarms(self) -> dict[str, tuple[str, str, str]]:
        """Return state, who and why of the alarms that the gateway retains."""
        found = self.document("alarms", "show", str(self.config), "--all")["alarms"]
        return {one["alarm"]: (one["state"], one["who"], one["reason"]) for one in found}


@pytest.fixture(scope="module")
def commanded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    plant = Plant(tmp_path_factory.mktemp("commanded")).start()
    yield plant
    plant.stop()


@pytest.fixture
def visit(commanded: Plant, open_page: Open) -> Open:
    """A function that opens a view of the page, and waits until it is connected."""

    def open_(path: str, **options: object) -> Page:
        page = open_page(commanded.url + path, **options)
        page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
        return page

    return open_


def row_of(page: Page, alarm: str) -> Any:
    return page.locator(".alarm-table tbody tr", has=page.locator(".alarm-name", has_text=alarm))


def act(page: Page, alarm: str, action: str, apply: str, comment: str) -> None:
    """Select an alarm, and send an action with a comment."""
    row_of(page, alarm).get_by_label("Select this alarm").check()
    page.get_by_role("button", name=action).click()
    dialog = page.locator("dialog")
    dialog.get_by_label("Comment").fill(comment)
    dialog.get_by_role("button", name=apply, exact=True).click()


def test_an_alarm_is_acknowledged_shelved_and_returned_at_its_gateway(commanded: Plant, visit: Open):
    """The page shows the state that the gateway retains, and its reason why something does not apply."""
    commanded.renew()
    page, other = visit("/alarms"), visit("/alarms")
    row_of(page, "few").wait_for(timeout=PATIENCE)
    assert "changed at the gateway" in page.locator(".note-hint").inner_text()
    act(page, "few", "Acknowledge…", "Acknowledge 1 alarm", HOSTILE)
    note = other.locator(".alarm-note", has_text="Acknowledged by local")
    note.wait_for(timeout=PATIENCE)
    assert "<img src=x onerror=alert(1)> {who}" in note.inner_text()
    assert "active, acknowledged" in row_of(other, "few").inner_text()
    state, who, reason = commanded.alarms()["few"]
    assert (state, who, reason.startswith("<img src=x")) == ("acknowledged", "local", True)
    page.locator("dialog").wait_for(state="detached", timeout=PATIENCE)
    act(page, "few", "Acknowledge…", "Acknowledge 1 alarm", "again")
    problem = page.locator("dialog .problem", has_text="The gateway can't do it: the alarm is acknowledged")
    problem.wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
    page.keyboard.press("Escape")
    act(page, "few", "Shelve…", "Shelve 1 alarm", "spare part")
    row_of(other, "few").wait_for(state="detached", timeout=PATIENCE)
    assert commanded.alarms()["few"] == ("shelved", "local", "spare part")
    other.get_by_role("button", name="Shelved", exact=True).click()
    shelved = other.locator(".alarm-note", has_text="Shelved by local until")
    shelved.wait_for(timeout=PATIENCE)
    assert "spare part" in shelved.inner_text()
    assert severe_findings(other) == []
    act(other, "few", "Return to the list…", "Return 1 alarm to the list", "found one")
    row_of(other, "few").wait_for(state="detached", timeout=PATIENCE)
    row_of(page, "few").wait_for(timeout=PATIENCE)
    assert commanded.alarms()["few"][0] == "unacknowledged"
    assert [actions(commanded, "few").count(one) for one in ("acknowledge", "shelve", "remove")] == [2, 1, 1]


def actions(plant: Plant, alarm: str) -> list[str]:
    """Return the actions of people on an alarm, as the audit log has them."""
    shown = wait_for(lineside("audit", "show", str(plant.config), "--action", "alarm.*", "--format", "json")).text
    entries = map(json.loads, shown.splitlines())
    return [one["action"].removeprefix("alarm.") for one in entries if one["object"].endswith(f" {alarm}")]


def test_a_latched_alarm_is_reset_after_it_was_acknowledged(commanded: Plant, visit: Open):
    """The button is for nothing else: an alarm that nobody has acknowledged, or that does not end, can't be reset."""
    page, other = visit("/alarms"), visit("/alarms", locale="de-DE")
    page.locator(".alarm-state", has_text="ended, to be acknowledged and reset").wait_for(timeout=PATIENCE)
    reset = page.get_by_role("button", name="Reset…")
    assert reset.is_disabled()
    row_of(page, "early").get_by_label("Select this alarm").check()
    assert (reset.is_disabled(), "are acknowledged" in (reset.get_attribute("title") or "")) == (True, True)
    row_of(page, "early").get_by_label("Select this alarm").uncheck()
    act(page, "early", "Acknowledge…", "Acknowledge 1 alarm", "seen")
    page.locator("dialog").wait_for(state="detached", timeout=PATIENCE)
    page.locator(".alarm-state", has_text="ended and acknowledged, to be reset").wait_for(timeout=PATIENCE)
    other.locator(".alarm-state", has_text="beendet und quittiert, zurückzusetzen").wait_for(timeout=PATIENCE)
    assert "Acknowledged by local" in row_of(page, "early").locator(".alarm-note").inner_text()
    for alarm in ("early", "few"):
        row_of(page, alarm).get_by_label("Select this alarm").check()
    assert reset.is_disabled()
    row_of(page, "few").get_by_label("Select this alarm").uncheck()
    row_of(page, "early").get_by_label("Select this alarm").uncheck()
    assert severe_findings(page) == []
    act(page, "early", "Reset…", "Reset 1 alarm", HOSTILE)
    for shown in (page, other):
        row_of(shown, "early").wait_for(state="detached", timeout=PATIENCE)
    assert "early" not in commanded.alarms() or commanded.alarms()["early"][0] == "normal"
    assert actions(commanded, "early") == ["acknowledge", "reset"]
    assert wait_for(lineside("audit", "verify", str(commanded.config))).code == 0


def test_the_tile_of_a_machine_has_its_alarms_at_once_after_a_restart_of_the_page(commanded: Plant, visit: Open):
    """The broker retains the states, so no event has to come; a shelved alarm is left out."""
    commanded.renew()
    starts = len(commanded.page.events("dashboard.listening"))
    wait_for(commanded.page.restart())
    wait_for(commanded.page.logged("dashboard.listening", starts + 1))
    page = visit("/overview")
    badge = page.locator(".alarm-badge", has=page.locator("[data-priority='3']"))
    badge.first.wait_for(timeout=PATIENCE)
    machine = visit(f"/machine/{MACHINE}")
    machine.locator(".standing li", has_text="Only").wait_for(timeout=PATIENCE)
    act(visit("/alarms"), "few", "Shelve…", "Shelve 1 alarm", "spare part")
    badge.first.wait_for(state="detached", timeout=PATIENCE)
    machine.locator(".standing li", has_text="Only").wait_for(state="detached", timeout=PATIENCE)


def test_an_alarm_that_only_the_device_has_keeps_its_note(commanded: Plant, visit: Open):
    """And the page says which of two is which."""
    event = {"id": "1", "type": "AlarmType", "source": "Boiler", "condition": "Level", "severity": 700,
             "message": "high", "active": True, "acknowledged": False}  # fmt: skip
    at = time.time_ns() // 1000
    record = {"v": 1, "gateway": "edge-02", "spool": "by-hand", "seq": 1,
              "scans": [{"t": at, "values": {"events": json.dumps(event)}}]}  # fmt: skip

    async def publish() -> None:
        async with aiomqtt.Client(LOOPBACK, commanded.broker.port) as client:
            await client.publish(f"lineside/v1/{MACHINE}/event", json.dumps(record), qos=1)

    commanded.renew()
    page = visit("/alarms?priorities=1,2,3")
    row_of(page, "few").wait_for(timeout=PATIENCE)
    wait_for(publish())
    row_of(page, "Level").wait_for(timeout=PATIENCE)
    page.get_by_label("Select all shown alarms").check()
    page.get_by_role("button", name="Acknowledge…").click()
    text = page.locator("dialog").inner_text()
    assert "1 alarm is changed at its gateway" in text
    assert "1 alarm gets a note on this page alone" in text
    page.locator("dialog").get_by_role("button", name="Acknowledge 2 alarms").click()
    page.locator(".alarm-note", has_text="Noted as acknowledged by local").wait_for(timeout=PATIENCE)
    page.locator(".alarm-note", has_text="Acknowledged by local").first.wait_for(timeout=PATIENCE)
    assert "Level" not in commanded.alarms()


def test_an_operator_gives_the_reason_of_a_stop_with_the_keyboard(commanded: Plant, visit: Open):
    """Stops without a reason come first; the gateway keeps the reason, and reports use it."""
    page = visit("/production")
    first = page.locator(".stop-table tbody tr[data-wanted=yes]").first
    first.wait_for(timeout=2 * PATIENCE)
    assert "no reason" in first.inner_text()
    key = first.get_attribute("data-key")
    assert severe_findings(page) == []
    first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    choice = dialog.locator("select")
    assert choice.locator("option").all_inner_texts() == ["choose…", "bladder", "<b>no material</b>"]
    assert severe_findings(page) == []
    choice.select_option("<b>no material</b>")
    dialog.get_by_label("Comment").fill(HOSTILE)
    dialog.get_by_role("button", name="Give the reason", exact=True).focus()
    page.keyboard.press("Enter")
    row = page.locator(f".stop-table tbody tr[data-key='{key}']")
    row.locator(".stop-reason", has_text="<b>no material</b>").wait_for(timeout=PATIENCE)
    assert page.evaluate("() => document.activeElement.textContent") == "Change…"
    deadline = time.monotonic() + 60
    given: list[str] = []
    while not given and time.monotonic() < deadline:
        found = commanded.document("oee", "show", str(commanded.config), "--shift", "current", "--stops")
        given = [one["given"] for one in found["stops"] if one["given"]]
        if not given:
            time.sleep(0.5)  # each look is a process
    assert given == ["<b>no material</b>"]


def test_the_views_speak_german_and_chinese(visit: Open):
    """And fit a tablet."""
    for locale, title in (("de-DE", "Stillstände der Schicht"), ("zh-CN", "本班停机")):
        page = visit("/production", locale=locale, viewport={"width": 768, "height": 1024})
        page.locator(".stops h2", has_text=title).wait_for(timeout=PATIENCE)
        page.locator(".stop-table tbody tr").first.wait_for(timeout=PATIENCE)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_a_gateway_that_does_not_answer_is_said(commanded: Plant, visit: Open):
    """Whether it was done is not known then."""
    commanded.renew()
    page = visit("/alarms")
    row_of(page, "few").wait_for(timeout=PATIENCE)
    stops = visit("/production")
    stops.locator(".stop-table tbody tr[data-wanted=yes]").first.wait_for(timeout=2 * PATIENCE)
    commanded.gateway.kill()
    act(page, "few", "Shelve…", "Shelve 1 alarm", "nobody is there")
    stops.locator(".stop-table tbody tr[data-wanted=yes]").first.get_by_role("button").click()
    dialog = stops.locator("dialog")
    dialog.locator("select").select_option("bladder")
    dialog.get_by_role("button", name="Give the reason", exact=True).click()
    silent = "The gateway does not answer within 3 s"  # to both, which wait at the same time
    for shown in (page, stops):
        shown.locator("dialog .problem", has_text=silent).wait_for(timeout=PATIENCE)
    wait_for(commanded.gateway.restart())
