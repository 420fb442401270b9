"""The gate of the page behind a real server with TLS: bytes on the wire, cookies, WebSockets, and a provider."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest
import structlog
from fakes.authority import Authority
from oidc_provider import CLIENT, SECRET, Provider
from processes import free_port
from secured_page import PASSWORD, Page, serving
from served import make_certificate, served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.common.server_certificate import Renewal
from gateway.dashboard.security.tls import Certificate
from gateway.settings.dashboard_section import DashboardTls
from gateway.users.role_changes import remove_role, set_role
from gateway.users.roles import Permission
from gateway.users.users_file import changing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Served(NamedTuple):
    """A secured application at a port."""

    page: Page
    port: int
    context: ssl.SSLContext

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.origin, verify=self.context)

    async def signed_in(self, client: httpx2.AsyncClient) -> str:
        """Sign in, and return the cookie."""
        answer = await client.post(
            "/login", data={"name": "anna", "password": PASSWORD}, headers={"Origin": self.origin}
        )
        assert answer.status_code == 303
        return f"__Host-lineside={client.cookies['__Host-lineside']}"

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and return the answer."""
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.context)
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(reader.read(100_000), 10)
        finally:
            writer.close()


@asynccontextmanager
async def https(folder: Path, **keys: Any) -> AsyncIterator[Served]:
    certificate, key = make_certificate(folder)
    port = free_port()
    tls = {"certificate": str(certificate), "key": str(key)}
    with serving(folder, listen=f"127.0.0.1:{port}", tls=tls, **keys) as page:
        async with served(page.app, port, **Certificate(DashboardTls.model_validate(tls)).options()):
            yield Served(page, port, ssl.create_default_context(cafile=certificate))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with https(tmp_path) as server:
        yield server


async def test_the_cookie_and_hsts_are_for_tls(server: Served) -> None:
    async with server.client() as client:
        cookie = await server.signed_in(client)
        assert (await client.get("/api/who")).text == "anna"
        answer = await client.get("/login")
    assert re.fullmatch(r"__Host-lineside=[\w-]{43}", cookie)
    assert answer.headers["strict-transport-security"]
    assert "server" not in answer.headers


async def test_old_versions_of_tls_are_refused(server: Served) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", server.port, ssl=context)


async def test_ten_wrong_passwords_over_the_network(server: Served) -> None:
    async with server.client() as client:
        form, headers = {"name": "anna", "password": "wrong"}, {"Origin": server.origin}
        codes = [(await client.post("/login", data=form, headers=headers)).status_code for _ in range(10)]
    assert codes == [401] * 5 + [429] * 5
    assert {entry["from"] for entry in server.page.entries()} == {"127.0.0.1"}


async def test_an_administrator_unlocks_over_the_network(server: Served) -> None:
    """The person at the locked terminal, from the same address, signs in at once."""
    headers = {"Origin": server.origin}
    async with server.client() as client, server.client() as admin:
        form = {"name": "anna", "password": PASSWORD}
        assert (await admin.post("/login", data=form | {"name": "ada"}, headers=headers)).status_code == 303
        token = {"X-CSRF-Token": (await admin.get("/api/session")).json()["csrf_token"]}
        for _ in range(6):
            await client.post("/login", data=form | {"password": "wrong"}, headers=headers)
        assert (await client.post("/login", data=form, headers=headers)).status_code == 429
        unlock = await admin.post("/api/users/unlock", json={"name": "anna"}, headers=headers | token)
        assert unlock.json() == {"name": "anna", "failures": 0, "seconds": 0.0}
        assert (await client.post("/login", data=form, headers=headers)).status_code == 303
        entries = (await admin.get("/api/audit", params={"search": "user-unlocked"})).json()["entries"]
    assert [(one["who"], one["object"], one["from"]) for one in entries] == [("ada", "anna", "127.0.0.1")]


async def test_a_websocket_needs_our_origin_and_a_session(server: Served) -> None:
    url, ssl_ = f"wss://localhost:{server.port}/api/live", server.context
    async with server.client() as client:
        cookie = {"Cookie": await server.signed_in(client)}
    with pytest.raises(InvalidStatus, match="403"):
        await connect(url, ssl=ssl_, origin="https://evil.example", additional_headers=cookie)  # type: ignore[arg-type]
    async with connect(url, ssl=ssl_) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    async with connect(url, ssl=ssl_, additional_headers=cookie) as socket:
        await socket.send("!")
        assert await socket.recv() == "anna!"


async def test_a_session_that_nobody_uses_closes_its_websocket(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    with serving(tmp_path) as page:
        section = page.section.model_copy(update={"idle": 0.3})
        short = Page(tmp_path, page.audit, section)
        async with served(short.app, port, ssl_certfile=str(certificate), ssl_keyfile=str(key)):
            server = Served(short, port, ssl.create_default_context(cafile=certificate))
            async with server.client() as client:
                cookie = {"Cookie": await server.signed_in(client)}
                url = f"wss://localhost:{port}/api/live"
                async with connect(url, ssl=server.context, additional_headers=cookie) as socket:
                    with pytest.raises(ConnectionClosed) as closed:
                        await asyncio.wait_for(socket.recv(), 10)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401
                assert (await client.get("/api/who")).status_code == 401


ODD: list[tuple[bytes, bytes]] = [
    (b"GET /api/who HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
    (b"GET /api/who HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"4"),
    (b"GET /api/who HTTP/1.1\r\n\r\n", b"400"),
    (b"GET http://evil.example/api/who HTTP/1.1\r\nHost: localhost\r\n\r\n", b"4"),
    (b"GET /%0d%0aSet-Cookie:%20x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"303"),
    (b"GET /login?next=/%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
    (b"GET /login HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
    (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", b"413"),
    (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 2\r\n\r\n", b"4"),
    (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"401"),
    (b"\x16\x03\x01 / HTTP/1.1\r\n\r\n", b"400"),
]
"""Bytes of a request, and the beginning of the status of its answer."""


async def test_odd_requests_add_no_header(server: Served) -> None:
    for request, status in ODD:
        answer = await server.raw(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        head = answer.partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 " + status), (request[:100], head)
        assert b"\r\nset-cookie" not in head.lower()


async def test_a_certificate_that_can_not_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "hunter2-of-the-key")
    written: dict[str, Any] = {"certificate": str(certificate), "key": str(key)}
    with pytest.raises(Exception, match=r"write dashboard\.tls\.key_password: \{secret: NAME\}"):
        Certificate(DashboardTls.model_validate(written))
    monkeypatch.setenv("LINESIDE_SECRET_DASHBOARD_KEY", "wrong-password")
    written["key_password"] = {"secret": "dashboard_key"}
    with pytest.raises(OSError, match=r"the secret of dashboard\.tls\.key_password is not its password") as wrong:
        Certificate(DashboardTls.model_validate(written))
    assert str(key) in str(wrong.value)
    assert "wrong-password" not in str(wrong.value)
    monkeypatch.setenv("LINESIDE_SECRET_DASHBOARD_KEY", "hunter2-of-the-key")
    assert Certificate(DashboardTls.model_validate(written)).serial == "1"
    with pytest.raises(OSError, match=r"dashboard\.tls\.key \(.*none\.key\): No such file"):
        Certificate(DashboardTls.model_validate(written | {"key": str(tmp_path / "none.key")}))


# -- a renewed certificate --


class Renewed(NamedTuple):
    """A page whose certificate is watched, and what became of each new certificate."""

    folder: Path
    port: int
    certificate: Certificate
    renewals: asyncio.Queue[Renewal]

    async def connect(self, host: str = "localhost", **versions: ssl.TLSVersion) -> asyncio.StreamWriter:
        """Return a connection that trusts the certificate of the file alone."""
        context = ssl.create_default_context(cafile=self.folder / "box.pem")
        for name, version in versions.items():
            setattr(context, name, version)
        _, writer = await asyncio.open_connection(host, self.port, ssl=context)
        return writer

    async def serial(self, **options: Any) -> str:
        writer = await self.connect(**options)
        writer.close()
        return serial_of(writer)


def serial_of(writer: asyncio.StreamWriter) -> str:
    return str(int(writer.get_extra_info("peercert")["serialNumber"], 16))


@pytest.fixture
async def renewed(tmp_path: Path) -> AsyncIterator[Renewed]:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    tls = {"certificate": str(certificate), "key": str(key)}
    renewals: asyncio.Queue[Renewal] = asyncio.Queue()
    used = Certificate(DashboardTls.model_validate(tls), renewals.put_nowait)
    with serving(tmp_path, listen=f"127.0.0.1:{port}", tls=tls) as page:
        async with served(page.app, port, **used.options()):
            watching = asyncio.create_task(used.watch(0.02))
            yield Renewed(tmp_path, port, used, renewals)
            watching.cancel()


async def test_new_connections_get_a_renewed_certificate_and_open_ones_live_on(renewed: Renewed) -> None:
    """A certificate that lives for weeks is renewed without a restart, which would sign everybody out."""
    context = ssl.create_default_context(cafile=renewed.folder / "box.pem")
    reader, writer = await asyncio.open_connection("localhost", renewed.port, ssl=context)
    assert serial_of(writer) == "1"
    make_certificate(renewed.folder, serial=2)
    async with asyncio.timeout(30):
        assert await renewed.renewals.get() == Renewal(str(renewed.folder / "box.pem"), "2", "")
    assert await renewed.serial() == "2"
    assert await renewed.serial(maximum_version=ssl.TLSVersion.TLSv1_2) == "2"
    assert await renewed.serial(host="127.0.0.1") == "2"  # without a name in the handshake
    writer.write(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("fault", ["another key", "no certificate", "torn certificate", "key with a password"])
async def test_new_files_that_can_not_be_used_change_nothing_and_are_said_once(
    renewed: Renewed, tmp_path_factory: pytest.TempPathFactory, fault: str
) -> None:
    """A renewal that went wrong at night must not lock everybody out, nor fill the log."""
    old, other = await renewed.connect(), tmp_path_factory.mktemp("other")
    password = "hunter2-of-the-key" if fault == "key with a password" else ""
    certificate, key = make_certificate(other, password, serial=2)
    good = [(renewed.folder / name).read_bytes() for name in ("box.pem", "box.key")]
    with structlog.testing.capture_logs() as logs:
        if fault in {"another key", "key with a password"}:
            (renewed.folder / "box.key").write_bytes(key.read_bytes())
        elif fault == "no certificate":
            (renewed.folder / "box.pem").unlink()
        else:
            (renewed.folder / "box.pem").write_bytes(certificate.read_bytes()[:200])
        async with asyncio.timeout(30):
            refused = await renewed.renewals.get()
            while renewed.certificate.refused < 3:
                renewed.certificate.ask()
                await asyncio.sleep(0)
        assert refused.serial == "1"
        assert refused.problem
        assert renewed.certificate.problem == refused.problem
        (renewed.folder / "box.pem").write_bytes(good[0])
        assert await renewed.serial() == "1"
        (renewed.folder / "box.key").write_bytes(good[1])
        async with asyncio.timeout(30):
            while (await renewed.renewals.get()).problem:
                pass
    events = [entry["event"] for entry in logs if entry["event"].startswith("dashboard.certificate")]
    assert events[0] == "dashboard.certificate_refused"
    assert events[-1] == "dashboard.certificate_renewed"
    assert events.count("dashboard.certificate_refused") <= 2  # the files were corrected one after the other
    assert renewed.certificate.problem == ""
    assert serial_of(old) == "1"
    old.close()


# -- a provider --


class Plant(NamedTuple):
    """A provider, and a page that trusts it."""

    provider: Provider
    server: Served

    async def sign_in(self, client: httpx2.AsyncClient, after: str = "/", **more: str) -> httpx2.Response:
        """Go to the provider and back, as a browser does."""
        begun = await client.get("/login/oidc", params={"next": after} | more)
        if begun.status_code != 303:
            return begun
        async with httpx2.AsyncClient(verify=self.server.context) as other:
            returned = await other.get(begun.headers["location"])
        target = urlsplit(returned.headers["location"])
        return await client.get(f"{target.path}?{target.query}", headers={"Sec-Fetch-Site": "cross-site"})


@pytest.fixture
async def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    async with _plant(tmp_path, monkeypatch) as started:
        yield started


@asynccontextmanager
async def _plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **section: Any) -> AsyncIterator[Plant]:
    monkeypatch.setenv("LINESIDE_SECRET_OIDC_CLIENT", SECRET)
    port = free_port()
    provider = Provider(f"http://127.0.0.1:{port}")
    usual = {"viewer": "plant-staff", "operator": "shift-leads", "admin": "plant-it"}
    oidc = {
        "issuer": provider.issuer, "client_id": CLIENT, "client_secret": {"secret": "oidc_client"},
        "roles": section.pop("roles", usual),
    }  # fmt: skip
    async with served(provider.app(), port), https(tmp_path, users=False, oidc=oidc, **section) as server:
        yield Plant(provider, server)


async def test_a_company_account_signs_in(plant: Plant) -> None:
    async with plant.server.client() as client:
        assert "company account" in (await client.get("/login")).text
        assert (await client.get("/api/who")).status_code == 401
        answer = await plant.sign_in(client, "/machines?x=1")
        assert answer.status_code == 200
        assert 'content="0; url=/machines?x=1"' in answer.text
        cookies = answer.headers.get_list("set-cookie")
        assert any(re.fullmatch(r"__Host-lineside=[\w-]{43}; .*SameSite=Strict; Secure", one) for one in cookies)
        session = (await client.get("/api/session")).json()
    assert (session["name"], session["role"], session["method"]) == ("olga", "operator", "oidc")
    [entry] = plant.server.page.entries()
    assert (entry["action"], entry["who"], entry["after"]["method"]) == ("login", "olga", "oidc")


async def test_the_notice_of_use_is_accepted_before_the_provider_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of a portal leads to the notice first."""
    notice = "Authorized persons only."
    async with _plant(tmp_path, monkeypatch, notice=notice) as plant, plant.server.client() as client:
        begun = await client.get("/login/oidc", params={"next": "/machines?x=1"})
        assert (begun.status_code, begun.headers["location"]) == (303, "/login?next=%2Fmachines%3Fx%3D1")
        text = (await client.get(begun.headers["location"])).text
        assert notice in text
        assert 'href="/login/oidc?next=%2Fmachines%3Fx%3D1&amp;accepted=yes"' in text
        assert (await plant.sign_in(client, "/machines?x=1", accepted="yes")).status_code == 200
        [entry] = plant.server.page.entries()
    assert entry["after"] == {
        "role": "operator", "method": "oidc", "notice": sha256(notice.encode()).hexdigest(),
    }  # fmt: skip


NOT_ACCEPTED = (
    "wrong nonce", "no nonce", "wrong audience", "wrong issuer", "expired", "other key", "shared key", "no signature",
    "no token", "denied",
)  # fmt: skip
UNAVAILABLE = ("down", "huge", "other issuer", "open token endpoint")


async def test_a_provider_that_is_wrong_signs_nobody_in(plant: Plant) -> None:
    """Each fault is one that an attacker, or a provider with a defect, can bring about."""
    found = {}
    with structlog.testing.capture_logs() as logs:
        async with plant.server.client() as client:
            for fault in (*UNAVAILABLE, *NOT_ACCEPTED):
                plant.provider.fault = fault
                answer = await plant.sign_in(client)
                problem = re.search('role="alert">([^<]*)', answer.text)
                found[fault] = answer.status_code, "" if problem is None else problem[1]
                assert (await client.get("/api/who")).status_code == 401, fault
    assert {fault: found[fault][0] for fault in UNAVAILABLE} == dict.fromkeys(UNAVAILABLE, 502)
    accepted = (401, "The company account was not accepted.")
    assert {fault: found[fault] for fault in NOT_ACCEPTED} == dict.fromkeys(NOT_ACCEPTED, accepted)
    assert SECRET not in repr(logs)
    failed = [entry for entry in plant.server.page.entries() if entry["action"] == "login-failed"]
    assert len(failed) == len(NOT_ACCEPTED)


async def test_the_claim_gives_the_highest_role_or_none(plant: Plant) -> None:
    claims: list[tuple[Any, str]] = [
        ([], ""), (["others"], ""), (7, ""), (None, ""), ({"a": 1}, ""), ("plant-staff", "viewer"),
        (["plant-staff", "plant-it", 3], "admin"),
    ]  # fmt: skip
    for roles, role in claims:
        plant.provider.claims["roles"] = roles
        async with plant.server.client() as client:
            assert (await plant.sign_in(client)).status_code == (200 if role else 403), roles
            assert (await client.get("/api/session")).json().get("role", "") == role


async def test_the_claim_gives_roles_of_the_plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that nobody has made gives no rights, and its permissions count while somebody is signed in."""
    roles = {"night-shift": ["night"], "viewer": ["plant-staff"]}
    async with _plant(tmp_path, monkeypatch, roles=roles) as plant, plant.server.client() as client:
        plant.provider.claims["roles"] = ["night"]
        with structlog.testing.capture_logs() as logs:
            assert (await plant.sign_in(client)).status_code == 403
        assert "oidc.role_unknown" in {entry["event"] for entry in logs}
        with changing(plant.server.page.section.users) as users:
            set_role(users, "night-shift", frozenset({Permission.ACKNOWLEDGE, Permission.SHELVE, Permission.REASONS}))
        plant.provider.claims["roles"] = ["plant-staff", "night"]  # viewer permits less
        assert (await plant.sign_in(client)).status_code == 200
        session = (await client.get("/api/session")).json()
        assert (session["role"], session["permissions"]) == ("night-shift", ["acknowledge", "shelve", "reasons"])
        with changing(plant.server.page.section.users) as users:
            set_role(users, "night-shift", frozenset())
        assert (await client.get("/api/session")).json()["permissions"] == []
        with changing(plant.server.page.section.users) as users:
            remove_role(users, "night-shift")
        assert (await client.get("/api/session")).status_code == 401


async def test_an_answer_of_the_provider_is_for_the_browser_that_has_begun_and_once(plant: Plant) -> None:
    """Login CSRF: an attacker must not sign a victim's browser in to the attacker's account."""
    async with plant.server.client() as one, plant.server.client() as two:
        begun = await one.get("/login/oidc")
        async with httpx2.AsyncClient(verify=plant.server.context) as other:
            returned = await other.get(begun.headers["location"])
        target = urlsplit(returned.headers["location"])
        callback = f"{target.path}?{target.query}"
        assert (await two.get(callback)).status_code == 401
        assert (await one.get(callback)).status_code == 401  # the state is used up
        assert (await one.get("/login/oidc/callback?code=x")).status_code == 401


async def test_a_key_that_the_provider_has_changed_is_fetched(plant: Plant) -> None:
    async with plant.server.client() as client:
        assert (await plant.sign_in(client)).status_code == 200
        plant.provider.rotate()
        assert (await plant.sign_in(client)).status_code == 200
    assert plant.provider.requests.count("/keys") == 2


async def test_a_provider_that_is_down_is_logged_once(plant: Plant) -> None:
    plant.provider.fault = "down"
    async with plant.server.client() as client:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                assert (await client.get("/login/oidc")).status_code == 502
            plant.provider.fault = ""
            assert (await client.get("/login/oidc")).status_code == 303
    events = [entry["event"] for entry in logs]
    assert [event for event in events if event.startswith("oidc")] == ["oidc.unavailable", "oidc.available"]


async def test_a_provider_whose_certificate_was_revoked_signs_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief of its key could name anybody as signed in. The list is read again when it has changed."""
    monkeypatch.setenv("LINESIDE_SECRET_OIDC_CLIENT", SECRET)
    authority, crl, port = Authority(tmp_path, "plant-ca"), tmp_path / "plant.crl.pem", free_port()
    pair = authority.pair("idp", "localhost")
    provider = Provider(f"https://localhost:{port}")
    oidc = {
        "issuer": provider.issuer, "client_id": CLIENT, "client_secret": {"secret": "oidc_client"},
        "roles": {"operator": "shift-leads"}, "ca": str(authority.file), "crl": str(crl),
    }  # fmt: skip
    tls = {"ssl_certfile": pair.certificate, "ssl_keyfile": pair.key}
    async with served(provider.app(), port, **tls), https(tmp_path, users=False, oidc=oidc) as server:
        context = ssl.create_default_context(cafile=authority.file)
        context.load_verify_locations(tmp_path / "box.pem")
        plant = Plant(provider, server._replace(context=context))
        async with server.client() as client:
            with structlog.testing.capture_logs() as logs:
                assert (await client.get("/login/oidc")).status_code == 502
                crl.write_bytes(authority.revocations(pair))
                assert (await client.get("/login/oidc")).status_code == 502
            assert [entry["event"] for entry in logs] == ["oidc.unavailable"]
            assert f"dashboard.oidc.crl ({crl}): No such file or directory" in logs[0]["error"]
            crl.write_bytes(authority.revocations())
            assert (await plant.sign_in(client)).status_code == 200
            crl.write_bytes(authority.revocations(pair))  # the metadata are known: the token is asked for in vain
            assert (await plant.sign_in(client)).status_code == 502


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        (24, "its certificate was revoked by its authority"),
        (-1, "has expired; put the authority's present list there"),
    ],
)
async def test_the_log_says_why_a_provider_is_not_trusted(tmp_path: Path, hours: float, problem: str) -> None:
    authority, crl, port = Authority(tmp_path, "plant-ca"), tmp_path / "plant.crl.pem", free_port()
    pair = authority.pair("idp", "localhost")
    crl.write_bytes(authority.revocations(pair, hours=hours))
    provider = Provider(f"https://localhost:{port}")
    oidc = {
        "issuer": provider.issuer, "client_id": CLIENT, "roles": {"operator": "shift-leads"},
        "ca": str(authority.file), "crl": str(crl),
    }  # fmt: skip
    tls = {"ssl_certfile": pair.certificate, "ssl_keyfile": pair.key}
    page = https(tmp_path, users=False, oidc=oidc)
    async with served(provider.app(), port, **tls), page as server, server.client() as client:
        with structlog.testing.capture_logs() as logs:
            assert (await client.get("/login/oidc")).status_code == 502
    [refused] = logs
    assert refused["event"] == "oidc.unavailable"
    assert problem in refused["error"]


# -- sign-out at the provider --


async def sign_out(plant: Plant, client: httpx2.AsyncClient, **more: Any) -> httpx2.Response:
    token = (await client.get("/api/session")).json()["csrf_token"]
    headers = {"X-CSRF-Token": token, "Origin": plant.server.origin}
    return await client.post("/logout", headers=headers, **more)


async def test_a_sign_out_goes_on_to_the_provider_and_comes_back(plant: Plant) -> None:
    """At a computer that others use, the next person must not be signed in by an account that is still open."""
    plant.provider.returns.add(f"{plant.server.origin}/login/oidc/signed-out")
    async with plant.server.client() as client, httpx2.AsyncClient(verify=plant.server.context) as other:
        await plant.sign_in(client)
        answer = await sign_out(plant, client)
        assert (await client.get("/api/who")).status_code == 401
        returned = await other.get(answer.json()["next"])
        target = urlsplit(returned.headers["location"])
        page = await client.get(f"{target.path}?{target.query}", headers={"Sec-Fetch-Site": "cross-site"})
        assert "You are signed out, also from the company account." in page.text
        again = await client.get(f"{target.path}?{target.query}")  # the cookie is used up
        assert "signed out" not in again.text
    [query] = plant.provider.signed_out
    assert query["client_id"] == CLIENT
    assert query["id_token_hint"].count(".") == 2
    assert [entry["action"] for entry in plant.server.page.entries()] == ["login", "logout"]


async def test_a_form_leads_to_the_provider_by_a_page(plant: Plant) -> None:
    """Without JavaScript: the content security policy forbids that a form leads to another server."""
    async with plant.server.client() as client:
        await plant.sign_in(client)
        token = (await client.get("/api/session")).json()["csrf_token"]
        answer = await client.post("/logout", data={"csrf_token": token}, headers={"Origin": plant.server.origin})
    assert answer.status_code == 200
    assert f'http-equiv="refresh" content="0; url={plant.provider.issuer}/end-session?' in answer.text
    assert any(one.startswith("__Host-lineside=;") for one in answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize("fault", ["no sign-out", "open sign-out", "down"])
async def test_without_a_sign_out_at_the_provider_the_page_says_so(
    plant: Plant, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends here in any case, and the person knows that the company account is still open."""
    plant.provider.fault = "" if fault == "down" else fault
    async with plant.server.client() as client:
        await plant.sign_in(client)
        if fault == "down":
            plant.provider.fault = fault
            monkeypatch.setattr("gateway.dashboard.security.oidc.METADATA_SECONDS", 0.0)
        answer = await sign_out(plant, client)
        assert answer.json() == {"next": "/login?signed_out=here"}
        assert (await client.get("/api/who")).status_code == 401
        page = await client.get("/login?signed_out=here", headers={"Accept-Language": "de"})
    assert "hier abgemeldet" in page.text
    assert plant.provider.signed_out == []


async def test_a_hint_that_is_too_long_is_left_out(plant: Plant) -> None:
    """A provider with hundreds of groups in its tokens would refuse the address."""
    plant.provider.claims["groups"] = [f"group-{n}" for n in range(1_000)]
    async with plant.server.client() as client:
        await plant.sign_in(client)
        query = httpx2.URL((await sign_out(plant, client)).json()["next"]).params
    assert "id_token_hint" not in query
    assert query["client_id"] == CLIENT


async def signed_out_by_provider(plant: Plant, token: str) -> int:
    async with plant.server.client() as provider:
        answer = await provider.post("/login/oidc/backchannel", data={"logout_token": token})
        return answer.status_code


@pytest.mark.parametrize(
    ("changes", "remaining"),
    [
        ({}, {"tablet": False, "desk": False}),
        ({"sid": "s-desk"}, {"tablet": True, "desk": False}),
        ({"sub": None, "sid": "s-tablet"}, {"tablet": False, "desk": True}),
        ({"sub": "43"}, {"tablet": True, "desk": True}),
        ({"sid": "s-other"}, {"tablet": True, "desk": True}),
    ],
)
async def test_the_provider_ends_the_sessions_that_it_means(
    plant: Plant, changes: dict[str, Any], remaining: dict[str, bool]
) -> None:
    """A person who leaves the company is signed out of everything at once."""
    async with plant.server.client() as tablet, plant.server.client() as desk:
        clients = {"tablet": tablet, "desk": desk}
        for name, client in clients.items():
            plant.provider.claims["sid"] = f"s-{name}"
            await plant.sign_in(client)
        assert await signed_out_by_provider(plant, plant.provider.logout_token(**changes)) == 200
        found = {name: (await client.get("/api/who")).status_code == 200 for name, client in clients.items()}
    assert found == remaining
    ended = [entry for entry in plant.server.page.entries() if entry["action"] == "logout"]
    assert [entry["after"] for entry in ended] == [{"by": "provider"}] * (2 - sum(remaining.values()))


WRONG_TOKENS: dict[str, dict[str, Any]] = {
    "an ID token": {"nonce": "n"},
    "no event": {"events": None},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "an event that is not an object": {"events": {"http://schemas.openid.net/event/backchannel-logout": 1}},
    "nobody": {"sub": None},
    "another client": {"aud": "another"},
    "another provider": {"iss": "https://evil.example"},
    "expired": {"exp": 1},
    "no expiry": {"exp": None},
    "no id": {"jti": None},
    "an id that is not a text": {"jti": 7},
}


async def test_a_logout_token_that_is_wrong_signs_nobody_out(plant: Plant) -> None:
    """Anybody can send one: it must not end the session of an operator, nor fetch keys again and again."""
    async with plant.server.client() as client:
        await plant.sign_in(client)
        for name, changes in WRONG_TOKENS.items():
            assert await signed_out_by_provider(plant, plant.provider.logout_token(**changes)) == 400, name
        right = plant.provider.logout_token()
        head, claims, signature = right.split(".")
        for token in ("", "x", f"{head}.{claims}.", f"{head}.{claims}.{signature[::-1]}"):
            assert await signed_out_by_provider(plant, token) == 400
        assert (await client.get("/api/who")).status_code == 200
        assert await signed_out_by_provider(plant, right) == 200
        assert (await client.get("/api/who")).status_code == 401
        await plant.sign_in(client)
        assert await signed_out_by_provider(plant, right) == 400  # the same token again
        assert (await client.get("/api/who")).status_code == 200
    assert plant.provider.requests.count("/keys") == 1
    assert {entry["action"] for entry in plant.server.page.entries()} == {"login", "logout"}
