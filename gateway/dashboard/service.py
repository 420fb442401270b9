"""The service behind the page: brokers, stores, and the server; the wiring, and nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvicorn

from gateway.audit.apart import OpenLog
from gateway.audit.lifecycle import LAST_UNBOUNDED, recorded_life
from gateway.audit.log import AuditLog
from gateway.audit.trust_files import trust_places
from gateway.common.listening import bind
from gateway.common.service_manager import ServiceManager
from gateway.common.setting_types import MissingSecret
from gateway.common.tasks import BestEffort, supervise
from gateway.dashboard.actions import Actors, Forbidden
from gateway.dashboard.administration.routes import Administration
from gateway.dashboard.alarms.routes import AlarmRoutes
from gateway.dashboard.alarms.stored import AlarmBackfill
from gateway.dashboard.app import Page
from gateway.dashboard.backfill import Backfill
from gateway.dashboard.configurations import Configurations, configuration_routes
from gateway.dashboard.parts.routes import PartRoutes
from gateway.dashboard.plants import Plants
from gateway.dashboard.production.routes import ProductionRoutes
from gateway.dashboard.production.stops import StopRoutes
from gateway.dashboard.security import CLIENT, identity_of, needs, records_itself, require, secure
from gateway.dashboard.security.link import Link
from gateway.dashboard.security.login import LOCAL
from gateway.dashboard.security.sessions import Sessions
from gateway.dashboard.security.sessions_file import SessionsFile, sessions_file
from gateway.dashboard.security.tls import Certificate
from gateway.dashboard.stored import Stored
from gateway.dashboard.trends.routes import Trends
from gateway.self_test.runner import SelfTest
from gateway.settings.dashboard_section import ALARM_NOTES
from gateway.settings.signature_memory import Service
from gateway.users.authenticator import Authenticator
from gateway.users.roles import Permission
from gateway.users.throttle import Lockout
from gateway.users.users_file import Users

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from gateway.common.server_certificate import Renewal
    from gateway.common.stop_event import StopEvent
    from gateway.dashboard.live.points import PointInfo
    from gateway.dashboard.trends.selection import Selection
    from gateway.model.path import MachinePath
    from gateway.mqtt.verifier import Verdict
    from gateway.settings.dashboard_section import DashboardSection
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

LINK_HINT = "lineside dashboard CONFIG --link shows the address that signs in, to the account of the page"

SERVICE = "dashboard"
"""The page in the audit log."""

CLOSE_SECONDS = 2
"""Seconds that open pages have to take note of the end."""

MAX_MESSAGE = 2**20
"""Bytes of a message of a page."""

MAX_OPEN = 1_000
"""Connections at the same time; others get the status 503."""


class _Server(uvicorn.Server):
    """The server, without handlers of signals: the command has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DashboardService:
    """The page of some factories, with the settings of `dashboard`."""

    def __init__(
        self, factories: Sequence[Factory], section: DashboardSection, *, everything: bool = False,
        show_link: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        """Prepare. `show_link` shows a person the link that signs in to a page without users."""
        folder = factories[0].gateway.spool.folder
        self._folder = folder
        notes = folder / ALARM_NOTES
        self._users = Users(section.users)
        self._link = Link(folder, self._users) if section.oidc is None and section.endpoint.is_local else None
        self._show_link = show_link
        self._sessions = Sessions(section.session, section.idle)
        self.plants = Plants(factories, everything=everything, notes=notes, commands=section.commands)
        self._stored = Stored(factories)
        self._section = section
        self._self_test = SelfTest(factories[0], service=SERVICE)
        self._digest, self._trusted = factories[0].digest, trust_places(factories[0], Service.DASHBOARD)
        self._trends = Trends(factories, self._published, self._machines, zone=section.time_zone or "")
        self._configurations = Configurations(self.plants, everything=everything)
        self._certificate: Certificate | None = None
        self._page = Page(self.plants, {"time_zone": section.time_zone or "", "language": section.language or ""})

    async def run(self, stop: StopEvent) -> None:
        """Serve until `stop` is set. Raises `OSError` for an address in use, or a certificate that can't be used."""
        async with AuditLog(self._section.audit) as audit, self._with_link():
            for plant in self.plants.plants:
                plant.refused = partial(_note_refused, audit)
            opened = OpenLog(audit, self._section.audit, SERVICE)
            async with recorded_life(opened, self._digest, stop, self._trusted, LAST_UNBOUNDED):
                if self._section.tls is not None:
                    self._certificate = Certificate(self._section.tls, self._note_renewal)
                await self._serve(_Server(self._config(audit)), self._bind(), stop)

    def _config(self, audit: AuditLog) -> uvicorn.Config:
        """Return the settings of the server."""
        lockout = Lockout(**self._section.lockout.model_dump())
        authenticator = Authenticator(self._users, lockout=lockout)
        provider = () if self._section.oidc is None else tuple(self._section.oidc.roles)
        administration = Administration(authenticator, audit, self._section.audit.folder, provider)
        routes = [*self._routes(Actors(person_of, partial(_record, audit)), audit), *administration.routes()]
        app = secure(self._page.app(routes), self._section, authenticator, audit, self._link, self._sessions)
        return uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False, limit_concurrency=MAX_OPEN,
            timeout_graceful_shutdown=CLOSE_SECONDS, ws="websockets-sansio", ws_max_size=MAX_MESSAGE,
            **({} if self._certificate is None else self._certificate.options()),
        )  # fmt: skip

    def asked_to_reload(self) -> None:
        """Read the certificate again; for a changed configuration the page is started again."""
        if self._certificate is None:
            log.warning("dashboard.restart_to_reload", why="the page reads its certificate again, and has none")
        else:
            self._certificate.ask()

    async def _serve(self, server: _Server, listening: socket.socket, stop: asyncio.Event) -> None:
        manager = ServiceManager.of()
        async with asyncio.TaskGroup() as tasks:
            helpers: dict[str, Callable[[], Awaitable[None]]] = {
                **{f"listener {at}": one.run for at, one in enumerate(self.plants.listeners, 1)},
                "backfill": Backfill(self.plants).run,
                "alarms": AlarmBackfill(self.plants, self._stored).run,
                "self-test": self._self_test.run,
                "service manager": partial(manager.keep_informed, self._status, _no_wait),
            }
            if self._certificate is not None:
                helpers["certificate"] = self._certificate.watch
            port = listening.getsockname()[1]
            kept = None
            if self._link is not None:
                kept = SessionsFile(sessions_file(self._folder, port), self._sessions, LOCAL)
                await asyncio.to_thread(kept.load)
                helpers["sessions"] = kept.run
            running = [
                tasks.create_task(supervise(run, BestEffort(name, (MissingSecret,))), name=name)
                for name, run in helpers.items()
            ]
            serving = tasks.create_task(server.serve(sockets=[listening]), name="server")
            url = self._url(port)
            hint = {"hint": LINK_HINT} if self._write_link(url) else {}
            log.info("dashboard.listening", url=url, **hint)
            manager.ready()
            await asyncio.wait({tasks.create_task(stop.wait(), name="stop"), serving}, return_when="FIRST_COMPLETED")
            manager.stopping()
            server.should_exit = True
            await serving
            await self._trends.close()
            for task in running:
                task.cancel()
        if kept is not None:
            await asyncio.to_thread(kept.save)
        await self._stored.close()

    def _write_link(self, url: str) -> bool:
        """Write the link of a page without users, and show it; return whether there is one."""
        if self._link is None or not self._link.is_open:
            return False
        link = self._link.write(url)
        if self._show_link is not None:
            self._show_link(link)
        return True

    @asynccontextmanager
    async def _with_link(self) -> AsyncIterator[None]:
        """Remove the link at the end."""
        try:
            yield
        finally:
            if self._link is not None:
                self._link.remove()

    def _routes(self, actors: Actors, audit: AuditLog) -> list[Route]:
        """Return the routes of the views."""
        return [
            *self._trends.routes(partial(_note_export, audit), require),
            *configuration_routes(self._configurations, require(Permission.CONFIGURATION)),
            *AlarmRoutes(self.plants, self._stored, actors).routes(),
            *ProductionRoutes(self._stored).routes(),
            *StopRoutes(self.plants, self._stored, actors).routes(),
            *PartRoutes(self.plants, self._stored).routes(),
        ]

    def _machines(self) -> Iterable[MachinePath]:
        return [machine.path for machine in self.plants.machines()]

    def _published(self, path: MachinePath) -> Iterable[PointInfo]:
        found = self.plants.find(path)
        return () if found is None else found[1].points

    def _bind(self) -> socket.socket:
        """Return the listening socket; an error names the address and its key."""
        try:
            return bind(self._section.endpoint)
        except OSError as error:
            where = f"dashboard.listen {self._section.endpoint}"
            raise OSError(error.errno, error.strerror or str(error), where) from None

    def _url(self, port: int) -> str:
        scheme, host = "http" if self._section.tls is None else "https", self._section.endpoint.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def _status(self) -> str:
        connected = sum(plant.link is not None and plant.link.connected for plant in self.plants.plants)
        status = f"{connected} of {len(self.plants.plants)} brokers connected"
        if self._certificate is not None and self._certificate.problem:
            status += (
                f"; a new certificate was refused {self._certificate.refused} times: {self._certificate.problem}"
            )
        return status

    def _note_renewal(self, renewal: Renewal) -> None:
        """Add what became of a changed certificate to the journal."""
        event, level = ("certificate refused", "warning") if renewal.problem else ("certificate renewed", "info")
        self.plants.journal.add(
            time.time_ns() // 1000, "configuration", renewal.file, event, level,
            **({"error": renewal.problem} if renewal.problem else {"serial": renewal.serial}),
        )  # fmt: skip


def person_of(request: Request, permission: Permission) -> str:
    """Return the name of the person of a request. Raises `Forbidden` if the role does not permit it."""
    identity = identity_of(request)
    if not identity.may(permission):
        raise Forbidden(needs(permission))
    records_itself(request)
    return identity.name


def _record(audit: AuditLog, who: str, action: str, object_: str, before: object, after: object) -> None:
    audit.record(action, who=who, address=CLIENT.get(), object=object_, before=before, after=after)


def _note_export(audit: AuditLog, request: Request, selection: Selection) -> None:
    """Note who takes which readings away; times are in microseconds since the epoch."""
    points = [str(point) for point in selection.points]
    content = {"from": selection.since, "to": selection.until, "points": points}
    _record(audit, identity_of(request).name, "readings-exported", points[0], None, content)


def _note_refused(audit: AuditLog, topic: str, verdict: Verdict) -> None:
    """Note a message that is not signed as it has to be. Anybody at the broker may have published it."""
    content = {"reason": verdict.reason, "error": verdict.fault, "by": verdict.by}
    audit.record("message-refused", who="broker client", object=topic, after=content, outcome="refused")


async def _no_wait() -> None:
    """Return at once: the page has no thread whose progress counts."""
