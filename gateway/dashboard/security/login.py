"""Sign-in with a password, by the provider or by the link, sign-out, and the session as JSON.

| route | does |
|---|---|
| `GET /login` | the page |
| `GET /login?token=TOKEN`, `POST /login/link` | the link of a page without users, and its notice of use |
| `POST /login` | a form, or JSON with `name` and `password`, and `accepted` if there is a notice of use |
| `GET /login/oidc`, `GET /login/oidc/callback` | to the provider, and back |
| `POST /logout` | ends the session; the header `X-CSRF-Token`, or the field `csrf_token` of a form |
| `GET /login/oidc/signed-out` | back from the provider after a sign-out there |
| `POST /login/oidc/backchannel` | ends the sessions of a user whom the provider has signed out |
| `GET /api/session` | who is signed in, with which role, until when; the token for requests that change something |
"""

from __future__ import annotations

import math
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import orjson
import structlog
from starlette.responses import RedirectResponse, Response

from gateway.common.state_log import RepeatLog
from gateway.dashboard.security.access import error
from gateway.dashboard.security.login_page import PROBLEMS, continue_page, leave_page, login_page
from gateway.dashboard.security.oidc import NoRole, NotAccepted, ProviderFailed, binding, sign_out_binding
from gateway.dashboard.security.sessions import cookie_name, cookie_of, is_same, set_cookie
from gateway.dashboard.texts.language import language_of
from gateway.dashboard.texts.text import _
from gateway.users.authenticator import Reason, Refused
from gateway.users.roles import DEFAULTS, Identity, Role, listed

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.audit.log import AuditLog
    from gateway.dashboard.security.link import Link
    from gateway.dashboard.security.oidc import Oidc, Subject
    from gateway.dashboard.security.sessions import Session, Sessions
    from gateway.settings.dashboard_section import DashboardSection
    from gateway.users.authenticator import Authenticator
    from gateway.users.users_file import User

MOST_FORM = 16 * 2**10
"""Bytes of a form."""

LONGEST_PATH = 2_000
"""Characters of the path to go on to."""

OIDC, SIGN_OUT = "lineside-oidc", "lineside-signout"
"""The cookies of a browser that has gone to the provider, to sign in and to sign out."""

BY_LINK = "link"
"""The method of a session that the link has begun."""

LOCAL = Identity("local", Role.ENGINEER, BY_LINK, DEFAULTS[Role.ENGINEER])
"""The identity that the link gives: the account of the system that the page runs as."""

LINK = "lineside-link"
"""The cookie of a browser that has come by the link, and reads the notice of use."""

UNKNOWN = "unknown user"
"""The `who` of a failure with a name that does not exist: people type a password there."""


log = structlog.get_logger(__name__)


class _Fields(NamedTuple):
    """The fields of a sign-in."""

    name: str
    password: str
    after: str
    accepted: bool
    is_json: bool


def stamp_of(user: User) -> str:
    """Return the mark of a user's password that a session keeps."""
    return sha256(user.password.encode()).hexdigest()


def local_path(path: str) -> str:
    """Return a path of this server, `/` in place of anything else: no other server, no control character."""
    right = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and " " not in path
    return path if right and "\\" not in path and len(path) <= LONGEST_PATH else "/"


def address_of(request: Request) -> str:
    """Return the address of the client."""
    return "" if request.client is None else request.client.host


class Login:
    """The routes of the sign-in."""

    def __init__(
        self, section: DashboardSection, sessions: Sessions, authenticator: Authenticator, audit: AuditLog,
        oidc: Oidc | None, link: Link | None,
    ) -> None:  # fmt: skip
        self._section = section
        self._sessions = sessions
        self._authenticator = authenticator
        self._oidc = oidc
        self._link = link
        self._audit = audit
        self._refusals = RepeatLog(log)

    async def answer(self, request: Request) -> Response:
        """Answer a request below `/login`."""
        match request.method, request.url.path:
            case "GET", "/login" if self._link is not None and "token" in request.query_params:
                return self._by_link(request, self._link)
            case "POST", "/login/link" if self._link is not None:
                return await self._accepted_by_link(request, self._link)
            case "GET" | "HEAD", "/login":
                signed_out = "here" if request.query_params.get("signed_out") == "here" else ""
                after = local_path(request.query_params.get("next", "/"))
                return self._page(request, after=after, signed_out=signed_out)
            case "POST", "/login":
                return await self._sign_in(request)
        found = None if self._oidc is None else await self._answer_with_provider(self._oidc, request)
        return found or error(request, 404, _("not found"))

    async def _answer_with_provider(self, oidc: Oidc, request: Request) -> Response | None:
        """Answer a request below `/login/oidc`; None for an unknown path."""
        match request.method, request.url.path:
            case "GET", "/login/oidc":
                return await self._to_provider(oidc, request)
            case "GET", "/login/oidc/callback":
                return await self._from_provider(oidc, request)
            case "GET", "/login/oidc/signed-out":
                return self._signed_out(request)
            case "POST", "/login/oidc/backchannel":
                return await self._by_provider(oidc, request)
        return None

    def _page(self, request: Request, **more: Any) -> Response:  # noqa: ANN401 - of login_page
        by_link = self._link is not None and self._link.is_open
        return login_page(
            self.language(request),
            with_passwords=not by_link and (self._oidc is None or self._authenticator.users.exists()),
            with_oidc=self._oidc is not None, notice=self._section.notice, by_link=by_link,
            with_link=self._has_come_by_link(request), **more,
        )  # fmt: skip

    def language(self, request: Request) -> str:
        """Return the language of a page: as configured, or that of the browser."""
        return str(self._section.language or language_of(request))

    def refused_origin(self, request: Request) -> Response:
        """Return the page for a form that is from another server."""
        return self._page(request, status=403, problem="origin")

    def _has_come_by_link(self, request: Request) -> bool:
        """Return whether a browser has come by the link, and has the notice of use to accept."""
        if self._link is None or not self._link.is_open:
            return False
        return is_same(cookie_of(request.headers, cookie_name(request.url.scheme, LINK)), self._link.proof)

    def _by_link(self, request: Request, link: Link) -> Response:
        """Sign in by the link, or lead to the notice of use first; the token leaves the address at once."""
        after = local_path(request.query_params.get("next", "/"))
        if not link.matches(request.query_params["token"]):
            # anybody on the box can send a token: entries of the audit log for each would fill it
            address = address_of(request)
            self._refusals.warning("dashboard.link_refused", key=address, address=address)
            return self._page(request, status=401, problem="link", after=after)
        if self._section.notice is None:
            response: Response = RedirectResponse(after, 303)
            self._begin(request, response, LOCAL, "")
            return response
        response = RedirectResponse(f"/login?{urlencode({'next': after})}", 303)
        set_cookie(response, request.url.scheme, link.proof, LINK, age=600)
        return response

    async def _accepted_by_link(self, request: Request, link: Link) -> Response:
        """Sign in a browser that has come by the link, and whose user has accepted the notice of use."""
        form = await form_of(request) or {}
        after = local_path(form.get("next", "/"))
        if not link.is_open or not self._has_come_by_link(request):
            return self._page(request, status=401, problem="link", after=after)
        if self._section.notice is not None and form.get("accepted") != "yes":
            return self._page(request, status=403, problem="notice", after=after)
        response = RedirectResponse(after, 303)
        self._begin(request, response, LOCAL, "")
        set_cookie(response, request.url.scheme, "", LINK, age=0)
        return response

    async def _sign_in(self, request: Request) -> Response:
        fields = await _fields(request)
        if fields is None:
            return error(request, 400, _("send a form, or JSON, with name and password"))
        if self._section.notice is not None and not fields.accepted:
            return self._not_accepted(request, fields, self._section.notice)
        address = address_of(request)
        found = await self._authenticator.authenticate(fields.name, fields.password, address)
        if isinstance(found, Refused):
            self._record_refusal(fields.name, address, found)
            return self._refused(request, fields, found)
        user = self._authenticator.users.get(found.name)
        response = self._signed_in_response(fields)
        self._begin(request, response, found, "" if user is None else stamp_of(user))
        return response

    @staticmethod
    def _signed_in_response(fields: _Fields) -> Response:
        if fields.is_json:
            return Response(orjson.dumps({"signed_in": True}), media_type="application/json")
        return RedirectResponse(fields.after, 303)

    def _not_accepted(self, request: Request, fields: _Fields, notice: str) -> Response:
        """Return the answer to a sign-in without the acceptance of the notice of use; the password is not checked."""
        if fields.is_json:
            text = _("the notice of use is not accepted; show it to the user, and send accepted: yes")
            return error(request, 403, text, kind="notice", notice=notice)
        return self._page(request, status=403, problem="notice", name=fields.name[:64], after=fields.after)

    def _record_refusal(self, name: str, address: str, refused: Refused) -> None:
        """Record a failure, and the begin of delays. Attempts during a delay would fill the log, and are left out."""
        who = name if self._authenticator.users.get(name) is not None else UNKNOWN
        if refused.reason in {Reason.WRONG, Reason.DISABLED}:
            self._audit.record("login-failed", who=who, address=address, outcome=f"refused: {refused.reason}")
        if refused.locked:
            self._audit.record("login-locked", who=who, address=address, after={"seconds": refused.retry_after})

    def _refused(self, request: Request, fields: _Fields, refused: Refused) -> Response:
        seconds = math.ceil(refused.retry_after)
        problem = "wrong" if refused.reason is Reason.DISABLED else str(refused.reason)
        status = 401 if problem == "wrong" else 429
        if fields.is_json:
            text = PROBLEMS[problem].given(seconds=seconds)
            response = error(request, status, text, kind=problem, retry_after=seconds)
        else:
            response = self._page(
                request, status=status, problem=problem, seconds=seconds, name=fields.name[:64], after=fields.after
            )
        if seconds:
            response.headers["Retry-After"] = str(seconds)
        return response

    def _begin(
        self, request: Request, response: Response, identity: Identity, stamp: str, subject: Subject | None = None
    ) -> None:
        """Begin a session with a new id; the session that the browser had ends."""
        scheme = request.url.scheme
        if (old := self._sessions.find(cookie_of(request.headers, cookie_name(scheme)))) is not None:
            self._sessions.end(old)
        id_, _session = self._sessions.begin(identity, stamp, subject)
        set_cookie(response, scheme, id_)
        after = {"role": identity.role, "method": identity.method} | self._accepted
        self._audit.record("login", who=identity.name, address=address_of(request), after=after)

    @property
    def _accepted(self) -> dict[str, str]:
        """The notice of use that a person has accepted, for the audit log, as the SHA-256 of its text."""
        notice = self._section.notice
        return {} if notice is None else {"notice": sha256(notice.encode()).hexdigest()}

    async def _to_provider(self, oidc: Oidc, request: Request) -> Response:
        after = local_path(request.query_params.get("next", "/"))
        if self._section.notice is not None and request.query_params.get("accepted") != "yes":
            return RedirectResponse(f"/login?{urlencode({'next': after})}", 303)
        try:
            url, flow = await oidc.begin(_origin_of(request), after)
        except ProviderFailed:
            return self._page(request, status=502, problem="provider")
        response = RedirectResponse(url, 303)
        # Lax: the provider's redirect is a link of another server, and has to bring this cookie
        set_cookie(response, request.url.scheme, binding(flow), OIDC, same_site="Lax", age=600)
        return response

    async def _from_provider(self, oidc: Oidc, request: Request) -> Response:
        scheme, address = request.url.scheme, address_of(request)
        cookie = cookie_of(request.headers, cookie_name(scheme, OIDC))
        try:
            identity, subject, after = await oidc.finish(request.query_params, cookie)
        except ProviderFailed:
            return self._page(request, status=502, problem="provider")
        except NotAccepted as refused:
            self._audit.record("login-failed", who=UNKNOWN, address=address, outcome=f"refused: {refused}")
            return self._page(request, status=401, problem="refused")
        except NoRole as refused:
            self._audit.record(
                "login-failed", who=str(refused) or UNKNOWN, address=address, outcome="refused: no role"
            )
            return self._page(request, status=403, problem="no-role")
        response = continue_page(self.language(request), after)
        self._begin(request, response, identity, "", subject)
        set_cookie(response, scheme, "", OIDC, same_site="Lax", age=0)
        return response

    async def sign_out(self, request: Request, session: Session) -> Response:
        """End a session; the answer leads to the provider of its user, if users can sign out there."""
        self._sessions.end(session)
        self._audit.record("logout", who=session.identity.name, address=address_of(request))
        url, state = await self._provider_sign_out(request, session)
        is_form = "form" in request.headers.get("content-type", "")
        response: Response
        if session.subject is None:
            response = RedirectResponse("/login", 303) if is_form else Response(status_code=204)
        elif not is_form:
            response = Response(orjson.dumps({"next": url}), media_type="application/json")
        elif state:
            response = leave_page(self.language(request), url)
        else:
            response = RedirectResponse(url, 303)
        set_cookie(response, request.url.scheme, "", age=0)
        if state:
            # Lax: the provider's redirect is a link of another server, and has to bring this cookie
            cookie = sign_out_binding(state)
            set_cookie(response, request.url.scheme, cookie, SIGN_OUT, same_site="Lax", age=600)
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    async def _provider_sign_out(self, request: Request, session: Session) -> tuple[str, str]:
        """Return where the browser goes on after a sign-out, and the state with which it comes back from there."""
        if session.subject is None or self._oidc is None:
            return "/login", ""
        try:
            url, state = await self._oidc.end_session(_origin_of(request), session.subject)
        except ProviderFailed:
            url, state = "", ""
        return (url, state) if url else ("/login?signed_out=here", "")

    def _signed_out(self, request: Request) -> Response:
        """Return the page of the sign-in after a sign-out at the provider, if this browser has begun it."""
        scheme = request.url.scheme
        cookie = cookie_of(request.headers, cookie_name(scheme, SIGN_OUT))
        is_ours = is_same(cookie, sign_out_binding(request.query_params.get("state", "")))
        response = self._page(request, signed_out="everywhere" if is_ours else "")
        set_cookie(response, scheme, "", SIGN_OUT, same_site="Lax", age=0)
        return response

    async def _by_provider(self, oidc: Oidc, request: Request) -> Response:
        """End the sessions of a user whom the provider has signed out."""
        form, address = await form_of(request) or {}, address_of(request)
        try:
            subject = await oidc.signed_out(form.get("logout_token", ""))
        except ProviderFailed:
            return error(request, 502, PROBLEMS["provider"])
        except NotAccepted as refused:
            # anybody can send a token: entries of the audit log for each would fill it
            self._refusals.warning("oidc.logout_refused", key=address, address=address, error=str(refused))
            return error(request, 400, _("the logout token was not accepted"))
        for session in self._sessions.of_subject(subject):
            self._sessions.end(session)
            self._audit.record("logout", who=session.identity.name, address=address, after={"by": "provider"})
        return Response()


def _origin_of(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"


def session_as_dict(identity: Identity, token: str, remaining: float) -> dict[str, Any]:
    """Return a session as `GET /api/session` has it; `expires` is in microseconds since the epoch."""
    expires = time.time_ns() // 1000 + round(remaining * 1e6)
    return {
        "name": identity.name, "role": identity.role, "permissions": listed(identity.permissions),
        "method": identity.method, "expires": expires, "csrf_token": token,
    }  # fmt: skip


async def form_of(request: Request) -> dict[str, str] | None:
    """Return the fields of a form or a JSON object, None of anything else. Bytes that are not UTF-8 are replaced."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/x-www-form-urlencoded"}:
        return None
    body = await request.body()
    if len(body) > MOST_FORM:
        return None
    try:
        data = orjson.loads(body) if kind == "application/json" else dict(_pairs(body))
    except ValueError:
        return None
    if not isinstance(data, dict) or not all(isinstance(one, str) for one in data.values()):
        return None
    return data


def _pairs(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=20)


async def _fields(request: Request) -> _Fields | None:
    form = await form_of(request)
    if form is None or "name" not in form or "password" not in form:
        return None
    is_json = request.headers.get("content-type", "").startswith("application/json")
    after, accepted = local_path(form.get("next", "/")), form.get("accepted") == "yes"
    return _Fields(form["name"][:1000], form["password"], after, accepted, is_json)
