"""The feeds of the page, and the WebSocket that carries them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from dashboard_plant import POINTS, PRESS, SECOND, T0, FedPlant, plants
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from gateway.dashboard import feeds, socket
from gateway.dashboard.app import Page
from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.feeds.machine import MAX_SHOWN, MAX_VISIBLE, MachineFeed
from gateway.dashboard.feeds.overview import OverviewFeed
from gateway.dashboard.live.alarms import Alarm
from gateway.model.reading import NamedScan
from gateway.mqtt.session import LinkStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

MIXER = PRESS._replace(area="mixing", line="mixing", machine="mixer-01")


@pytest.fixture
def fed() -> FedPlant:
    found = FedPlant()
    for path in (MIXER, PRESS):
        found.meta(path)
        found.state("online", path)
    found.connection_changed(LinkStatus(connected=True, since=T0, broker="mqtt://127.0.0.1:1"))
    return found


def opened(kind: type[Feed], fed: FedPlant, **arguments: Any) -> Feed:
    feed = kind(plants(fed))
    feed.choose(arguments)
    return feed


# -- overview --


def test_the_overview_has_all_machines_at_first_and_then_those_that_change(fed: FedPlant):
    feed = opened(OverviewFeed, fed)
    first = feed.changes()
    assert [row["path"] for row in first["machines"]] == [str(MIXER), str(PRESS)]
    assert first["brokers"] == [
        {"broker": "mqtt://127.0.0.1:1", "connected": True, "since": T0, "error": "", "denied": []}
    ]
    assert feed.changes() is None
    fed.state("offline", reason="no_response", since=T0 + 5)
    [row] = feed.changes()["changed"]
    assert (row["path"], row["state"], row["reason"], row["since"]) == (str(PRESS), "offline", "no_response", T0 + 5)


def test_a_row_names_the_state_of_production_counters_part_and_bad_points(fed: FedPlant):
    fed.values(T0, state=6, good_count=7, serial_number="SN-1")
    fed.scan(NamedScan(T0, {}, {"pressure": "refused"}))
    [_, row] = opened(OverviewFeed, fed).changes()["machines"]
    expected = {"production": "execute", "kind": "producing", "production_since": T0, "good": 7, "serial": "SN-1"}
    assert row.items() >= (expected | {"bad": 1, "points": len(POINTS)}).items()


def test_a_new_machine_sends_all_rows_with_their_timelines(fed: FedPlant):
    now = time.time_ns() // 1000
    fed.values(now - 3600 * SECOND, state=4)
    fed.values(now - 600 * SECOND, state=6)
    feed = opened(OverviewFeed, fed, strip=60)
    assert feed.changes()["machines"][1]["strip"] == [[now - 600 * SECOND, "execute", "producing"]]
    fed.state("online", PRESS._replace(machine="press-02"))
    assert len(feed.changes()["machines"]) == 3


def test_the_overview_of_a_line_has_its_machines_alone(fed: FedPlant):
    feed = opened(OverviewFeed, fed, path="acme/north/mixing/mixing")
    assert [row["path"] for row in feed.changes()["machines"]] == [str(MIXER)]
    fed.state("degraded")
    assert feed.changes() is None


def test_machines_of_a_gateway_that_is_gone_are_not_shown_as_running(fed: FedPlant):
    """The machine's own state is then the last that its gateway saw."""
    fed.gateway("offline", reason="connection lost", since=T0 + 9)
    row = opened(OverviewFeed, fed).changes()["machines"][0]
    assert (row["state"], row["reason"], row["since"]) == ("no gateway", "connection lost", T0 + 9)


def test_a_row_that_pages_share_shows_every_change(fed: FedPlant):
    """Also those without a new version of the machine: a later `since`, the gateway, an alarm."""
    feed, other = opened(OverviewFeed, fed), opened(OverviewFeed, fed)
    assert feed.changes()["machines"] == other.changes()["machines"]
    fed.state("online", since=T0 + 7)
    assert [row["since"] for row in feed.changes()["changed"]] == [T0 + 7]
    fed.gateway("offline", reason="connection lost", since=T0 + 9)
    assert {row["state"] for row in feed.changes()["changed"]} == {"no gateway"}
    fed.gateway("online", since=T0 + 12)
    assert {row["state"] for row in feed.changes()["changed"]} == {"online"}
    standing = Alarm(
        PRESS, "k", "door", "open", 900, "Door open", active=True, acknowledged=False, since=T0, time=T0
    )  # fmt: skip
    fed.alarms.take_stored([standing])
    assert [row["alarm"] for row in feed.changes()["changed"]] == ["Door open"]
    assert [row["path"] for row in other.changes()["changed"]] == [str(PRESS)]


@pytest.mark.parametrize("arguments", [{"path": 7}, {"strip": "long"}, {"path": ["a"]}])
def test_wrong_arguments_of_the_overview_are_refused(fed: FedPlant, arguments: dict[str, Any]):
    with pytest.raises(BadArguments):
        opened(OverviewFeed, fed, **arguments)


# -- machine --


def test_a_machine_sends_its_points_once_and_the_readings_of_visible_points(fed: FedPlant):
    fed.values(T0, state=6, pressure=16.02)
    feed = opened(MachineFeed, fed, path=str(PRESS), visible=[1])
    first = feed.changes()
    assert first["points"][1] == {
        "name": "pressure", "type": "float", "unit": "bar", "description": "Bladder", "every": 1.0,
        "quiet": 0.0, "range": (0.0, 30.0),
    }  # fmt: skip
    assert first["roles"] == {"state": 0, "good": 2, "serial": 3}
    assert first["readings"] == [[1, 16.02, T0, 1]]
    assert first["trails"] == {1: [T0, [0], [16.02]]}
    fed.values(T0 + SECOND, good_count=4)
    changes = feed.changes()
    assert "readings" not in changes, "the point is not visible"
    feed.choose({"path": str(PRESS), "visible": [1, 2]})
    assert feed.changes()["readings"] == [[2, 4, T0 + SECOND, 1]]
    assert feed.changes() is None


def test_a_bad_reading_is_sent_without_a_value_and_with_its_reason(fed: FedPlant):
    fed.values(T0, pressure=16.0)
    fed.scan(NamedScan(T0 + 1, {}, {"pressure": "refused"}, codes={"pressure": "2"}))
    feed = opened(MachineFeed, fed, path=str(PRESS), visible=[1])
    assert feed.changes()["readings"] == [[1, None, T0 + 1, 3, "refused", "2"]]


def test_a_text_of_a_megabyte_is_cut(fed: FedPlant):
    fed.values(T0, serial_number="<script>" * 200)
    feed = opened(MachineFeed, fed, path=str(PRESS), visible=[3])
    [[_, value, *_]] = feed.changes()["readings"]
    assert len(value) == MAX_SHOWN + 1
    assert value.endswith("…")


def test_an_unknown_machine_is_said_once_and_shown_when_it_comes(fed: FedPlant):
    other = PRESS._replace(machine="press-99")
    feed = opened(MachineFeed, fed, path=str(other))
    assert feed.changes() == {"missing": True}
    assert feed.changes() is None
    fed.meta(other)
    assert feed.changes()["machine"]["path"] == str(other)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"path": "a/b"}, {"path": 5}, {"path": str(PRESS), "visible": [True]}, {"path": str(PRESS), "visible": "1"},
     {"path": str(PRESS), "visible": list(range(MAX_VISIBLE + 1))}],
)  # fmt: skip
def test_wrong_arguments_of_a_machine_are_refused(fed: FedPlant, arguments: dict[str, Any]):
    with pytest.raises(BadArguments):
        opened(MachineFeed, fed, **arguments)


# -- the WebSocket --


@pytest.fixture
def client(fed: FedPlant) -> Iterator[TestClient]:
    with TestClient(Page(plants(fed), {"time_zone": "Europe/Berlin", "language": ""}).app()) as found:
        yield found


def feeds_of(connection: Any) -> dict[int, Any]:
    """Return the next message that has changes, by the numbers of the feeds."""
    while True:
        message = orjson.loads(connection.receive_text())
        assert abs(message["now"] - time.time_ns() // 1000) < 60 * SECOND
        if message["feeds"]:
            return dict(message["feeds"])


def test_a_page_gets_one_message_for_all_that_changed(client: TestClient, fed: FedPlant):
    with client.websocket_connect("/api/live") as page:
        page.send_json({"open": 1, "feed": "overview"})
        page.send_json({"open": 2, "feed": "machine", "arguments": {"path": str(PRESS), "visible": [1]}})
        found = feeds_of(page)
        while len(found) < 2:
            found |= feeds_of(page)
        assert found.keys() == {1, 2}
        page.send_json({"close": 1})
        fed.values(T0 + 5, pressure=9.0)
        assert feeds_of(page)[2]["readings"] == [[1, 9.0, T0 + 5, 1]]


@pytest.mark.parametrize(
    "request_", ["[]", "{", "{}", '{"open": "a"}', '{"open": 1, "feed": "secrets"}', '{"set": 1, "arguments": 7}',
                 '{"open": 1, "feed": ["overview"]}', '{"open": true, "feed": "overview"}', "x" * 70_000]
)  # fmt: skip
def test_a_page_that_sends_anything_else_is_closed(client: TestClient, request_: str):
    from starlette.websockets import WebSocketDisconnect

    with client.websocket_connect("/api/live") as page:
        page.send_text(request_)
        with pytest.raises(WebSocketDisconnect) as closed:
            feeds_of(page)
    assert closed.value.code == socket.BAD_REQUEST


def test_arguments_that_do_not_fit_close_one_feed_alone(client: TestClient):
    with client.websocket_connect("/api/live") as page:
        page.send_json({"open": 1, "feed": "machine", "arguments": {"path": "nowhere"}})
        while "error" not in (said := orjson.loads(page.receive_text())):
            pass
        assert said == {"error": "path is enterprise/site/area/line/machine", "feed": 1}
        page.send_json({"open": 2, "feed": "overview"})
        assert 2 in feeds_of(page)


def test_feeds_of_a_page_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    from starlette.websockets import WebSocketDisconnect

    monkeypatch.setattr(socket, "MAX_FEEDS", 2)
    with client.websocket_connect("/api/live") as page:
        for number in range(3):
            page.send_json({"open": number, "feed": "overview"})
        with pytest.raises(WebSocketDisconnect):
            list(iter(lambda: feeds_of(page), None))


def test_a_feed_with_a_defect_costs_its_view_alone(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    class Broken(OverviewFeed):
        def changes(self) -> Any:
            raise RuntimeError("a defect")

    monkeypatch.setitem(feeds.FEEDS, "broken", Broken)
    with client.websocket_connect("/api/live") as page:
        page.send_json({"open": 1, "feed": "broken"})
        page.send_json({"open": 2, "feed": "overview"})
        found = feeds_of(page)
        while len(found) < 2:
            found |= feeds_of(page)
        assert found[1] == {"failed": True}
        assert "machines" in found[2]


async def test_a_page_that_does_not_read_gets_fewer_messages_and_nothing_queues(fed: FedPlant):
    """A tablet behind a bad radio link must not fill the memory of the server."""

    class Slow(HTTPConnection):
        """A WebSocket whose page takes one message and then none."""

        sent: list[str] = []
        asked, free, more = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def accept(self) -> None: ...

        async def receive_text(self) -> str:
            if not self.asked.is_set():
                self.asked.set()
                return orjson.dumps(
                    {"open": 1, "feed": "machine", "arguments": {"path": str(PRESS), "visible": [1]}}
                ).decode()
            await asyncio.Event().wait()
            raise AssertionError

        async def send_text(self, text: str) -> None:
            self.sent.append(text)
            self.more.set()
            await self.free.wait()

        async def has(self, number: int) -> None:
            while len(self.sent) < number:
                self.more.clear()
                await self.more.wait()

    page = Slow({"type": "websocket", "query_string": b"", "headers": []})
    running = asyncio.create_task(socket.PageConnection(page, plants(fed)).run())  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        await page.has(1)
        for number in range(1000):
            fed.values(T0 + number, pressure=float(number))
        await asyncio.sleep(3 * socket.TICK)
        assert len(page.sent) == 1
        page.free.set()
        await page.has(2)
    assert orjson.loads(page.sent[1])["feeds"][0][1]["readings"] == [[1, 999.0, T0 + 999, 1]]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# -- the routes --


def test_every_address_of_a_view_gives_the_page(client: TestClient):
    for path in ("/", "/overview", "/machine/acme/north/a/b/c", "/trends?point=x"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert '<div id="page">' in answer.text
        assert answer.headers["cache-control"] == "no-cache"


def test_files_of_the_page_are_served_and_nothing_else(client: TestClient):
    assert client.get("/static/js/main.js").headers["content-type"].startswith("text/javascript")
    for path in ("/static/../app.py", "/static/..%2fapp.py", "/api/nothing", "/favicon.ico", "/static/js/none.js"):
        assert client.get(path).status_code == 404, path


def test_the_settings_and_texts_of_the_page(client: TestClient):
    settings = client.get("/api/settings").json()
    assert settings["time_zone"] == "Europe/Berlin"
    assert settings["languages"] == ["en", "de", "zh"]
    assert client.get("/api/texts/en").json() == {}
    assert client.get("/api/texts/xx").status_code == 404
