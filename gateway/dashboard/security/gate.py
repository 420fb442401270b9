"""All checks around an application: `secure`."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from gateway.common.tasks import cancel_and_wait
from gateway.dashboard.security.access import CLIENT, DESCRIPTION, IDENTITY, Description, RequestRefused, error
from gateway.dashboard.security.headers import Headers
from gateway.dashboard.security.limits import bounded, check_sizes
from gateway.dashboard.security.login import BY_LINK, UNKNOWN, Login, address_of, form_of, session_as_dict, stamp_of
from gateway.dashboard.security.login_page import continue_page
from gateway.dashboard.security.oidc import Oidc
from gateway.dashboard.security.origin import Hosts, is_same_origin
from gateway.dashboard.security.sessions import Sessions, cookie_name, cookie_of, is_same
from gateway.dashboard.texts.text import _
from gateway.users.roles import Identity

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.audit.log import AuditLog
    from gateway.dashboard.security.link import Link
    from gateway.dashboard.security.sessions import Session
    from gateway.settings.dashboard_section import DashboardSection
    from gateway.users.authenticator import Authenticator

ENDED = 4401
"""The code that closes the WebSocket of a session that has ended; the page signs in again."""

LOOK_EVERY = 5.0
"""Seconds between two looks whether the user of a WebSocket still has the role."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, clause 9.2.1)."""

DONE = "done"
"""The outcome of a request that has changed something."""

_OPEN = ("/static/", "/login")
"""The paths for everybody."""


def secure(
    app: ASGIApp,
    section: DashboardSection,
    authenticator: Authenticator,
    audit: AuditLog,
    link: Link | None = None,
    sessions: Sessions | None = None,
) -> ASGIApp:
    """Return an application behind headers, limits, sign-in and audit log.

    `link` signs in as long as there are no users. The application finds who asks by `identity_of`, and `require`
    guards its routes. Raises `MissingExtra` or `MissingSecret`.
    """
    kept = Sessions(section.session, section.idle) if sessions is None else sessions
    return Headers(_Gate(app, section, authenticator, audit, link, kept))


class _Gate:
    """Lets a request through that comes by a name and from a page of this server, of somebody who is signed in."""

    def __init__(
        self, app: ASGIApp, section: DashboardSection, authenticator: Authenticator, audit: AuditLog,
        link: Link | None, sessions: Sessions,
    ) -> None:  # fmt: skip
        self._app = app
        self._users = authenticator.users
        self._audit = audit
        self._hosts = Hosts(section)
        self._sessions = sessions
        oidc = None if section.oidc is None else Oidc(section.oidc, authenticator.users)
        self._link = link
        self._login = Login(section, self._sessions, authenticator, audit, oidc, link)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        request = Request(scope, bounded(receive))
        try:
            check_sizes(scope)
            response = await self._refused(request) or await self._answer(request)
            CLIENT.set(address_of(request))
            await (response or self._application(request))(scope, request.receive, send_noting)
        except RequestRefused as problem:
            if started:
                raise
            await error(request, problem.status_code, problem.text)(scope, receive, send)

    async def _refused(self, request: Request) -> Response | None:
        """Return the answer to a request by another name, or from a page of another server."""
        if not self._hosts.allows(request.headers):
            return error(request, 421, _("this name is not one of this server; add it to dashboard.hosts"))
        if request.method not in SAFE and not is_same_origin(request.headers, request.url.scheme):
            if request.url.path == "/login":
                return self._login.refused_origin(request)
            return error(request, 403, _("the request is from a page of another server"))
        return None

    async def _answer(self, request: Request) -> Response | None:
        """Return the answer to a request about sessions, or of somebody who is not signed in; None for the rest."""
        path = request.url.path
        if path == "/login" or path.startswith("/login/"):
            return await self._login.answer(request)
        if path.startswith(_OPEN):
            return None
        session = await self._session_of(request)
        if session is None:
            return self._sign_in_first(request)
        if request.method not in SAFE and not await _has_token(request, session.csrf_token):
            text = _("the header X-CSRF-Token is missing or wrong; GET /api/session has it")
            return error(request, 403, text)
        request.scope[IDENTITY] = session.identity
        return await self._session_answer(request, session)

    async def _session_answer(self, request: Request, session: Session) -> Response | None:
        """Return the answer to a request about the session itself; None for the rest."""
        if request.url.path == "/api/session" and request.method in SAFE:
            # a page asks by itself: this does not show that a person is there
            return _json(session_as_dict(session.identity, session.csrf_token, self._sessions.remaining(session)))
        self._sessions.use(session)
        if request.url.path == "/logout" and request.method == "POST":
            return await self._login.sign_out(request, session)
        return None

    async def _session_of(self, connection: HTTPConnection) -> Session | None:
        """Return the session of a request, of somebody who may still sign in."""
        session = self._sessions.find(cookie_of(connection.headers, cookie_name(connection.url.scheme)))
        return None if session is None or await self._identity_now(session) is None else session

    async def _identity_now(self, session: Session) -> Identity | None:
        """Return who a session is with the rights of now; ends the session of a user who may sign in no longer."""
        identity = session.identity
        await self._users.refresh()
        role = self._role_now(session)
        permissions = None if role is None else self._users.permissions(role)
        if role is None or permissions is None:
            self._sessions.end(session)
            return None
        session.identity = Identity(identity.name, role, identity.method, permissions)
        return session.identity

    def _role_now(self, session: Session) -> str | None:
        """Return the role of a session's user, None for a user who may sign in no longer."""
        identity = session.identity
        if identity.method == BY_LINK:
            return identity.role if self._link is not None and self._link.is_open else None
        if identity.method != "password":
            return identity.role
        user = self._users.get(identity.name)
        if user is None or user.disabled or not hmac.compare_digest(stamp_of(user), session.stamp):
            return None
        return user.role

    def _sign_in_first(self, request: Request) -> Response:
        path = request.url.path
        if path.startswith("/api/") or request.method not in SAFE:
            return error(request, 401, _("sign in"), login="/login")
        query = f"?{request.url.query}" if request.url.query else ""
        if request.headers.get("sec-fetch-site") == "cross-site":
            # a browser sends the cookie for a link of this server only
            return continue_page(self._login.language(request), path + query)
        return RedirectResponse(f"/login?{urlencode({'next': path + query})}", 303)

    def _application(self, request: Request) -> ASGIApp:
        """Return the application, with an entry in the audit log for a request that changes something."""
        if request.method in SAFE:
            return self._app

        async def audited(scope: Scope, receive: Receive, send: Send) -> None:
            status = 500

            async def send_noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, send_noting)
            finally:
                self._record(request, status)

        return audited

    def _record(self, request: Request, status: int) -> None:
        usual = Description("request", f"{request.method} {request.url.path}", None, None)
        described: Description | None = request.scope.get(DESCRIPTION, usual)
        outcome = _outcome(status)
        if described is None and outcome == DONE:
            return
        action, object_, before, after = described or usual
        identity: Identity | None = request.scope.get(IDENTITY)
        who = UNKNOWN if identity is None else identity.name  # a file of the page asks nobody to sign in
        self._audit.record(
            action, who=who, address=address_of(request), object=object_, before=before, after=after, outcome=outcome
        )

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        if not self._hosts.allows(connection.headers) or not is_same_origin(connection.headers, scope["scheme"]):
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
            return
        session = await self._session_of(connection)
        if session is None:
            await receive()
            await send({"type": "websocket.accept"})  # or the page does not see the code
            await send({"type": "websocket.close", "code": ENDED, "reason": "sign in"})
            return
        scope[IDENTITY] = session.identity
        self._sessions.use(session)
        await self._session_websocket(session, scope, receive, send)

    async def _session_websocket(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket as long as its session; a message of the page is a sign that somebody is there."""

        async def receive_noting() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                self._sessions.use(session)
            return message

        await self._serve_until(self._ends(session), scope, receive_noting, send)

    async def _ends(self, session: Session) -> None:
        """Return when a session ends or expires, or its user has other rights."""
        before = session.identity
        while not session.ended.is_set() and (remaining := self._sessions.remaining(session)) > 0:
            try:
                async with asyncio.timeout(min(remaining, LOOK_EVERY)):
                    await session.ended.wait()
            except TimeoutError:
                identity = await self._identity_now(session)
                if identity != before:
                    return
        if not session.ended.is_set():
            self._sessions.end(session)

    async def _serve_until(self, end: Coroutine[Any, Any, None], scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application until it returns, or until `end` does: then the WebSocket is closed with `ENDED`."""
        serving = asyncio.create_task(self._run(scope, receive, send), name="websocket")
        ending = asyncio.create_task(end, name="session")
        try:
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
                return
            await cancel_and_wait(serving)
            await send({"type": "websocket.close", "code": ENDED, "reason": "sign in"})
        finally:
            await cancel_and_wait(serving, ending)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _has_token(request: Request, token: str) -> bool:
    """Return whether a request has the token of its session: in a header, or as a field of the form of `/logout`."""
    found = request.headers.get("x-csrf-token", "")
    if not found and request.url.path == "/logout":
        found = (await form_of(request) or {}).get("csrf_token", "")
    return is_same(found, token)


def _outcome(status: int) -> str:
    if status < 400:  # noqa: PLR2004 - of HTTP
        return DONE
    return f"refused: {status}" if status in {401, 403} else f"failed: {status}"


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
