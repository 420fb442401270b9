"""For the routes of the page: who asks, what permission it takes, and what the audit log says about it.

@require(Permission.ACKNOWLEDGE)
async def acknowledge(request: Request) -> Response:
describe(request, "alarm-acknowledged", alarm.id, after={"comment": comment})
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.dashboard.texts.language import language_of
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import HTTPConnection, Request

    from gateway.dashboard.texts.text import Text
    from gateway.users.roles import Identity, Permission

    Endpoint = Callable[[Request], Awaitable[Response]]

IDENTITY, DESCRIPTION = "lineside-identity", "lineside-description"
"""Keys of the scope of a request."""


CLIENT: ContextVar[str] = ContextVar("client of the page", default="")
"""The address of the client whose request is answered, for entries of the audit log."""


class Description(NamedTuple):
    """The entry of the audit log for a request."""

    action: str
    object: str
    before: Any
    after: Any


def identity_of(connection: HTTPConnection) -> Identity:
    """Return who makes a request, or has opened a WebSocket. Raises `LookupError` outside of `secure`."""
    found: Identity | None = connection.scope.get(IDENTITY)
    if found is None:
        raise LookupError("the application is not inside of secure()")
    return found


def require(permission: Permission) -> Callable[[Endpoint], Endpoint]:
    """Let only those through to a route whose role permits it; others get 403."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def checked(request: Request) -> Response:
            if not identity_of(request).may(permission):
                return error(request, 403, needs(permission))
            return await endpoint(request)

        return checked

    return decorate


def describe(
    connection: HTTPConnection, action: str, object_: str = "", *, before: object = None, after: object = None
) -> None:
    """Say what a request does, for its entry in the audit log, which is made when it is answered."""
    connection.scope[DESCRIPTION] = Description(action, object_, before, after)


def records_itself(connection: HTTPConnection) -> None:
    """Say that the answer to a request makes entries of its own; only a refusal or a failure gets another entry."""
    connection.scope[DESCRIPTION] = None


def needs(permission: Permission) -> Text:
    """Return the text for somebody whose role does not permit something."""
    return _("this needs the permission {permission}", permission=permission)


class RequestRefused(HTTPException):
    """A request can't be answered; the text says why, in the reader's language."""

    def __init__(self, status: int, text: Text) -> None:
        super().__init__(status, text.english)
        self.text = text


_OF_STATUS = {404: _("not found"), 405: _("this address has no such method")}
"""The texts of the errors that Starlette raises itself."""


async def answer_of(request: Request, problem: Exception) -> Response:
    """Return the answer to a request that Starlette, or a check of its size, has refused."""
    if not isinstance(problem, HTTPException):
        raise problem
    if isinstance(problem, RequestRefused):
        return error(request, problem.status_code, problem.text)
    usual = _("the request has failed with the status {status}", status=problem.status_code)
    return error(request, problem.status_code, _OF_STATUS.get(problem.status_code, usual))


def error(connection: HTTPConnection, status: int, text: Text, **more: object) -> Response:
    """Return an error as JSON, in the language of who asks."""
    content = {"error": text.into(language_of(connection))} | more
    return Response(orjson.dumps(content), status, media_type="application/json")
