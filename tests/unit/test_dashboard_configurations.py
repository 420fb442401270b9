"""The configurations that the page shows: as their files are now, in pages, and without a secret."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import write_factory
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from gateway.dashboard.configurations import MAX_ROWS, Configurations, configuration_routes
from gateway.dashboard.plants import Plants
from gateway.mqtt.packets import ReceivedMessage
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.dashboard.configurations import Endpoint

SECRETS = {"broker_password": "Tr0ub4dor&3", "influx_token": "x7-Token-of-influx", "opcua_user": "hunter2-of-press"}
NOTED = "letmein99"
BELOW = "/api/configurations"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A factory with a press, a mixer and a device of the network, whose secrets are in the environment."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"LINESIDE_SECRET_{name.upper()}", value)
    # a password in a place where none belongs
    noted = {"bladder_pressure_left": {"description": f"login of the panel: password={NOTED}"}}
    press = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1502?unit=1", "points": noted}
    mixer = {"template": "internal-mixer", "connection": "modbus+tcp://10.0.0.7:502?unit=1"}
    tester = {
        "template": "xray-machine",
        "connection": {
            "url": "opc.tcp://127.0.0.1:4840", "security": "none", "namespace": "urn:acme:xray", "username": "reader",
            "password": {"secret": "opcua_user"},
        },
    }  # fmt: skip
    write_factory(
        tmp_path / "f.yaml",
        factory={"enterprise": "acme", "site": "north"},
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1883", "username": "edge", "password": {"secret": "broker_password"}},
        stores=[
            {
                "influxdb": {
                    "url": "http://127.0.0.1:8086",
                    "org": "o",
                    "bucket": "b",
                    "token": {"secret": "influx_token"},
                }
            }
        ],
        lines={"l1": {"area": "a1", "machines": {"press-01": press, "mixer-01": mixer, "xray-01": tester}}},
    )
    return tmp_path / "f.yaml"


@pytest.fixture
def open_view() -> Callable[..., TestClient]:
    """A function that returns a client of the routes for configurations."""

    def opened(*files: Path, everything: bool = False) -> TestClient:
        plants = Plants([load_factory(one) for one in files], everything=everything)
        routes = configuration_routes(Configurations(plants, everything=everything), lambda endpoint: endpoint)
        client = TestClient(Starlette(routes=routes))
        client.plants = plants
        return client

    return opened


def summary(client: TestClient) -> dict[str, Any]:
    [found] = client.get(BELOW).json()["configurations"]
    return found


def test_a_configuration_is_shown_with_its_machines_plan_and_sections(
    file: Path, open_view: Callable[..., TestClient]
):
    """The results of `show`, `plan` and `validate` are seen without a shell on the box."""
    found = summary(open_view(file))
    assert (found["site"], found["gateway"], found["machines"], found["connections"]) == (
        "acme/north",
        "edge-01",
        3,
        3,
    )
    assert found["digest"] == found["started_with"] == load_factory(file).digest
    assert (found["errors"], found["kept"], found["local"]) == ([], True, 2)
    sections = dict(found["sections"])
    assert "secret: broker_password" in sections["broker"]
    assert "certificate: null" in sections["broker"]
    assert "key_password" not in sections["dashboard"]
    assert str(file) in [name for name, _ in found["files"]]
    assert any(name.endswith("curing-press.yaml") for name, _ in found["files"])


def test_points_come_in_pages_and_a_search_takes_words_of_machine_and_point(
    file: Path, open_view: Callable[..., TestClient]
):
    """A reader looks for the pressures of one press."""
    client = open_view(file)
    whole = client.get(f"{BELOW}/0/points", params={"limit": 5}).json()
    assert len(whole["rows"]) == 5
    assert whole["total"] == summary(client)["points"]
    second = client.get(f"{BELOW}/0/points", params={"offset": 5, "limit": 3}).json()
    assert second["rows"] == client.get(f"{BELOW}/0/points", params={"limit": 8}).json()["rows"][5:]
    found = client.get(f"{BELOW}/0/points", params={"search": "PRESS-01 bladder bar"}).json()
    assert 0 < found["total"] < whole["total"]
    for path, template, name, type_, unit, every, source, _ in found["rows"]:
        assert (path, template, type_, unit) == ("acme/north/a1/l1/press-01", "curing-press", "float", "bar")
        assert "bladder" in name
        assert every.endswith("s")
        assert "address" in source
    assert client.get(f"{BELOW}/0/points", params={"search": "no such point"}).json()["rows"] == []


def test_connections_show_load_machines_and_what_a_simulator_serves(file: Path, open_view: Callable[..., TestClient]):
    """An address of this machine is that of simulated machines; a device of the network has none."""
    client = open_view(file)
    rows = client.get(f"{BELOW}/0/connections").json()["rows"]
    assert [row["served"] for row in rows] == [
        [["curing-press", "model", 1]], None, [["xray-machine", "model", 1]],
    ]  # fmt: skip
    assert 0 < rows[0]["load"] < 1
    assert rows[0]["machines"] == ["acme/north/a1/l1/press-01"]
    assert client.get(f"{BELOW}/0/connections", params={"search": "mixer"}).json()["total"] == 1
    plan = client.get(f"{BELOW}/0/connections/0").json()
    assert sum(group["requests"] for group in plan["groups"]) > 0
    assert plan["groups"][0]["details"]


def test_no_secret_reaches_the_page(file: Path, open_view: Callable[..., TestClient]):
    """Neither one that the configuration names, nor a text in the form of a password."""
    client = open_view(file)
    answers = [client.get(BELOW)]
    answers += [client.get(f"{BELOW}/0/{name}") for name in ("points", "connections")]
    answers += [client.get(f"{BELOW}/0/connections/{index}") for index in range(3)]
    everything = "".join(answer.text for answer in answers)
    assert all(name in everything for name in ("broker_password", "influx_token", "login of the panel"))
    assert [secret for secret in (*SECRETS.values(), NOTED) if secret in everything] == []


@pytest.mark.slow
def test_a_changed_file_is_read_again_and_a_broken_one_is_said_with_its_messages(
    file: Path, open_view: Callable[..., TestClient]
):
    """The page then shows what it was given, and where the mistake is."""
    client = open_view(file)
    before = summary(client)
    text = file.read_text()
    file.write_text(text.replace("edge-01", "edge-02"))
    changed = summary(client)
    assert (changed["gateway"], changed["started_with"]) == ("edge-02", before["digest"])
    assert changed["digest"] != before["digest"]
    file.write_text(text.replace("curing-press", "curing-pres"))
    broken = summary(client)
    assert broken["gateway"] == "edge-01"
    [error] = broken["errors"]
    assert "did you mean 'curing-press'" in error["text"]
    assert (error["file"], error["line"] > 1) == (str(file), True)
    file.unlink()
    assert [error["file"] for error in summary(client)["errors"]] == [str(file)]
    file.write_text(text)
    assert summary(client)["errors"] == []


def test_a_gateway_without_a_configuration_here_is_named(file: Path, open_view: Callable[..., TestClient]):
    """With `--broker` the page shows gateways whose files are on other boxes."""
    client = open_view(file, everything=True)
    for name in ("edge-01", "edge-09"):
        payload = b'{"state": "online", "instance": "a", "config": "0123456789ab"}'
        client.plants.plants[0].take(ReceivedMessage(f"lineside/v1/acme/north/_gateways/{name}/state", payload))
    found = client.get(BELOW).json()
    assert (found["everything"], found["others"]) == (True, ["acme/north/edge-09"])
    assert found["configurations"][0]["running"] == "0123456789ab"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("7/points", 404), ("0/connections/99", 404), ("7/connections/0", 404), ("0/points?offset=-1", 400),
        ("0/points?limit=x", 400), ("0/points?offset=99999999999999999999", 400), ("0/points?limit=\u0663", 400),
    ],
)  # fmt: skip
def test_an_address_that_does_not_fit_is_refused(
    file: Path, open_view: Callable[..., TestClient], path: str, status: int
):
    """Anybody may type one."""
    answer = open_view(file).get(f"{BELOW}/{path}")
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_a_page_has_no_more_rows_than_a_reader_sees(file: Path, open_view: Callable[..., TestClient]):
    """A request for all points would hold up the page of everybody."""
    found = open_view(file).get(f"{BELOW}/0/points", params={"limit": 10**8, "search": "x" * 10_000}).json()
    assert len(found["rows"]) <= MAX_ROWS


def test_a_guard_keeps_every_route_from_others(file: Path):
    """Only engineers see addresses and settings."""

    def nobody(endpoint: Endpoint) -> Endpoint:
        del endpoint

        async def refused(request: Request) -> Response:
            return JSONResponse({"error": f"{request.url.path} needs the role engineer"}, 403)

        return refused

    routes = configuration_routes(Configurations(Plants([load_factory(file)])), nobody)
    client = TestClient(Starlette(routes=routes))
    paths = ["", "/0/points", "/0/connections", "/0/connections/0"]
    assert len(paths) == len(routes)
    assert {client.get(f"{BELOW}{path}").status_code for path in paths} == {403}


@pytest.mark.slow
async def test_ten_thousand_points_are_read_beside_the_event_loop_and_searched_quickly(tmp_path: Path):
    """The page goes on while a large factory is read."""
    machines = {
        f"press-{number:03}": {
            "template": "curing-press",
            "connection": f"modbus+tcp://10.0.{number // 200}.{number % 200 + 1}:502",
        }
        for number in range(250)
    }
    write_factory(
        tmp_path / "f.yaml",
        factory={"enterprise": "acme", "site": "north"},
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path)}},
        broker={"url": "mqtt://127.0.0.1:1883"},
        lines={"l1": {"area": "a1", "machines": machines}},
    )
    configurations = Configurations(Plants([await asyncio.to_thread(load_factory, tmp_path / "f.yaml")]))
    [found] = (await configurations.summaries())["configurations"]
    assert found["points"] > 5_000
    began = time.process_time()
    page = await configurations.points(0, "press-249 pressure", 0, 50)
    assert time.process_time() - began < 1.0
    assert page["total"] > 0
    assert {row[0] for row in page["rows"]} == {"acme/north/a1/l1/press-249"}
