"""The configurations that the page was given, as their files are now: machines, points, plan, warnings, sections.

The files are read in a thread when the view is opened, and again only if they have changed. Secrets are shown by
name, and every answer passes `scrub`, which removes the values of secrets and everything in the form of a password.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from starlette.routing import Route

from drivers.exposure import is_loopback
from gateway.acquisition.device_metadata import reported_metadata
from gateway.acquisition.link_load import link_loads
from gateway.acquisition.link_plan import are_kept, plan_of
from gateway.common.digests import same_digest
from gateway.common.file_looks import looks_of
from gateway.dashboard.answers import json_answer
from gateway.dashboard.security.access import error
from gateway.dashboard.texts.text import _
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError, Problem
from gateway.settings.serialize import dump, source_text, written_factory, written_point
from gateway.status.configuration_warnings import configuration_warnings
from gateway.status.scrub import remember_secrets, scrub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.acquisition.link_load import LinkLoad
    from gateway.acquisition.link_plan import Reported
    from gateway.dashboard.plants import Plants
    from gateway.settings.factory import Factory, Machine

    Endpoint = Callable[[Request], Awaitable[Response]]
    Guard = Callable[[Endpoint], Endpoint]

log = structlog.get_logger(__name__)

MAX_ROWS = 200
"""Rows of a page of points or connections."""

MAX_SEARCH = 200
"""Characters of a search."""

MAX_PROBLEMS = 200
"""Errors, and warnings, that are shown of a configuration."""

MAX_DETAILS = 200
"""Groups of a connection, and requests of a group, that are shown."""

MAX_NAMES = 50
"""Names in a list of machines or gateways."""

SEARCHES = 8
"""Results of searches that are kept for the next page."""

GENERIC, MODEL = "generic", "model"
"""How `lineside simulate` serves a machine: with values out of the points' ranges, or with a model of its physics."""


class _PointRow(NamedTuple):
    """A point as all machines of a template show it, and the text that a search looks at."""

    cells: tuple[str, ...]
    text: str


@dataclass
class _Shown:
    """One configuration, ready to be shown. `machines` have their points, `links` their requests."""

    factory: Factory
    errors: Sequence[Problem]
    warnings: Sequence[Problem]
    machines: list[tuple[str, str, list[_PointRow]]]
    links: list[LinkLoad]
    link_rows: list[dict[str, Any]]
    reported: Reported
    digest: str
    found: OrderedDict[str, list[tuple[int, int]]] = field(default_factory=OrderedDict)

    def search(self, words: str) -> list[tuple[int, int]]:
        """Return the points that have every word in their machine, name, keys or description, as two positions."""
        known = self.found.pop(words, None)
        found = list(self._matches(words.lower().split())) if known is None else known
        self.found[words] = found
        while len(self.found) > SEARCHES:
            self.found.popitem(last=False)
        return found

    def _matches(self, words: list[str]) -> Iterator[tuple[int, int]]:
        for number, (path, template, points) in enumerate(self.machines):
            machine = f"{path} {template}".lower()
            rest = [word for word in words if word not in machine]
            for position, point in enumerate(points):
                if all(word in point.text for word in rest):
                    yield number, position


class Configurations:
    """The configurations of the page, by their position in the command."""

    def __init__(self, plants: Plants, *, everything: bool = False) -> None:
        self._plants = plants
        self._everything = everything
        self._given = [(factory, factory.digest) for factory in plants.factories]
        self._shown: dict[int, tuple[object, _Shown]] = {}
        self._locks = [asyncio.Lock() for _ in self._given]

    async def _refreshed(self, number: int) -> _Shown:
        """Return a configuration as its files are now."""
        async with self._locks[number]:
            looks, shown = self._shown.get(number, (None, None))
            if shown is None or looks != await asyncio.to_thread(_looks, shown):
                shown = await asyncio.to_thread(_read, self._given[number][0])
                self._shown[number] = await asyncio.to_thread(_looks, shown), shown
            return shown

    async def _known(self, number: int) -> _Shown:
        """Return a configuration as it was read last: all pages of a table are of one. Raises `IndexError`."""
        if number in self._shown:
            return self._shown[number][1]
        if number >= len(self._given):
            raise IndexError(number)
        return await self._refreshed(number)

    async def summaries(self) -> dict[str, Any]:
        """Return all configurations with their numbers, problems, sections and files, without a secret."""
        found = [self._summary(number, await self._refreshed(number)) for number in range(len(self._given))]
        return {"configurations": found, "everything": self._everything, "others": _scrubbed(list(self._others()))}

    def _summary(self, number: int, shown: _Shown) -> dict[str, Any]:
        factory = shown.factory
        written = written_factory(factory)
        local = sum(row["served"] is not None for row in shown.link_rows)
        found = {
            "number": number, "file": str(factory.file.absolute()), "digest": shown.digest,
            "started_with": self._given[number][1], "running": self._running(factory),
            "site": f"{factory.factory.enterprise}/{factory.factory.site}", "gateway": factory.gateway.id,
            "machines": len(shown.machines), "points": sum(len(points) for *_, points in shown.machines),
            "connections": len(shown.links), "kept": are_kept(shown.links), "local": local,
            "errors": [_problem(one) for one in shown.errors[:MAX_PROBLEMS]],
            "warnings": [_problem(one) for one in shown.warnings[:MAX_PROBLEMS]],
            "more": [max(0, len(some) - MAX_PROBLEMS) for some in (shown.errors, shown.warnings)],
            "files": [[str(file), digest[:12]] for file, digest in sorted(factory.files.items())],
        }  # fmt: skip
        # value by value: `password: null` in the text of a section has the form of a password
        found = {name: _scrubbed(one) for name, one in found.items()}
        return found | {"sections": [[name, dump(_scrubbed(one))] for name, one in written.items()]}

    def _running(self, factory: Factory) -> str:
        """Return the digest of the configuration that the gateway runs; empty where it is not known."""
        for plant in self._plants.plants:
            seen = plant.fleet.gateway(factory.factory.enterprise, factory.factory.site, factory.gateway.id)
            if (plant.broker.url, plant.broker.root) == (
                factory.broker.url,
                factory.broker.root,
            ) and seen is not None:
                config = "" if seen.state is None else seen.state.config
                return factory.digest if same_digest(config, factory.digest) else config
        return ""

    def _others(self) -> Iterator[str]:
        """Yield some of the gateways that the page hears and has no configuration of."""
        given = {(one.factory.enterprise, one.factory.site, one.gateway.id) for one, _ in self._given}
        heard = [seen.member for plant in self._plants.plants for _, seen in plant.fleet.gateways]
        others = (one for one in heard if (one.enterprise, one.site, one.name) not in given)
        for one in islice(others, MAX_NAMES):
            yield f"{one.enterprise}/{one.site}/{one.name}"

    async def points(self, number: int, words: str, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of the points that fit a search: path, template, and the cells of each."""
        shown = await self._known(number)
        found = await asyncio.to_thread(shown.search, words)
        rows = []
        for machine, position in found[offset : offset + limit]:
            path, template, points = shown.machines[machine]
            rows.append([path, template, *points[position].cells])
        return {"digest": shown.digest, "total": len(found), "offset": offset, "rows": rows}

    async def connections(self, number: int, words: str, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of the connections that fit a search, with their loads."""
        shown = await self._known(number)
        wanted = words.lower().split()
        rows = [row for row in shown.link_rows if all(word in row["text"] for word in wanted)]
        page = [{name: one for name, one in row.items() if name != "text"} for row in rows[offset : offset + limit]]
        return {"digest": shown.digest, "total": len(rows), "offset": offset, "rows": page}

    async def connection(self, number: int, index: int) -> dict[str, Any]:
        """Return the plan of one connection. Raises `IndexError`."""
        shown = await self._known(number)
        plan = plan_of(shown.links[index], shown.reported)
        for group in plan["groups"][:MAX_DETAILS]:
            group["more"] = max(0, len(group["details"]) - MAX_DETAILS)
            group["details"] = group["details"][:MAX_DETAILS]
        return plan | {"groups": plan["groups"][:MAX_DETAILS], "more": max(0, len(plan["groups"]) - MAX_DETAILS)}


def _looks(shown: _Shown) -> list[tuple[int, int, int] | None]:
    """Return the looks of all files of a configuration, and of the folders of those beside its main file.

    A folder changes with a new file in it. That of the main file may have data in it, which changes all the time.
    """
    main = shown.factory.file
    files = {main, *shown.factory.files, *(problem.file for problem in shown.errors)}
    folders = {file.parent for file in files} - {main.parent, main.absolute().parent}
    return looks_of(sorted(files | folders))


def _read(given: Factory) -> _Shown:
    """Read a configuration; where its files can't be read, it is shown as it was given, with the errors."""
    errors: Sequence[Problem] = ()
    factory = given
    try:
        factory = load_factory(given.file, given.overrides)
    except ConfigurationError as error:
        errors = error.problems
    except OSError as error:
        errors = [Problem(given.file, 0, 0, "", f"the file can't be read: {error.strerror or error}")]
    except Exception as error:
        # a driver of another package validates its own settings: its defect must not end the page
        log.exception("configuration.load_failed", file=str(given.file))
        errors = [Problem(given.file, 0, 0, "", f"{type(error).__name__}: {error}")]
    remember_secrets(factory)
    links = link_loads(factory.machines)
    models = _models()
    return _Shown(
        factory, errors, configuration_warnings(factory), list(_machines(factory)), links,
        [_link_row(index, link, models) for index, link in enumerate(links)],
        reported_metadata(factory.gateway.spool.folder, factory.gateway.id), factory.digest,
    )  # fmt: skip


def _machines(factory: Factory) -> Iterator[tuple[str, str, list[_PointRow]]]:
    """Yield path, template and points of each machine; machines of a template share the rows of their points."""
    known: dict[int, list[_PointRow]] = {}
    for machine in factory.machines:
        key = id(machine.points)
        if key not in known:
            known[key] = list(_point_rows(machine))
        yield str(machine.path), machine.template, known[key]


def _point_rows(machine: Machine) -> Iterator[_PointRow]:
    for point in (*machine.all_points, *machine.searches):
        keys = written_point(point)
        cells = (point.name, str(keys["type"]), point.unit, str(keys["every"]), source_text(keys), point.description)
        yield _PointRow(cells, " ".join(cells).lower())


def _models() -> frozenset[str]:
    """Return the templates that have a simulated model; empty where the simulators are not installed."""
    try:
        from simulators.machines.models import MODELS  # noqa: PLC0415 - an extra
    except ImportError:
        return frozenset()
    return frozenset(MODELS)


def _link_row(index: int, link: LinkLoad, models: frozenset[str]) -> dict[str, Any]:
    """Return a connection in a line: its machines, its load, and what a simulator serves at its address."""
    names = [str(machine.path) for machine in link.machines]
    templates = Counter(machine.template for machine in link.machines)
    served = None
    if link.protocol.simulator and is_loopback(urlsplit(str(link.connection)).hostname or ""):
        served = [[name, MODEL if name in models else GENERIC, count] for name, count in templates.items()]
    return {
        "index": index, "connection": str(link.connection), "protocol": link.protocol.name,
        "machines": names[:MAX_NAMES], "count": len(names),
        "points": sum(len(machine.points) for machine in link.machines), "groups": len(link.costs),
        "requests_per_second": sum(cost.requests / group.every for group, cost in link.costs if not group.pushed),
        "bytes_per_second": link.bytes_per_second, "load": link.load, "verdict": link.verdict, "served": served,
        "text": " ".join([str(link.connection), link.protocol.name, *names, *templates]).lower(),
    }  # fmt: skip


def _problem(problem: Problem) -> dict[str, Any]:
    return {"file": str(problem.file), "line": problem.line, "column": problem.column, "text": problem.text}


def _scrubbed(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON in whose texts no secret is left."""
    if isinstance(content, str):
        return scrub(content)
    if isinstance(content, dict):
        return {_scrubbed(name): _scrubbed(one) for name, one in content.items()}
    if isinstance(content, list | tuple):
        return [_scrubbed(one) for one in content]
    return content


# -- the routes --


def configuration_routes(configurations: Configurations, guard: Guard) -> list[Route]:
    """Return the routes of the view. `guard` decides who may use them, the engineers alone where there are roles."""

    async def summaries(request: Request) -> Response:
        del request
        return json_answer(await configurations.summaries())

    async def points(request: Request) -> Response:
        return await _page_of(request, configurations.points)

    async def connections(request: Request) -> Response:
        return await _page_of(request, configurations.connections)

    async def connection(request: Request) -> Response:
        number, index = request.path_params["number"], request.path_params["index"]
        try:
            return json_answer(_scrubbed(await configurations.connection(number, index)))
        except IndexError:
            return error(request, 404, _("there is no such connection"))

    below = "/api/configurations/{number:int}"
    return [
        Route("/api/configurations", guard(summaries)),
        Route(f"{below}/points", guard(points)),
        Route(f"{below}/connections", guard(connections)),
        Route(f"{below}/connections/{{index:int}}", guard(connection)),
    ]


async def _page_of(request: Request, rows: Callable[[int, str, int, int], Awaitable[dict[str, Any]]]) -> Response:
    """Return a page of rows, as `search`, `offset` and `limit` of the address choose it."""
    query = request.query_params
    offset, limit = query.get("offset", "0"), query.get("limit", str(MAX_ROWS))
    if not (offset.isascii() and offset.isdecimal() and limit.isascii() and limit.isdecimal() and len(offset) < 10):  # noqa: PLR2004 - digits
        return error(request, 400, _("offset and limit are whole numbers"))
    search = query.get("search", "")[:MAX_SEARCH]
    try:
        found = await rows(request.path_params["number"], search, int(offset), min(int(limit[:9]), MAX_ROWS))
    except IndexError:
        return error(request, 404, _("there is no such configuration"))
    return json_answer(_scrubbed(found))
