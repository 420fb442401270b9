"""`lineside dashboard` as a service: a guest of the plant, with clear messages."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from page_link import cookie_of, link_of, start_page
from page_plant import PRESS_1, SITE, PlantWithPage
from processes import LOOPBACK, PATIENCE, Lineside, free_port, lineside, until, write_factory
from secured_page import HASH
from websockets.asyncio.client import connect

from gateway.dashboard.security.link import links_in
from gateway.users.roles import Role
from gateway.users.users_file import changing, new_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


LINES = {"line": {"area": "area", "machines": {
    "m-01": {"template": "internal-mixer", "connection": "modbus+tcp://127.0.0.1:1?unit=1"},
}}}  # fmt: skip
"""A line whose only machine does not answer."""


SCANNED, BUSY = 10, 3
"""Seconds of scans of three machines, and the scans that a busy machine may miss without any page."""


@pytest.fixture
def plant(tmp_path: Path) -> PlantWithPage:
    return PlantWithPage.start(tmp_path)


async def seen(url: str, right: Callable[[dict[str, Any]], bool], **feeds: dict[str, Any]) -> dict[str, Any]:
    """Open feeds of a page until a message is right, and return it: the changes of feeds by their names."""
    session = {"Cookie": await asyncio.to_thread(cookie_of, url)}
    live = connect(url.replace("http", "ws") + "/api/live", max_size=None, additional_headers=session)
    async with live as page, asyncio.timeout(PATIENCE):
        names = list(feeds)
        for number, name in enumerate(names):
            await page.send(json.dumps({"open": number, "feed": name, "arguments": feeds[name]}))
        async for message in page:
            found = {names[number]: content for number, content in json.loads(message)["feeds"]}
            if right(found):
                return found
    raise AssertionError("the page was closed")


def rows_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the machines of a message of the overview."""
    rows: list[dict[str, Any]] = message.get("overview", {}).get("machines", [])
    return rows


def brokers_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the brokers of a message of the overview."""
    brokers: list[dict[str, Any]] = message.get("overview", {}).get("brokers", [])
    return brokers


async def schedule(plant: PlantWithPage) -> dict[str, int]:
    """Return the counts of due and missed scans of the gateway, from its status."""
    report = await lineside("status", str(plant.config), "--format", "json")
    return dict(json.loads(report.text)["gateway"]["schedule"])


async def test_a_page_that_is_frozen_flooded_and_killed_costs_no_scan(plant: PlantWithPage):
    """Acquisition is worth more than any picture of it."""
    await seen(plant.url, lambda message: any(row["state"] == "online" for row in rows_of(message)), overview={})
    before = await schedule(plant)
    stored = plant.stored()
    floods = [asyncio.create_task(flood(plant)) for _ in range(20)]
    await asyncio.sleep(2)
    plant.page.signal(signal.SIGSTOP)
    await asyncio.sleep(3)
    plant.page.signal(signal.SIGCONT)
    plant.page.kill()
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)
    after = before
    while after["due"] < before["due"] + 3 * SCANNED:
        await asyncio.sleep(0.5)  # the gateway needs the processor, too
        after = await schedule(plant)
    assert after["missed"] <= before["missed"] + BUSY
    await until(lambda: plant.stored() > stored, "readings are stored")


async def flood(plant: PlantWithPage) -> None:
    """Open feeds and send rubbish as fast as the page allows."""
    session = {"Cookie": await asyncio.to_thread(cookie_of, plant.url)}
    while True:
        with suppress(Exception):
            live = plant.url.replace("http", "ws") + "/api/live"
            async with connect(live, additional_headers=session) as page:
                for number in range(49):
                    await page.send(json.dumps({"open": number, "feed": "overview"}))
                await page.recv()
                await page.send("x" * 60_000)
                await page.recv()
        await asyncio.sleep(0)


async def test_fifty_pages_are_served_at_once(plant: PlantWithPage):
    """A shift change opens the page on every screen of a hall."""

    press = {"path": PRESS_1, "visible": list(range(20))}
    pages = (
        seen(plant.url, lambda message: "readings" in message.get("machine", {}), machine=press) for _ in range(50)
    )
    assert len(await asyncio.gather(*pages)) == 50


async def test_the_page_knows_unchanged_readings_from_the_store(plant: PlantWithPage):
    """A reading that does not change may not be sent for hours."""
    await plant.page.stop()
    again = await plant.serve()
    names: list[str] = []

    def has_the_recipe(message: dict[str, Any]) -> bool:
        found = message.get("machine", {})
        names.extend(point["name"] for point in found.get("points", ()))
        values = {names[at]: value for at, value, *_ in found.get("readings", ())}
        return bool(values.get("recipe"))

    await seen(plant.url, has_the_recipe, machine={"path": PRESS_1, "visible": list(range(30))})
    assert again.running


async def test_an_address_that_is_in_use_is_named(tmp_path: Path):
    config = write_factory(tmp_path / "factory.yaml", broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"}, lines=LINES)
    port = free_port()
    with socket.create_server((LOOPBACK, port)):
        ran = await lineside("dashboard", str(config), "--listen", f"{LOOPBACK}:{port}")
    assert ran.code == 1
    assert f"dashboard.listen {LOOPBACK}:{port}: Address already in use" in ran.error
    assert "Traceback" not in ran.error


async def test_a_page_for_others_needs_a_certificate_and_users(tmp_path: Path):
    """Passwords must not cross the network as readable text, and nobody may look without a name."""
    config = write_factory(tmp_path / "factory.yaml", broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"}, lines=LINES)
    ran = await lineside("dashboard", str(config), "--listen", f"0.0.0.0:{free_port()}")
    assert ran.code == 1
    assert "write tls: {certificate: FILE, key: FILE} under dashboard, or listen at 127.0.0.1" in ran.error
    assert "add a user with lineside users add CONFIG NAME --role admin" in ran.error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Missing argument 'CONFIG...'"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["factory.yaml", "--listen", "nowhere"], "write HOST:PORT"),
    ],
)
async def test_mistakes_of_the_command_line_are_said(tmp_path: Path, arguments: list[str], expected: str):
    write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://localhost"}, lines=LINES)
    ran = await lineside("dashboard", *arguments, folder=tmp_path)
    assert ran.code in {1, 2}
    assert expected in ran.error
    assert "Traceback" not in ran.error


@pytest.mark.parametrize("lines", [{}, {"line-1": {"area": "area", "machines": {}}}], ids=["lines", "machines"])
async def test_a_factory_without_machines_is_refused_with_its_line(tmp_path: Path, lines: dict[str, Any]):
    """An empty page would look like a plant that is down."""
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://localhost"}, lines=lines)
    ran = await lineside("dashboard", str(config))
    assert ran.code == 1
    assert ran.error.startswith(f"{config}:")
    assert "lines" in ran.error.splitlines()[0]
    assert "Traceback" not in ran.error


async def test_a_page_without_broker_and_store_is_served_and_says_so(tmp_path: Path):
    """A shift leader must see that the broker is away, and not a page that does not open."""
    stores = [{"sqlite": {"path": str(tmp_path / "none" / "readings.db")}}]
    broker = {"url": f"mqtt://{LOOPBACK}:{free_port()}"}
    config = write_factory(tmp_path / "factory.yaml", broker=broker, stores=stores, lines=LINES)
    port = free_port()
    page = await start_page(config, f"{LOOPBACK}:{port}")
    url = f"http://{LOOPBACK}:{port}"
    message = await seen(url, lambda found: any(one["since"] for one in brokers_of(found)), overview={})
    [connection] = brokers_of(message)
    assert connection["connected"] is False
    assert "refused" in connection["error"].lower()
    assert all(row["state"] == "unknown" for row in rows_of(message))
    assert await page.stop() == 0


async def test_a_page_without_users_shows_its_link_to_its_own_account_alone(tmp_path: Path):
    """Any account of the box reaches the loopback interface. The log does not get the token."""
    config = write_factory(
        tmp_path / "factory.yaml", broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"}, lines=LINES,
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
    )  # fmt: skip
    show = ("dashboard", str(config), "--link")
    none = await lineside(*show)
    assert (none.code, none.text) == (1, "")
    assert "no page without users runs with" in none.error
    listen = f"{LOOPBACK}:{free_port()}"
    page = await start_page(config, listen)
    link = link_of(f"http://{listen}")
    shown = await lineside(*show)
    assert (shown.code, shown.text) == (0, f"{link}\n")
    [file] = (tmp_path / "spool").glob("*.link")
    assert file.stat().st_mode & 0o777 == 0o600
    async with httpx2.AsyncClient(base_url=f"http://{listen}") as client:
        assert (await client.get("/api/settings")).status_code == 401
        assert (await client.get("/login", params={"token": "x"})).status_code == 401
        found = await client.get(link)
        assert (found.status_code, found.headers["location"]) == (303, "/")
        assert (await client.get("/api/session")).json()["name"] == "local"
    token = link.rpartition("=")[2]
    assert await page.stop() == 0
    audit = b"".join(one.read_bytes() for one in (tmp_path / "spool" / "audit").iterdir())
    assert b'"action":"login"' in audit
    assert token.encode() not in audit
    log = page.log.read_text(encoding="utf-8")
    assert "--link shows the address" in log
    assert token not in log
    assert not file.exists()
    assert (await lineside(*show)).code == 1


async def test_a_terminal_gets_the_link(tmp_path: Path):
    """One click is enough for a first look."""
    config = write_factory(
        tmp_path / "factory.yaml", broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"}, lines=LINES,
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
    )  # fmt: skip
    listen = f"{LOOPBACK}:{free_port()}"
    ours, terminal = os.openpty()
    command = [sys.executable, "-m", "gateway", "dashboard", str(config), "--listen", listen]
    process = await asyncio.create_subprocess_exec(*command, stdout=terminal, stderr=asyncio.subprocess.DEVNULL)
    os.close(terminal)
    try:
        async with asyncio.timeout(PATIENCE):
            text = await asyncio.to_thread(os.read, ours, 10_000)
        [link] = links_in(tmp_path / "spool")
        assert text.decode().strip() == f"page at {link}"
    finally:
        process.terminate()
        await process.wait()
        os.close(ours)


async def test_a_page_locks_out_as_it_is_configured(tmp_path: Path):
    """The number of failures, and the first delay, are rules of the plant."""
    config = write_factory(
        tmp_path / "factory.yaml", broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"}, lines=LINES,
        dashboard={"users": str(tmp_path / "users.yaml"), "lockout": {"failures": 2, "delay": "10m"}},
    )  # fmt: skip
    with changing(tmp_path / "users.yaml") as users:
        users["anna"] = new_user(Role.VIEWER, HASH)
    url = f"http://{LOOPBACK}:{free_port()}"
    page = await Lineside.start("dashboard", config, "--listen", url.removeprefix("http://"))
    await page.logged("dashboard.listening")
    async with httpx2.AsyncClient(base_url=url, headers={"Origin": url}) as client:
        answers = [await client.post("/login", data={"name": "anna", "password": "wrong"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert int(answers[-1].headers["retry-after"]) > 500
    assert await page.stop() == 0


async def test_all_that_a_broker_knows_is_shown_on_request(plant: PlantWithPage, tmp_path: Path):
    """One page for a site whose factories have files of their own."""
    other = tmp_path / "other"
    other.mkdir()
    config = write_factory(other / "factory.yaml", broker={"url": plant.broker.url}, lines=LINES)
    ports = free_port(), free_port()
    alone = await plant.serve(config=config, port=ports[0])
    everything = await plant.serve("--broker", config=config, port=ports[1])
    urls = [f"http://{LOOPBACK}:{port}" for port in ports]
    message = await seen(
        urls[1], lambda found: len(rows_of(found)) == 4 and all(row["points"] for row in rows_of(found)), overview={}
    )
    assert {row["path"] for row in rows_of(message)} >= {PRESS_1, f"{SITE}/mixing/mixing/mixer-01"}
    await seen(urls[0], lambda found: any(one["connected"] for one in brokers_of(found)), overview={})
    message = await seen(urls[0], lambda found: bool(rows_of(found)), overview={})
    assert [row["path"] for row in rows_of(message)] == ["enterprise/site/area/line/m-01"]
    assert alone.running
    assert everything.running
