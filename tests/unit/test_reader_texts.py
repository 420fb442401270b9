"""Errors of the server in the reader's language."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from live_plant import machine_path, write_live_plant
from secured_page import ORIGIN, serving
from starlette.testclient import TestClient
from trend_plant import ask, write_plant

from gateway.dashboard.actions import Actors
from gateway.dashboard.alarms.routes import AlarmRoutes
from gateway.dashboard.app import Page
from gateway.dashboard.plants import Plants
from gateway.dashboard.stored import Stored
from gateway.dashboard.texts import LANGUAGES, catalogue
from gateway.dashboard.texts.language import accepted_language
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.routes import Trends

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHERS = [one for one in LANGUAGES if one != "en"]

HAN = re.compile(r"[\u4e00-\u9fff]")


def is_of(language: str, text: str) -> bool:
    """Return whether a text is in a language: in the catalogue, with its values filled in."""
    patterns = [re.escape(one) for one in catalogue(language).values() if isinstance(one, str)]
    filled = "|".join(re.sub(r"\\{\w+\\}", ".*", one) for one in patterns)
    return re.fullmatch(filled, text, re.DOTALL) is not None and (language != "zh" or HAN.search(text) is not None)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A page with one plant, as a program uses it."""
    factory = write_live_plant(
        tmp_path, {"curing/curing-1/press-01": ("modbus", {"state": {"address": "holding 0"}})}
    )
    plants = Plants([factory])
    routes = AlarmRoutes(plants, Stored([]), Actors(lambda *_: "anna", lambda *_: None)).routes()
    with TestClient(Page(plants, {}).app(routes)) as client:
        yield client


NOTE: dict[str, Any] = {
    "action": "shelve", "alarms": [{"path": str(machine_path("curing/curing-1/press-01")), "key": "k"}],
}  # fmt: skip

WRONG_NOTES: list[dict[str, Any]] = [
    {"action": "stop"}, {"action": 1}, {"minutes": 0}, {"minutes": 10**9}, {"minutes": "x"}, {"alarms": []},
    {"alarms": [NOTE["alarms"][0]] * 1001}, {"alarms": 1}, {"comment": "x" * 501}, {"comment": 1}, {"extra": 1},
    {"alarms": [{"path": "a/b", "key": "k"}]}, {"alarms": [{"path": "a/b/c/d/e"}]}, {"alarms": [1]},
]  # fmt: skip
"""Changes of a request that make it wrong, one for each check of its model."""


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("change", WRONG_NOTES, ids=str)
def test_a_wrong_request_of_an_operator_is_explained_in_the_operators_language(
    client: TestClient, change: dict[str, Any], language: str
):
    """A comment that is too long, for example, is corrected by a person."""
    answer = client.post("/api/alarms/notes", json=NOTE | change, headers={"Accept-Language": language})
    assert (answer.status_code, answer.json()["kind"]) == (400, "bad_request")
    assert is_of(language, answer.json()["error"]), answer.json()["error"]
    english = client.post("/api/alarms/notes", json=NOTE | change).json()["error"]
    assert english != answer.json()["error"]


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/static/nothing.js", 404),
        ("POST", "/api/alarms/history", 405),
        ("GET", "/api/texts/xx", 404),
        ("GET", "/api/alarms/history?from=yesterday", 400),
        ("GET", "/api/alarms/history?from=-1h&priorities=x", 400),
        ("GET", "/api/alarms/history?from=-1h&limit=x", 400),
        ("POST", "/api/alarms/notes", 400),
    ],
)
def test_an_error_of_a_route_is_in_the_language_of_the_request(
    client: TestClient, method: str, path: str, status: int, language: str
):
    """Also those of the web framework, which would be English and no JSON."""
    answer = client.request(method, path, headers={"Accept-Language": language})
    assert answer.status_code == status
    assert is_of(language, answer.json()["error"]), answer.json()["error"]


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/api/who", {}, 401),
        ("POST", "/login", {"content": "x"}, 400),
        ("POST", "/login", {"json": {"name": "anna", "password": "wrong"}}, 401),
        ("GET", "/login/oidc", {}, 404),
        ("POST", "/api/act", {"headers": {"Origin": "https://evil.example"}}, 403),
        ("GET", "/api/who", {"headers": {"Host": "evil.example"}}, 421),
        ("GET", "/api/who", {"headers": {"X": "x" * 20_000}}, 431),
        ("POST", "/login", {"content": b"x" * (2**20 + 1)}, 413),
        ("GET", f"/{'x' * 9000}", {}, 414),
    ],
)
def test_the_gate_refuses_in_the_language_of_the_request(
    tmp_path: Path, method: str, path: str, options: dict[str, Any], status: int, language: str
):
    """Somebody who can't sign in has to know why."""
    headers = ORIGIN | {"Accept-Language": language} | options.get("headers", {})
    with serving(tmp_path) as page:
        answer = page.client().request(method, path, **options | {"headers": headers})
    assert answer.status_code == status
    assert is_of(language, answer.json()["error"]), answer.json()["error"]


@pytest.mark.parametrize("language", OTHERS)
def test_a_role_that_is_too_low_is_said_in_the_language_of_the_user(tmp_path: Path, language: str):
    with serving(tmp_path) as page:
        client, headers = page.signed_in("victor")
        named = {"Accept-Language": f"fr, {language};q=0.5"}
        refused = client.post("/api/act", headers=headers | named)
        no_token = client.post("/api/act", headers=ORIGIN | named)
    assert (refused.status_code, no_token.status_code) == (403, 403)
    assert is_of(language, refused.json()["error"])
    assert "acknowledge" in refused.json()["error"]
    assert is_of(language, no_token.json()["error"])


@pytest.mark.parametrize("language", OTHERS)
async def test_a_trend_that_fails_says_why_in_the_language_of_the_link(tmp_path: Path, language: str):
    """A download is a link, which has no headers of the page."""
    trends = Trends([write_plant(tmp_path)])
    point = "acme/north/curing/curing-1/press-01/pressure"
    for path, query in [
        ("/api/trend", {"point": point}),
        ("/api/trend", {"point": "x"}),
        ("/api/trend", {"point": point, "zone": "Mars"}),
        ("/api/bands", {"machine": "x"}),
        ("/api/cycles", {"point": f"{point[:-8]}phase", "value": "x"}),
        ("/api/cycles", {"point": point, "value": "x"}),
        ("/api/export.csv", {"point": point}),
        ("/api/export.csv", {"point": point, "decimal": "x"}),
        ("/api/export.csv", {"point": point, "every": "x"}),
    ]:
        answer = await ask(trends, path, language=language, **query)
        assert answer.status in {400, 503}
        assert is_of(language, answer.json["error"]), answer.json["error"]
    await trends.close()


def test_a_feed_refuses_arguments_in_the_language_of_its_page(client: TestClient):
    """A WebSocket has no headers of the page either."""
    with client.websocket_connect("/api/live?language=de") as socket:
        socket.send_json({"open": 1, "feed": "line", "arguments": {"path": 1}})
        while "error" not in (message := socket.receive_json()):
            pass
    assert message == {"error": catalogue("de")["path is enterprise/site/area/line"], "feed": 1}


def test_values_stay_as_they_are():
    """A value may have braces, and another text among its values is translated too."""
    text = _("{where}: {text}", where="{text}", text=_("{where} is missing", where="key"))
    assert str(text) == "{text}: key is missing"
    assert text.into("de") == "{text}: key fehlt"
    assert text.into("zh") == "{text}\uff1a缺少 key"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("de-AT", "de"), ("fr, zh-CN;q=0.5", "zh"), ("fr", "en"), ("x," * 10_000 + "de", "en")],
)
def test_the_first_language_that_the_page_has_is_used(accepted: str, language: str):
    assert accepted_language(accepted) == language
