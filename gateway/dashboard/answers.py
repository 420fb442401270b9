"""JSON routes: every answer, also that of an error, is JSON; a browser that has gone ends the work for it.

A handler returns content to be sent as JSON, or an ASGI application that answers in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import structlog
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from gateway.common.state_log import RepeatLog
from gateway.dashboard.actions import Forbidden
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.trends.errors import BadRequest, TrendError
from gateway.dashboard.trends.gone import Gone, until_gone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from starlette.requests import Request
    from starlette.types import ASGIApp

T = TypeVar("T", bound=BaseModel)

log = structlog.get_logger(__name__)

MAX_BODY = 2**20
"""Bytes of a request."""

_CLOSED = 499
"""The status for a browser that has gone: nobody receives it."""

_failures = RepeatLog(log)


def answered(
    handler: Callable[[Request], Awaitable[dict[str, Any] | ASGIApp]]
) -> Callable[[Request], Coroutine[Any, Any, Any]]:  # fmt: skip
    """Return a handler of a GET whose content is sent as JSON, and whose errors are too."""

    async def answer(request: Request) -> Any:  # noqa: ANN401 - a response, or an ASGI application
        try:
            async with until_gone(request.receive):
                content = await handler(request)
        except Gone:
            return Response(status_code=_CLOSED)
        except Exception as error:  # noqa: BLE001 - each has an answer
            return _refused(request, error)
        return content if callable(content) else json_answer(content)

    return answer


def posted(
    model: type[T], handler: Callable[[Request, T], Awaitable[dict[str, Any]]]
) -> Callable[[Request], Coroutine[Any, Any, Response]]:  # fmt: skip
    """Return a handler of a POST with a body in JSON, which a model parses.

    A form of another site can't send this content type without permission of this server (Fetch standard, 4.9).
    """

    async def answer(request: Request) -> Response:
        try:
            content = await handler(request, model.model_validate_json(await _body(request)))
        except Exception as error:  # noqa: BLE001 - each has an answer
            return _refused(request, error)
        return json_answer(content)

    return answer


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest("send application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadRequest(f"a request has at most {MAX_BODY} bytes")
    return bytes(body)


def _refused(request: Request, error: Exception) -> Response:
    """Return the answer for an error; a defect costs one answer, is logged, and the page says so."""
    if isinstance(error, Forbidden):
        return json_answer({"error": str(error), "kind": "forbidden"}, error.status)
    if isinstance(error, TrendError):
        return refusal(error)
    if isinstance(error, BadArguments):
        return json_answer({"error": str(error), "kind": "bad_request"}, 400)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return json_answer({"error": f"{where}: {first['msg']}", "kind": "bad_request"}, 400)
    _failures.error("dashboard.query_failed", key=request.url.path, path=request.url.path, exc_info=error)
    return json_answer({"error": "the query failed; the log of the dashboard has the reason", "kind": "failed"}, 500)


def refusal(error: TrendError) -> Response:
    """Return the answer for an error of a query."""
    return json_answer({"error": str(error), "kind": error.kind}, error.status)


def json_answer(content: object, status: int = 200) -> Response:
    """Return content as JSON that no cache keeps."""
    body = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status, {"Cache-Control": "no-store"}, media_type="application/json")
