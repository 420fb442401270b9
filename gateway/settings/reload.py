"""Apply a changed configuration while the gateway runs; or refuse it with its errors, and go on as before.

Values of the command line (`--set`) and the environment of the process stay as they were at its start.

`lineside reload` asks over a socket beside the spool, and gets the outcome as the answer. The last outcome is also in
a file there, for `lineside status`.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from drivers.timer_grid import wait_for_slot
from gateway.common.atomic_file import load_json, save_json
from gateway.common.control_socket import ControlSocket, socket_file
from gateway.common.file_looks import looks_of
from gateway.common.service_manager import ServiceManager
from gateway.common.tasks import BestEffort, supervise
from gateway.settings.exposure import GATEWAY, exposure_warnings, log_exposures
from gateway.settings.load import load_factory
from gateway.settings.policy import Untrusted
from gateway.settings.problems import ConfigurationError, Problem
from gateway.settings.secret_bindings import SecretBindings
from gateway.settings.signature_memory import Service, remember

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.common.control_socket import Peer
    from gateway.settings.factory import Factory
    from gateway.settings.sections import GatewaySection

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the files, where `reload_on_change` asks for it; each must find them as they are."""

MOST_PROBLEMS = 100
"""Problems of a refused configuration that are logged."""

MOST_RECORDED = 5
"""Problems of a refused configuration that are in the audit log."""

LIVE = {"reload_on_change"}
"""Keys of `gateway` that may change while it runs."""

UNTRUSTED = "untrusted"
"""The cause of a refusal by the policy, the signature or the bindings of secrets."""

RESULTS = ("applied", "unchanged", "refused", UNTRUSTED)
"""What becomes of a reload."""

RESTART = "can't change while the gateway runs; restart it, which loses nothing"


def outcome_file(own: GatewaySection) -> Path:
    """Return the file in which a gateway writes its configuration and the outcome of its last reload."""
    return own.spool.folder / f"{own.id}.configuration.json"


class Reload:
    """Load the configuration again on request, one reload at a time. `running` is the current configuration."""

    def __init__(
        self,
        factory: Factory,
        change_over: Callable[[Factory], Awaitable[Mapping[str, Sequence[str]]]],
        manager: ServiceManager | None = None,
        record: Callable[..., object] | None = None,
    ) -> None:
        """Prepare; `change_over` goes on with another configuration, and returns which machines that affects.

        The service manager learns of each reload, and `record` keeps each in the audit log, see `record_reload`.
        """
        self.running = _without_machines(factory)
        self.counts = dict.fromkeys(RESULTS, 0)
        """The reloads by what became of them."""
        self._bindings = SecretBindings(factory)
        self._exposed = list(exposure_warnings(factory))
        self._change_over = change_over
        self._manager = manager or ServiceManager()
        self._record = record
        self._asked = asyncio.Event()
        self._who: set[str] = set()
        self._waiting: list[asyncio.Future[dict[str, Any]]] = []
        self._also: set[Path] = set()  # files that the last attempt has found something wrong with
        self._socket = ControlSocket(socket_file(factory.gateway.spool.folder, factory.gateway.id), self._answer)

    def ask(self, who: str = "signal") -> None:
        """Load the configuration again, soon; `who` is for the audit log."""
        self._who.add(who)
        self._asked.set()

    async def run(self) -> None:
        """Reload when asked to, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name="watch the configuration")
            await self._save_outcome("started")
            listening = supervise(self._socket.run, BestEffort("reload socket"))
            tasks.create_task(listening, name="reload socket")
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self._reload()

    async def _answer(self, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        """Return the outcome of a reload that begins now, or why there is none."""
        file = str(self.running.file.resolve())
        if request.get("command") != "reload":
            return {"outcome": "unknown_command"}
        if request.get("file") != file:
            return {"outcome": "other_file", "file": file}
        outcome: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(outcome)
        self.ask(peer.user)
        return await outcome

    async def _reload(self) -> None:
        """Load the configuration for all that have asked, and answer them."""
        waiting, self._waiting = self._waiting, []
        who, self._who = ", ".join(sorted(self._who)), set()
        before = self.running.digest
        self._manager.reloading()
        try:
            outcome = await self._attempt()
            self.counts[_result(outcome)] += 1
            await self._keep(outcome, who, before)
            for one in waiting:
                if not one.done():  # its client may be gone
                    one.set_result(outcome)
        finally:
            self._manager.ready()
            for one in waiting:
                one.cancel()

    async def _keep(self, outcome: dict[str, Any], who: str, before: str) -> None:
        """Keep an outcome in the audit log, unless nothing has changed."""
        result = _result(outcome)
        if self._record is None or result == "unchanged":
            return
        applied, untrusted = result == "applied", result == UNTRUSTED
        action = "configuration-applied" if applied else "configuration-refused"
        after = outcome["config"] if applied else outcome["problems"][:MOST_RECORDED]
        said = "done" if applied else "denied" if untrusted else "failed"
        keep = partial(self._record, action, who=who, before=before, after=after, outcome=said, must=untrusted)
        await asyncio.to_thread(keep)

    async def _attempt(self) -> dict[str, Any]:
        began = time.monotonic()
        load = partial(load_factory, self.running.file, self.running.overrides, service=Service.GATEWAY)
        try:
            factory = await asyncio.to_thread(load)
            check(self.running, factory)
            if factory.digest == self.running.digest:
                await asyncio.to_thread(remember, factory)
                log.info("configuration.unchanged", config=factory.digest)
                return await self._save_outcome("unchanged")
            self._bindings.check(factory)
            affected = await self._change_over(factory)
            await asyncio.to_thread(remember, factory)
        except ConfigurationError as error:
            cause = UNTRUSTED if isinstance(error, Untrusted) else ""
            files = {one.file for one in error.problems}
            return await self._refuse([str(problem) for problem in error.problems], files, cause)
        except OSError as error:
            return await self._refuse([str(error)], set())
        except Exception as error:
            # a driver of another package validates its own settings: its defect must not end the gateway
            log.exception("configuration.load_failed", file=str(self.running.file))
            return await self._refuse([f"{type(error).__name__}: {error}"], set())
        else:
            self.running, self._also = _without_machines(factory), set()
            self._bindings.add(factory)
            self._exposed = log_exposures(factory, GATEWAY, self._exposed)
            seconds = round(time.monotonic() - began, 3)
            counts = {what: len(machines) for what, machines in affected.items()}
            log.info("configuration.applied", config=factory.digest, seconds=seconds, **counts)
            return await self._save_outcome("taken_up", seconds=seconds, **affected)

    async def _refuse(self, problems: Sequence[str], files: set[Path], cause: str = "") -> dict[str, Any]:
        more = len(problems) - MOST_PROBLEMS
        shown = [*problems[:MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        event = "configuration.untrusted" if cause else "configuration.refused"
        log.error(event, file=str(self.running.file), problems=shown, config=self.running.digest)
        self._also = files
        causes: dict[str, Any] = {"cause": cause} if cause else {}
        return await self._save_outcome("refused", problems=shown, **causes)

    async def _save_outcome(self, outcome: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        content = {
            "outcome": outcome,
            "time": time.time_ns() // 1000,
            "pid": os.getpid(),
            "file": str(self.running.file.resolve()),
            "config": self.running.digest,
        }
        file = outcome_file(self.running.gateway)
        try:
            await asyncio.to_thread(save_json, file, content | more)
        except OSError as error:  # a full disk must not stop the gateway
            log.warning("configuration.outcome_not_saved", file=str(file), error=str(error))
        return content | more

    async def _watch(self) -> None:
        """Ask for a reload when files have changed, and are as they were a look before: nobody writes them."""
        known = seen = await asyncio.to_thread(looks_of, self._files())
        while True:
            await wait_for_slot(LOOK_EVERY)
            if not self.running.gateway.reload_on_change:
                continue
            now = await asyncio.to_thread(looks_of, self._files())
            if now == seen and now != known:
                known = now
                self.ask("changed file")
            seen = now

    def _files(self) -> list[Path]:
        files = {*self.running.files, *self._also}
        return sorted(files | {file.parent for file in files})  # a folder changes with a file that is new in it


def _result(outcome: dict[str, Any]) -> str:
    """Return what became of a reload, as one of `RESULTS`."""
    if outcome["outcome"] == "refused":
        return str(outcome.get("cause", "refused"))
    return "applied" if outcome["outcome"] == "taken_up" else "unchanged"


def _without_machines(factory: Factory) -> Factory:
    """Return a factory for comparison: its machines are not kept a second time."""
    return replace(factory, machines=())


def check(running: Factory, wanted: Factory) -> None:
    """Raise `ConfigurationError` if a key differs that can't change while the gateway runs."""
    if problems := list(_fixed(running, wanted)):
        raise ConfigurationError(problems)


def _fixed(running: Factory, wanted: Factory) -> Iterator[Problem]:
    sections = (
        ("factory", running.factory, wanted.factory, set(type(running.factory).model_fields)),
        ("gateway", running.gateway, wanted.gateway, set(type(running.gateway).model_fields) - LIVE),
        ("broker", running.broker, wanted.broker, {"root"}),
    )
    for name, before, now, keys in sections:
        for key in sorted(keys):
            if getattr(before, key) != getattr(now, key) and wanted.document is not None:
                mark = wanted.document.mark((name, key))
                yield Problem(wanted.file, *mark, f"{name}.{key}", RESTART)


def read_outcome(file: Path) -> dict[str, Any]:
    """Return the outcome that a gateway wrote. Raises `OSError` or `ValueError`."""
    outcome = load_json(file)
    if not isinstance(outcome, dict) or not {"outcome", "time", "pid", "file", "config"} <= outcome.keys():
        raise ValueError(f"{file} is not the outcome of a reload")
    return outcome
