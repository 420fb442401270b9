"""The routes of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from gateway import __version__
from gateway.dashboard.answers import json_answer
from gateway.dashboard.security.access import answer_of, error
from gateway.dashboard.socket import PageConnection
from gateway.dashboard.texts import LANGUAGES, catalogue
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope
    from starlette.websockets import WebSocket

    from gateway.dashboard.plants import Plants

STATIC = Path(__file__).parent / "static"


class _Static(StaticFiles):
    """Files of the page: a browser asks each time whether its copy is still right, so an upgrade is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


class Page:
    """The data of the routes. `settings` are sent to each page: version, time zone, language."""

    def __init__(self, plants: Plants, settings: dict[str, str]) -> None:
        self.plants = plants
        self.settings = settings

    def app(self, routes: list[Route] | None = None) -> Starlette:
        """Return the application: the shell at every path of a view, its files, texts, and the WebSocket."""
        return Starlette(
            routes=[
                Mount("/static", _Static(directory=STATIC)),
                Route("/api/settings", self._settings),
                Route("/api/texts/{language}", self._texts),
                WebSocketRoute("/api/live", self._live),
                *(routes or []),
                Route("/{view:path}", _shell),
            ],
            exception_handlers={HTTPException: answer_of},
        )

    async def _settings(self, request: Request) -> Response:
        del request
        return json_answer(self.settings | {"version": __version__, "languages": list(LANGUAGES)})

    async def _texts(self, request: Request) -> Response:
        language = request.path_params["language"]
        if language not in LANGUAGES:
            return error(request, 404, _("a language is one of {languages}", languages=", ".join(LANGUAGES)))
        return json_answer(catalogue(language))

    async def _live(self, socket: WebSocket) -> None:
        await PageConnection(socket, self.plants).run()


async def _shell(request: Request) -> Response:
    """Return the page; its scripts show the view that the address names."""
    if "." in request.path_params["view"].rpartition("/")[2] or request.path_params["view"].startswith("api/"):
        return error(request, 404, _("not found"))
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
