"""For the routes of the page: who asks, what role it takes, and what the audit log says about it.

@require(Role.OPERATOR)
async def acknowledge(request: Request) -> Response:
describe(request, "alarm-acknowledged", alarm.id, after={"comment": comment})
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import HTTPConnection, Request

    from gateway.users.roles import Identity, Role

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


def require(role: Role) -> Callable[[Endpoint], Endpoint]:
    """Let only those with a role, or a higher role, through to a route; others get 403."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def checked(request: Request) -> Response:
            if not identity_of(request).role.includes(role):
                return error(403, f"this needs the role {role}")
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


def error(status: int, text: str, **more: object) -> Response:
    """Return an error as JSON."""
    return Response(orjson.dumps({"error": text} | more), status, media_type="application/json")
