"""Apply a changed configuration while the gateway runs; or refuse it with its errors, and go on as before.

Values of the command line (`--set`) and the environment of the process stay as they were at its start.

What became of each attempt is left in a file beside the spool, where `lineside reload` waits for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from drivers.timer_grid import wait_for_slot
from gateway.common.atomic_file import save_json
from gateway.common.service_manager import ServiceManager
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.sections import GatewaySection

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the files, where `reload_on_change` asks for it; each must find them as they are."""

MOST_PROBLEMS = 100
"""Problems of a refused configuration that are logged."""

LIVE = {"reload_on_change"}
"""Keys of `gateway` that may change while it runs."""

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
    ) -> None:
        """Prepare; `change_over` goes on with another configuration, and returns which machines that affects.

        The service manager learns of each reload.
        """
        self.running = _without_machines(factory)
        self._change_over = change_over
        self._manager = manager or ServiceManager()
        self._asked = asyncio.Event()
        self._also: set[Path] = set()  # files that the last attempt has found something wrong with

    def ask(self) -> None:
        """Load the configuration again, soon."""
        self._asked.set()

    async def run(self) -> None:
        """Reload when asked to, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name="watch the configuration")
            await self._save_outcome("started")
            while True:
                await self._asked.wait()
                self._asked.clear()
                self._manager.reloading()
                await self._reload()
                self._manager.ready()

    async def _reload(self) -> None:
        began = time.monotonic()
        try:
            factory = await asyncio.to_thread(load_factory, self.running.file, self.running.overrides)
            check(self.running, factory)
            if factory.digest == self.running.digest:
                log.info("configuration.unchanged", config=factory.digest)
                await self._save_outcome("unchanged")
                return
            affected = await self._change_over(factory)
        except ConfigurationError as error:
            await self._refuse([str(problem) for problem in error.problems], {one.file for one in error.problems})
        except OSError as error:
            await self._refuse([str(error)], set())
        except Exception as error:
            # a driver of another package validates its own settings: its defect must not end the gateway
            log.exception("configuration.load_failed", file=str(self.running.file))
            await self._refuse([f"{type(error).__name__}: {error}"], set())
        else:
            self.running, self._also = _without_machines(factory), set()
            seconds = round(time.monotonic() - began, 3)
            counts = {what: len(machines) for what, machines in affected.items()}
            log.info("configuration.applied", config=factory.digest, seconds=seconds, **counts)
            await self._save_outcome("taken_up", seconds=seconds, **affected)

    async def _refuse(self, problems: Sequence[str], files: set[Path]) -> None:
        more = len(problems) - MOST_PROBLEMS
        shown = [*problems[:MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        log.error("configuration.refused", file=str(self.running.file), problems=shown, config=self.running.digest)
        self._also = files
        await self._save_outcome("refused", problems=shown)

    async def _save_outcome(self, outcome: str, **more: Any) -> None:  # noqa: ANN401 - JSON
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
                self.ask()
            seen = now

    def _files(self) -> list[Path]:
        files = {*self.running.files, *self._also}
        return sorted(files | {file.parent for file in files})  # a folder changes with a file that is new in it


def _without_machines(factory: Factory) -> Factory:
    """Return a factory for comparison: its machines are not kept a second time."""
    return replace(factory, machines=())


def looks_of(files: Iterable[Path]) -> list[tuple[int, int, int] | None]:
    """Return modification time, size and inode of each file, None for a missing file."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


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
    outcome = orjson.loads(file.read_bytes())
    if not isinstance(outcome, dict) or not {"outcome", "time", "pid", "file", "config"} <= outcome.keys():
        raise ValueError(f"{file} is not the outcome of a reload")
    return outcome
