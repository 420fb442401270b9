"""A small application behind the gate of the page, with users and an audit log, for tests."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.dashboard.administration.routes import Administration
from gateway.dashboard.security import CLIENT, describe, identity_of, records_itself, require, secure
from gateway.dashboard.security.access import answer_of
from gateway.dashboard.security.link import Link
from gateway.settings.dashboard_section import DashboardSection
from gateway.users.authenticator import Authenticator
from gateway.users.passwords import Passwords
from gateway.users.roles import Permission, Role
from gateway.users.throttle import Lockout
from gateway.users.users_file import Users, changing, new_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.websockets import WebSocket

PASSWORD = "kettle-river-41-piano"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = QUICK.hash(PASSWORD)
ORIGIN = {"Origin": "https://lineside.example"}
LIVE = "wss://lineside.example/api/live"


async def _who(request: Request) -> Response:
    return PlainTextResponse(identity_of(request).name)


@require(Permission.ACKNOWLEDGE)
async def _act(request: Request) -> Response:
    body = await request.body()
    describe(request, "alarm-acknowledged", "press-01/door", before="active", after={"bytes": len(body)})
    return PlainTextResponse("done")


async def _note(request: Request) -> Response:
    records_itself(request)
    if b"bad" in await request.body():
        return PlainTextResponse("bad", 400)
    request.app.state.audit.record("noted", who=identity_of(request).name, address=CLIENT.get(), object="door")
    return PlainTextResponse("done")


@require(Permission.USERS)
async def _admin(request: Request) -> Response:
    del request
    return PlainTextResponse("done")


async def _live(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(identity_of(socket).name + (await socket.receive_text()))
    except WebSocketDisconnect:
        pass


def application(more: Sequence[Route] = ()) -> Starlette:
    return Starlette(
        routes=[
            *more,
            Route("/", _who),
            Route("/api/who", _who),
            Route("/api/act", _act, methods=["POST"]),
            Route("/api/note", _note, methods=["POST"]),
            Route("/api/admin", _admin, methods=["POST"]),
            Route("/static/x.css", _static),
            WebSocketRoute("/api/live", _live),
        ],
        exception_handlers={HTTPException: answer_of},
    )


async def _static(request: Request) -> Response:
    del request
    return PlainTextResponse("static", headers={"Cache-Control": "no-cache"})


class Page:
    """A secured application, its files, and clients."""

    def __init__(self, folder: Path, audit: AuditLog, section: DashboardSection) -> None:
        self.section = section
        self.folder = folder
        self.audit = audit
        users = Users(section.users)
        self.link = Link(folder, users)
        authenticator = Authenticator(users, Passwords(QUICK), lockout=Lockout(**section.lockout.model_dump()))
        inner = application(Administration(authenticator, audit, section.audit.folder).routes())
        inner.state.audit = audit
        link = self.link if section.oidc is None and section.endpoint.is_local else None
        self.app = secure(inner, section, authenticator, audit, link)

    def client(self, base: str = "https://lineside.example", address: str = "10.0.0.1") -> TestClient:
        return TestClient(self.app, base_url=base, client=(address, 4000), follow_redirects=False)

    def signed_in(self, name: str = "anna") -> tuple[TestClient, dict[str, str]]:
        """Return a client with a session, and the headers of a request that changes something."""
        client = self.client()
        assert client.post("/login", data={"name": name, "password": PASSWORD}, headers=ORIGIN).status_code == 303
        return client, ORIGIN | {"X-CSRF-Token": client.get("/api/session").json()["csrf_token"]}

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of the audit log that are not about the log itself."""
        self.audit.record("audit-flush", who="lineside").result(10)
        files = log_files(self.section.audit.folder)
        found = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
        return [entry for entry in found if not entry["action"].startswith("audit-")]

    def change(self, name: str, **keys: Any) -> None:
        with changing(self.section.users) as users:
            users[name] = users[name].model_copy(update=keys)


@contextmanager
def serving(folder: Path, *, users: bool = True, **keys: Any) -> Iterator[Page]:
    written = {
        "users": str(folder / "users.yaml"), "audit": {"folder": str(folder / "audit")},
        "hosts": ["lineside.example"],
    }  # fmt: skip
    section = DashboardSection.model_validate(written | keys)
    if users:
        with changing(section.users) as found:
            found["anna"] = new_user(Role.OPERATOR, HASH)
            found["victor"] = new_user(Role.VIEWER, HASH)
            found["ada"] = new_user(Role.ADMIN, HASH)
    with AuditLog(section.audit) as audit:
        yield Page(folder, audit, section)
