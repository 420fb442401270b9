"""The gate of the page: sign-in, sessions, roles, and what it refuses."""

from __future__ import annotations

import json
import re
import stat
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from secured_page import HASH, LIVE, ORIGIN, PASSWORD, QUICK, Page, serving
from starlette.websockets import WebSocketDisconnect
from structlog.testing import capture_logs

from gateway.audit.files import log_files
from gateway.audit.verify import verify
from gateway.dashboard.security import gate
from gateway.dashboard.security import sessions as sessions_module
from gateway.dashboard.security.headers import POLICY
from gateway.dashboard.security.link import Link, link_file, links_in, make_link
from gateway.dashboard.security.login import local_path
from gateway.dashboard.security.login_page import PROBLEMS, login_page
from gateway.dashboard.security.origin import Hosts, is_same_origin
from gateway.dashboard.security.sessions import MOST_OF_USER, Sessions, is_same
from gateway.settings.dashboard_section import DashboardSection, Language
from gateway.users.role_changes import remove_role, set_role
from gateway.users.roles import Identity, Permission, Role
from gateway.users.users_file import Users, changing, new_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with serving(tmp_path) as page:
        yield page


# -- without users --


LOCAL = "http://localhost:8080"


def test_a_page_without_users_needs_its_link(tmp_path: Path) -> None:
    """Each account of the box reaches the loopback interface; the link is for that of the page."""
    with serving(tmp_path, users=False) as page, capture_logs() as logs:
        client = page.client(LOCAL)
        assert client.get("/api/who").status_code == 401
        assert client.get("/").headers["location"] == "/login?next=%2F"
        assert "lineside dashboard CONFIG --link" in client.get("/login").text
        assert "password" not in client.get("/login").text
        refused = client.get("/login", params={"token": page.link.token[:-1] + "*"})
        assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
        assert "The link does not count any more" in refused.text
        found = client.get("/login", params={"token": page.link.token, "next": "/alarms"})
        assert (found.status_code, found.headers["location"]) == (303, "/alarms")
        assert found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["cache-control"] == "no-store"
        session = client.get("/api/session").json()
        assert (session["name"], session["role"], session["method"]) == ("local", "engineer", "link")
        assert session["expires"] > 0
        token = {"X-CSRF-Token": session["csrf_token"]}
        assert client.post("/api/act", headers=token).status_code == 200
        assert client.post("/api/admin", headers=token).status_code == 403
        assert client.post("/api/act").status_code == 403
        assert client.post("/logout", headers=token).status_code == 204
        assert client.get("/api/who").status_code == 401
        entries = page.entries()
        assert [(entry["who"], entry["action"]) for entry in entries if entry["action"].startswith("log")] == [
            ("local", "login"), ("local", "logout"),
        ]  # fmt: skip
        assert page.link.token not in json.dumps([entries, logs])
    assert [entry["event"] for entry in logs if entry["event"].startswith("dashboard.")] == ["dashboard.link_refused"]


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_the_link_leads_to_no_other_server(tmp_path: Path, after: str) -> None:
    with serving(tmp_path, users=False) as page:
        found = page.client(LOCAL).get("/login", params={"token": page.link.token, "next": after})
        assert found.headers["location"] == "/"


def test_the_first_user_ends_the_link_and_removing_the_file_does_not_bring_it_back(tmp_path: Path) -> None:
    """A person who can remove the file must not become an operator by that."""
    with serving(tmp_path, users=False) as page:
        client = page.client(LOCAL)
        by_link = {"token": page.link.token}
        assert client.get("/login", params=by_link).status_code == 303
        assert client.get("/api/who").text == "local"
        with changing(page.section.users) as users:
            users["anna"] = new_user(Role.OPERATOR, HASH)
        assert client.get("/api/who").status_code == 401
        assert 'name="password"' in client.get("/login").text
        page.section.users.unlink()
        assert client.get("/api/who").status_code == 401
        assert client.get("/login", params=by_link).status_code == 401


def test_the_notice_of_use_is_accepted_after_the_link(tmp_path: Path) -> None:
    """The token has left the address before a person reads the notice."""
    with serving(tmp_path, users=False, notice="Authorized persons only.") as page:
        client = page.client(LOCAL)
        assert client.post("/login/link", data={"accepted": "yes"}).status_code == 401
        found = client.get("/login", params={"token": page.link.token, "next": "/alarms"})
        assert (found.status_code, found.headers["location"]) == (303, "/login?next=%2Falarms")
        assert client.get("/api/who").status_code == 401
        text = client.get("/login?next=%2Falarms").text
        assert "Authorized persons only." in text
        assert 'action="/login/link"' in text
        assert page.link.token not in text
        assert client.post("/login/link", data={"next": "/alarms"}).status_code == 403
        assert client.post("/login/link", data={"accepted": "yes"}, headers=ORIGIN).status_code == 403
        begun = client.post("/login/link", data={"accepted": "yes", "next": "/alarms"})
        assert (begun.status_code, begun.headers["location"]) == (303, "/alarms")
        assert client.get("/api/who").text == "local"
        [entry] = page.entries()
    assert entry["after"]["notice"] == sha256(b"Authorized persons only.").hexdigest()


PAGE = "http://127.0.0.1:8080/"


def test_the_file_of_the_link_is_for_its_owner_while_the_page_runs(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    link = Link(folder, Users(tmp_path / "users.yaml"))
    assert links_in(folder) == []
    shown = link.write(PAGE)
    assert shown == f"{PAGE}login?token={link.token}"
    assert len(shown) < 80
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert links_in(folder) == [shown]
    link.remove()
    assert list(folder.iterdir()) == []
    assert not link.matches(link.token)


def test_a_link_that_was_made_before_is_used_and_another_each_time_without(tmp_path: Path) -> None:
    """A demo shows the link before its page has started; a link that others have read counts no longer."""
    made = make_link(tmp_path, PAGE)
    assert links_in(tmp_path) == []
    file = link_file(tmp_path, 8080)
    shown = []
    for mode, content in (
        (0o600, made), (0o644, made), (0o600, made.replace("8080", "8081")), (0o600, "x" * 5_000), (0o600, ""),
    ):  # fmt: skip
        file.write_text(content)
        file.chmod(mode)
        link = Link(tmp_path, Users(tmp_path / "users.yaml"))
        shown.append(link.write(PAGE))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        link.remove()
    assert shown[0] == made
    assert len({*shown}) == 5


def test_a_link_whose_file_can_not_be_written_still_counts(tmp_path: Path) -> None:
    """The terminal shows it."""
    (tmp_path / "spool").write_text("no folder")
    link = Link(tmp_path / "spool", Users(tmp_path / "users.yaml"))
    with capture_logs() as logs:
        link.write(PAGE)
    assert [entry["event"] for entry in logs] == ["dashboard.link_not_written"]
    assert link.matches(link.token)
    assert link.token not in json.dumps(logs)


def test_a_file_of_the_link_that_is_a_symbolic_link_is_set_aside(tmp_path: Path) -> None:
    """Another account must not choose the file that is written."""
    (tmp_path / "victim").write_text("kept")
    link_file(tmp_path, 8080).symlink_to(tmp_path / "victim")
    link = Link(tmp_path, Users(tmp_path / "users.yaml"))
    link.write(PAGE)
    assert (tmp_path / "victim").read_text() == "kept"
    assert links_in(tmp_path) == [f"{PAGE}login?token={link.token}"]
    link.remove()


def test_a_page_beyond_the_loopback_always_demands_a_sign_in(tmp_path: Path) -> None:
    with serving(tmp_path, users=False, listen="0.0.0.0:8443") as page:
        assert page.client().get("/api/who").status_code == 401


# -- sign-in --


def test_everything_but_files_and_the_sign_in_needs_a_session(page: Page) -> None:
    client = page.client()
    assert client.get("/static/x.css").text == "static"
    assert client.get("/login").status_code == 200
    assert client.get("/api/who").status_code == 401
    assert client.get("/api/session").json() == {"error": "sign in", "login": "/login"}
    assert client.get("/api/nowhere").status_code == 401
    answer = client.get("/machines/press-01?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fmachines%2Fpress-01%3Fx%3D1")


def test_a_form_signs_in_without_javascript(page: Page) -> None:
    client = page.client()
    form = {"name": "anna", "password": PASSWORD, "next": "/machines?x=1"}
    answer = client.post("/login", data=form, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/machines?x=1")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"__Host-lineside=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure", cookie)
    assert client.get("/api/who").text == "anna"
    session = client.get("/api/session").json()
    assert (session["name"], session["role"], session["method"]) == ("anna", "operator", "password")


def test_json_signs_in_for_programs(page: Page) -> None:
    client = page.client()
    answer = client.post("/login", json={"name": "anna", "password": PASSWORD}, headers=ORIGIN)
    assert answer.json() == {"signed_in": True}
    refused = page.client().post("/login", json={"name": "anna", "password": "wrong"}, headers=ORIGIN)
    assert (refused.status_code, refused.json()["kind"]) == (401, "wrong")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"), (b"[1]", "application/json"),
        (b'{"name": 1, "password": "x"}', "application/json"),
        (b"name=anna", "application/x-www-form-urlencoded"), (b"a=1&" * 1000, "application/x-www-form-urlencoded"),
        (b"name=anna&password=x", "text/plain"), (b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"[" * 10_000, "application/json"),
    ],
)  # fmt: skip
def test_anything_else_than_a_sign_in_is_refused(page: Page, content: bytes, kind: str) -> None:
    answer = page.client().post("/login", content=content, headers=ORIGIN | {"Content-Type": kind})
    assert answer.status_code == 400


def test_a_session_id_of_somebody_else_is_not_taken_over(page: Page) -> None:
    """Session fixation: a sign-in makes a new id, whatever the browser sends."""
    client = page.client()
    client.cookies.set("__Host-lineside", "x" * 43, domain="lineside.example")
    client.post("/login", data={"name": "anna", "password": PASSWORD}, headers=ORIGIN)
    first = client.cookies["__Host-lineside"]
    client.post("/login", data={"name": "anna", "password": PASSWORD}, headers=ORIGIN)
    second = client.cookies["__Host-lineside"]
    assert len({first, second, "x" * 43}) == 3
    other = page.client()
    other.cookies.set("__Host-lineside", first, domain="lineside.example")
    assert other.get("/api/who").status_code == 401


@pytest.mark.parametrize("sent", ["x", "\u00e4", "\ud7ff", "x" * 5_000])
def test_a_secret_is_compared_with_any_text(sent: str) -> None:
    """A browser may send any letters as a cookie, also those beyond ASCII."""
    assert not is_same(sent, "expected")
    assert is_same("expected", "expected")


def test_a_cookie_with_any_letters_is_a_wrong_cookie(page: Page) -> None:
    """And no defect that the log has to explain."""
    client = page.client()
    for path in ("/login/oidc/signed-out?state=x", "/api/who", "/login"):
        cookies = "; ".join(f"__Host-lineside{more}=\u00e4\u00f6" for more in ("", "-signout", "-oidc"))
        answer = client.get(path, headers={"Cookie": cookies.encode("latin-1")})
        assert answer.status_code < 500, path


def test_ten_wrong_passwords_are_slowed_down_and_recorded(page: Page) -> None:
    client = page.client()
    answers = [client.post("/login", data={"name": "anna", "password": "wrong"}, headers=ORIGIN) for _ in range(10)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 5
    assert answers[-1].headers["retry-after"] == "1"
    assert "Too many attempts" in answers[-1].text
    assert client.post("/login", data={"name": "anna", "password": PASSWORD}, headers=ORIGIN).status_code == 429
    assert [entry["action"] for entry in page.entries()] == ["login-failed"] * 5 + ["login-locked"]
    assert {entry["who"] for entry in page.entries()} == {"anna"}
    assert {entry["from"] for entry in page.entries()} == {"10.0.0.1"}


def test_the_page_uses_the_configured_lockout(tmp_path: Path) -> None:
    with serving(tmp_path, lockout={"failures": 2, "delay": "10m"}) as page:
        client = page.client()
        answers = [
            client.post("/login", data={"name": "anna", "password": "wrong"}, headers=ORIGIN) for _ in range(3)
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert 590 <= int(answers[-1].headers["retry-after"]) <= 600
        assert [entry["action"] for entry in page.entries()] == ["login-failed", "login-failed", "login-locked"]


def test_a_wrong_name_and_a_wrong_password_look_alike(page: Page) -> None:
    page.change("victor", disabled=True)
    pages = set()
    for at, name in enumerate(("anna", "nobody", "victor")):
        password = PASSWORD if name == "victor" else "wrong"
        client = page.client(address=f"10.0.1.{at}")
        answer = client.post("/login", data={"name": name, "password": password}, headers=ORIGIN)
        assert answer.status_code == 401
        pages.add(answer.text.replace(name, "NAME"))
    assert len(pages) == 1


def test_a_password_in_the_field_of_the_name_reaches_no_log(page: Page) -> None:
    page.client().post("/login", data={"name": PASSWORD, "password": ""}, headers=ORIGIN)
    assert page.entries()[0]["who"] == "unknown user"
    for file in log_files(page.section.audit.folder):
        assert PASSWORD.encode() not in file.read_bytes()


def test_secrets_are_in_no_log(page: Page) -> None:
    with structlog.testing.capture_logs() as logs:
        client, headers = page.signed_in()
        client.post("/api/act", headers=headers)
        page.client().post("/login", data={"name": "anna", "password": "some-wrong-password"}, headers=ORIGIN)
        client.post("/logout", headers=headers)
    written = json.dumps(page.entries()) + repr(logs)
    secrets = [PASSWORD, "some-wrong-password", client.cookies.get("__Host-lineside") or "-no-cookie-", HASH]
    assert not [one for one in (*secrets, headers["X-CSRF-Token"]) if one in written]


def test_signing_out_ends_the_session_on_the_server(page: Page) -> None:
    client, headers = page.signed_in()
    stolen = client.cookies["__Host-lineside"]
    answer = client.post("/logout", headers=headers)
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    other = page.client()
    other.cookies.set("__Host-lineside", stolen, domain="lineside.example")
    assert other.get("/api/who").status_code == 401
    assert [entry["action"] for entry in page.entries()] == ["login", "logout"]


def test_a_form_signs_out(page: Page) -> None:
    client, headers = page.signed_in()
    assert client.post("/logout", data={"csrf_token": "x"}, headers=ORIGIN).status_code == 403
    answer = client.post("/logout", data={"csrf_token": headers["X-CSRF-Token"]}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


# -- roles --


def test_a_role_is_enough_or_the_request_is_refused_and_both_are_recorded(page: Page) -> None:
    operator, headers = page.signed_in("anna")
    assert operator.post("/api/act", headers=headers, content=b"12345").status_code == 200
    assert operator.post("/api/admin", headers=headers).status_code == 403
    viewer, headers = page.signed_in("victor")
    assert viewer.post("/api/act", headers=headers).json() == {"error": "this needs the permission acknowledge"}
    found = [(e["who"], e["action"], e["object"], e["outcome"]) for e in page.entries() if e["action"] != "login"]
    assert found == [
        ("anna", "alarm-acknowledged", "press-01/door", "done"),
        ("anna", "request", "POST /api/admin", "refused: 403"),
        ("victor", "request", "POST /api/act", "refused: 403"),
    ]
    acted = next(entry for entry in page.entries() if entry["action"] == "alarm-acknowledged")
    assert (acted["before"], acted["after"]) == ("active", {"bytes": 5})
    assert verify(page.section.audit.folder).broken is None


def test_a_route_that_records_itself_has_one_entry_and_each_failure_has_one(page: Page) -> None:
    client, headers = page.signed_in("anna")
    assert client.post("/api/note", headers=headers, content=b"good").status_code == 200
    assert client.post("/api/note", headers=headers, content=b"bad").status_code == 400
    found = [(e["action"], e["from"], e["outcome"]) for e in page.entries() if e["action"] != "login"]
    assert found == [("noted", "10.0.0.1", "done"), ("request", "10.0.0.1", "failed: 400")]


def test_another_role_counts_at_once(page: Page) -> None:
    client, headers = page.signed_in("anna")
    page.change("anna", role=Role.ADMIN)
    assert client.post("/api/admin", headers=headers).status_code == 200
    page.change("anna", role=Role.VIEWER)
    assert client.post("/api/act", headers=headers).status_code == 403


def test_what_a_role_permits_counts_at_once(page: Page) -> None:
    client, headers = page.signed_in("anna")
    usual = client.get("/api/session").json()["permissions"]
    assert usual == ["trends", "export", "acknowledge", "shelve", "reasons"]
    with changing(page.section.users) as users:
        set_role(users, "operator", frozenset({Permission.USERS}))
    assert client.post("/api/act", headers=headers).status_code == 403
    assert client.post("/api/admin", headers=headers).status_code == 200
    assert client.get("/api/session").json()["permissions"] == ["users"]
    with changing(page.section.users) as users:
        remove_role(users, "operator")
    assert client.post("/api/act", headers=headers).status_code == 200


def test_a_file_of_users_that_is_damaged_leaves_no_rights(page: Page) -> None:
    """Neither to users, nor to those whom a provider has signed in."""
    client, _ = page.signed_in("ada")
    page.section.users.write_text("format: 1\nroles: {viewer: [everything]}\n")
    assert client.get("/api/who").status_code == 401


@pytest.mark.parametrize("keys", [{"disabled": True}, {"password": QUICK.hash("another-long-password")}])
def test_a_user_who_was_locked_out_or_has_another_password_has_no_session(page: Page, keys: dict[str, Any]) -> None:
    client, _ = page.signed_in("anna")
    page.change("anna", **keys)
    assert client.get("/api/who").status_code == 401
    page.change("anna", disabled=False, password=HASH)
    assert client.get("/api/who").status_code == 401


# -- requests from elsewhere --


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://lineside.example"},
        {"Origin": "https://lineside.example:8443"},
        {"Origin": "https://lineside.example.evil.example"},
        {"Origin": "null"},
        {"Origin": "https://lineside.example/x"},
        {"Origin": "https://lineside.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_page_of_another_server_changes_nothing(page: Page, headers: dict[str, str]) -> None:
    client, ours = page.signed_in()
    token = {"X-CSRF-Token": ours["X-CSRF-Token"]}
    assert client.post("/api/act", headers=token | headers).status_code == 403
    assert client.post("/logout", headers=token | headers).status_code == 403
    form = {"name": "ada", "password": PASSWORD}
    assert page.client().post("/login", data=form, headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(LIVE, headers=headers):
        pass
    assert refused.value.code == 1008


@pytest.mark.parametrize("token", [None, "", "x", "\u00e9".encode()])
def test_a_change_needs_the_token_of_the_session(page: Page, token: str | bytes | None) -> None:
    client, _ = page.signed_in()
    headers: dict[str, Any] = ORIGIN | ({} if token is None else {"X-CSRF-Token": token})
    assert client.post("/api/act", headers=headers).status_code == 403


def test_the_token_of_another_session_is_refused(page: Page) -> None:
    _, others = page.signed_in("ada")
    client, _ = page.signed_in("anna")
    assert client.post("/api/act", headers=others).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "lineside.example.evil.example", "", "a b", "[::1", "localhost@evil"]
)
def test_a_name_of_another_server_is_refused(page: Page, host: str) -> None:
    """DNS rebinding: the name of an attacker resolves to this machine, and the browser takes it for one server."""
    client, _ = page.signed_in()
    assert client.get("/api/who", headers={"Host": host}).status_code == 421
    assert client.get("/login", headers={"Host": host}).status_code == 421
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect(LIVE, headers={"Host": host, "Origin": f"https://{host}"}),
    ):
        pass
    assert refused.value.code == 1008


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("LOCALHOST:8080", True), ("127.0.0.1:80", True), ("[::1]:8443", True),
        ("10.20.1.7", True), ("lineside.example.", True), ("box.plant.example", False), ("localhost.evil", False),
        ("localhost:99x", False),
    ],
)  # fmt: skip
def test_hosts(host: str, allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    from starlette.datastructures import Headers

    section = DashboardSection.model_validate({"hosts": "lineside.example"})
    assert Hosts(section).allows(Headers({"host": host})) is allowed
    assert not Hosts(section).allows(Headers(raw=[(b"host", host.encode()), (b"host", b"localhost")]))


def test_a_form_of_ours_has_no_origin_and_says_that_it_is_ours() -> None:
    """A browser sends `Origin: null` with a form of a page whose referrer policy is no-referrer."""
    from starlette.datastructures import Headers

    ours = {"host": "lineside.example", "origin": "null", "sec-fetch-site": "same-origin"}
    assert is_same_origin(Headers(ours), "https")
    assert not is_same_origin(Headers(ours | {"sec-fetch-site": "cross-site"}), "https")
    assert not is_same_origin(Headers(ours | {"origin": "https://evil.example"}), "https")


def test_a_proxy_may_end_tls() -> None:
    from starlette.datastructures import Headers

    headers = Headers({"host": "lineside.example", "origin": "https://lineside.example:443"})
    assert is_same_origin(headers, "http")
    assert not is_same_origin(Headers({"host": "lineside.example", "origin": "http://lineside.example"}), "https")


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/a\r\nSet-Cookie: x",
        "javascript:1",
        "",
        "/a\\b",
        "/" * 3,
    ],
)
def test_a_sign_in_goes_on_to_this_server_only(page: Page, path: str) -> None:
    form = {"name": "anna", "password": PASSWORD, "next": path}
    answer = page.client().post("/login", data=form, headers=ORIGIN)
    assert answer.headers["location"] == "/"
    assert len(answer.headers.get_list("set-cookie")) == 1
    assert local_path("/machines/press-01?x=a%20b#y") == "/machines/press-01?x=a%20b#y"


def test_a_name_can_not_add_to_the_page(page: Page) -> None:
    name = '"><script>alert(1)</script>'
    answer = page.client().post("/login", data={"name": name, "password": "x", "next": f"/{name}"}, headers=ORIGIN)
    assert answer.status_code == 401
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_a_link_of_another_page_finds_the_session(page: Page) -> None:
    """A browser leaves a strict cookie out for such a link; a page that goes on by itself brings it."""
    answer = page.client().get('/a?"x', headers={"Sec-Fetch-Site": "cross-site", "Accept-Language": "de"})
    assert answer.status_code == 200
    assert 'content="0; url=/a?%22x"' in answer.text
    assert "Weiter" in answer.text


# -- headers and sizes --


@pytest.mark.parametrize("path", ["/login", "/api/who", "/static/x.css", "/nowhere"])
def test_every_answer_has_the_headers(page: Page, path: str) -> None:
    answer = page.client().get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")


def test_without_tls_there_is_no_hsts_and_a_cookie_of_another_name(page: Page) -> None:
    client = page.client("http://localhost:8080")
    origin = {"Origin": "http://localhost:8080"}
    answer = client.post("/login", data={"name": "anna", "password": PASSWORD}, headers=origin)
    assert "strict-transport-security" not in answer.headers
    assert re.fullmatch(r"lineside=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", answer.headers["set-cookie"])
    assert client.get("/api/who").text == "anna"


def test_two_cookies_of_one_name_are_none(page: Page) -> None:
    client, _ = page.signed_in()
    id_ = client.cookies["__Host-lineside"]
    client.cookies.clear()
    line = f"__Host-lineside={id_}"
    assert client.get("/api/who", headers={"Cookie": line}).status_code == 200
    two = [("Cookie", "__Host-lineside=x"), ("Cookie", line)]
    assert client.get("/api/who", headers=two).status_code == 401


def test_large_requests_are_refused(page: Page) -> None:
    client, headers = page.signed_in()
    assert client.get("/api/who", headers={"X-Large": "x" * 20_000}).status_code == 431
    assert client.get("/api/who?" + "x" * 10_000).status_code == 414
    assert client.post("/api/act", headers=headers, content=b"x" * 2**21).status_code == 413

    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 2**16] * 20

    assert client.post("/api/act", headers=headers, content=chunks()).status_code == 413


# -- sessions --


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


ANNA = Identity("anna", Role.VIEWER, "password")


def test_a_session_ends_after_its_time_and_when_nobody_uses_it() -> None:
    clock = Clock()
    sessions = Sessions(lasts=100, idle=30, clock=clock)
    id_, session = sessions.begin(ANNA)
    for _ in range(4):
        clock.now += 20
        assert sessions.find(id_) is session
        sessions.use(session)
    assert sessions.remaining(session) == 20
    clock.now += 20
    assert sessions.find(id_) is None
    assert session.ended.is_set()
    id_, session = sessions.begin(ANNA)
    clock.now += 30
    assert sessions.find(id_) is None
    assert len(sessions) == 0


def test_sessions_are_bounded_for_a_user_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MOST", 50)
    clock = Clock()
    sessions = Sessions(lasts=10**6, idle=10**6, clock=clock)
    ids = []
    for _ in range(MOST_OF_USER + 1):
        clock.now += 1
        ids.append(sessions.begin(ANNA)[0])
    assert sessions.find(ids[0]) is None
    assert sessions.find(ids[1]) is not None
    for at in range(100):
        clock.now += 1
        sessions.begin(Identity(str(at), Role.VIEWER, "oidc"))
    assert len(sessions) == 50


def test_the_id_is_not_kept() -> None:
    """A dump of the memory, or a debugger, gives no id that a browser can send."""
    sessions = Sessions(100, 30, Clock())
    id_, session = sessions.begin(ANNA)
    assert id_ not in repr(vars(sessions))
    assert id_.encode() not in session.key
    assert sessions.find(id_ + "x") is None
    assert sessions.find("\ud800") is None


def test_asking_for_the_session_does_not_keep_it_alive(page: Page) -> None:
    """A page that nobody looks at asks as well."""
    client, _ = page.signed_in()
    before = client.get("/api/session").json()["expires"]
    after = client.get("/api/session").json()["expires"]
    assert abs(after - before) < 1000
    client.get("/api/who")
    assert client.get("/api/session").json()["expires"] > before


# -- WebSockets --


def test_a_websocket_without_a_session_is_closed_with_4401(page: Page) -> None:
    with page.client().websocket_connect(LIVE, headers=ORIGIN) as socket:
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 4401


@pytest.mark.parametrize("end", ["logout", "expiry", "disabled", "role"])
def test_a_websocket_is_closed_when_its_session_ends(page: Page, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LOOK_EVERY", 0.02)
    with page.client() as client:
        client.post("/login", data={"name": "anna", "password": PASSWORD}, headers=ORIGIN)
        token = client.get("/api/session").json()["csrf_token"]
        with client.websocket_connect(LIVE, headers=ORIGIN) as socket:
            socket.send_text("!")
            assert socket.receive_text() == "anna!"
            match end:
                case "logout":
                    client.post("/logout", headers=ORIGIN | {"X-CSRF-Token": token})
                case "expiry":
                    monkeypatch.setattr(Sessions, "remaining", lambda *_: 0.0)
                case "disabled":
                    page.change("anna", disabled=True)
                case _:
                    page.change("anna", role=Role.VIEWER)
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
            assert closed.value.code == 4401


# -- the page of the sign-in --


def test_the_page_is_accessible_and_needs_no_script(page: Page) -> None:
    text = page.client().get("/login", headers={"Accept-Language": "de-CH, en;q=0.8"}).text
    assert '<html lang="de">' in text
    assert "<script" not in text
    assert "style=" not in text
    assert re.findall(r'<label for="(\w+)"', text) == ["name", "password"]
    assert 'autocomplete="current-password"' in text
    failed = page.client().post("/login", data={"name": "anna", "password": "x"}, headers=ORIGIN).text
    assert 'role="alert"' in failed
    assert 'aria-describedby="problem"' in failed


NOTICE = 'Authorized persons only.\n<script>alert(1)</script> & "quoted"\n\nWhat you do here is recorded.'
"""Conditions of use, with characters that mean something in HTML."""


def test_the_notice_of_use_is_read_before_the_sign_in_and_accepted_by_it(tmp_path: Path) -> None:
    """IEC 62443-4-2, CR 1.12: nobody is signed in who has not accepted it, and the log says which text it was."""
    with serving(tmp_path, notice=NOTICE) as page:
        client = page.client()
        text = client.get("/login", headers={"Accept-Language": "de"}).text
        assert escape(NOTICE) in text
        assert "<script" not in text
        assert text.index(escape(NOTICE)) < text.index('name="password"')
        assert re.search(r'<button type="submit" name="accepted" value="yes"[^>]*>Akzeptieren und anmelden<', text)
        form = {"name": "anna", "password": PASSWORD, "next": "/machines"}
        refused = client.post("/login", data=form, headers=ORIGIN)
        assert (refused.status_code, "Read the notice of use" in refused.text) == (403, True)
        assert 'value="anna"' in refused.text
        assert client.get("/api/who").status_code == 401
        answer = client.post("/login", data=form | {"accepted": "yes"}, headers=ORIGIN)
        assert (answer.status_code, answer.headers["location"]) == (303, "/machines")
        [entry] = page.entries()
    assert entry["after"]["notice"] == sha256(NOTICE.encode()).hexdigest()


def test_a_program_shows_the_notice_of_use_to_its_user(tmp_path: Path) -> None:
    """The answer has the text. Tries without the acceptance don't count as failures: no password is checked."""
    with serving(tmp_path, notice=NOTICE) as page:
        client = page.client()
        for _ in range(10):
            refused = client.post("/login", json={"name": "anna", "password": PASSWORD}, headers=ORIGIN)
            assert (refused.status_code, refused.json()["kind"], refused.json()["notice"]) == (403, "notice", NOTICE)
        form = {"name": "anna", "password": PASSWORD, "accepted": "yes"}
        assert client.post("/login", json=form, headers=ORIGIN).json() == {"signed_in": True}


@pytest.mark.parametrize("language", [language for language in Language if language is not Language.ENGLISH])
def test_every_language_has_every_problem(language: Language) -> None:
    for problem in PROBLEMS:
        page, english = login_page(str(language), problem=problem), login_page("en", problem=problem)
        assert page.body != english.body
        assert PROBLEMS[problem].english.partition(".")[0].encode() not in page.body


@pytest.mark.parametrize(
    ("accepted", "configured", "language"),
    [("", None, "en"), ("fr, zh-CN;q=0.5", None, "zh"), ("de", Language.CHINESE, "zh"), ("x" * 10_000, None, "en")],
)
def test_the_language_is_that_of_the_browser_or_the_configuration(
    tmp_path: Path, accepted: str, configured: Language | None, language: str
) -> None:
    with serving(tmp_path, language=configured) as page:
        text = page.client().get("/login", headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in text
