"""JSON routes: every answer, also that of an error, is JSON; a browser that has gone ends the work for it.

A handler returns content to be sent as JSON, or an ASGI application that answers in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import structlog
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.common.state_log import RepeatLog
from gateway.dashboard.actions import Forbidden
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.security.access import error as error_answer
from gateway.dashboard.texts.language import language_of
from gateway.dashboard.texts.misfits import misfit_text
from gateway.dashboard.texts.text import Text, _
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
            return content if callable(content) else json_answer(content, language_of(request))
        except Gone:
            return Response(status_code=_CLOSED)
        except Exception as error:  # noqa: BLE001 - each has an answer
            return _refused(request, error)

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
            return json_answer(content, language_of(request))
        except Exception as error:  # noqa: BLE001 - each has an answer
            return _refused(request, error)

    return answer


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest(_("send application/json"))
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadRequest(_("a request has at most {most} bytes", most=MAX_BODY))
    return bytes(body)


def _refused(request: Request, error: Exception) -> Response:
    """Return the answer for an error; a defect costs one answer, is logged, and the page says so."""
    if isinstance(error, Forbidden):
        return error_answer(request, error.status, error.text, kind="forbidden")
    if isinstance(error, TrendError):
        return refusal(request, error)
    if isinstance(error, BadArguments):
        return error_answer(request, 400, error.text, kind="bad_request")
    if isinstance(error, HTTPException):
        raise error  # Starlette's own, and those of the checks of a request: `answer_of` has their texts
    if isinstance(error, ValidationError):
        return error_answer(request, 400, misfit_text(error), kind="bad_request")
    _failures.error("dashboard.query_failed", key=request.url.path, path=request.url.path, exc_info=error)
    return error_answer(request, 500, _("the query failed; the log of the dashboard has the reason"), kind="failed")


def refusal(request: Request, error: TrendError) -> Response:
    """Return the answer for an error of a query."""
    return error_answer(request, error.status, error.text, kind=error.kind)


def json_answer(content: object, language: str = "en") -> Response:
    """Return content as JSON that no cache keeps, its texts in a language. Raises `TypeError` for other objects."""

    def translated(value: object) -> str:
        if isinstance(value, Text):
            return value.into(language)
        raise TypeError(f"{type(value).__name__} has no form in JSON")

    body = orjson.dumps(content, translated, orjson.OPT_NON_STR_KEYS)
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")
