"""The demo: its factories, the live table, and the closing report."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from gateway.common.tasks import unless
from gateway.settings.templates import bundled_config
from gateway.trial.readings import count_parts, count_stored
from gateway.trial.trial import Options, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from pathlib import Path

    from gateway.settings.factory import Factory

    Watch = Callable[[list[Factory]], Coroutine[Any, Any, None]]

PLANTS = ("tire-plant", "appliance-plant")
"""The bundled configurations that the demo runs."""


class Demo:
    """One run of the demo. `folder` holds the store, the spools, the logs and the configurations in use.

    `page` is the port of the web page; None for no page.
    """

    def __init__(self, folder: Path, page: int | None = None) -> None:
        configs = [bundled_config() / f"{plant}.yaml" for plant in PLANTS]
        self._trial = Trial(folder, configs, Options(page=page))
        self._began = time.monotonic()
        self._began_wall = time.time()

    async def run(self, stop: asyncio.Event, seconds: float | None, watch: Watch | None) -> dict[str, Any] | None:
        """Run until `stop` is set or every machine has been served for `seconds`, then stop in order and report.

        `watch` shows what happens meanwhile, given the factories in use. Returns None if `stop` is set before
        everything has been started. Raises `TrialFailed`.
        """
        async with AsyncExitStack() as running:
            if not await unless(stop, running.enter_async_context(self._trial)):
                return None
            trial = self._trial
            showing = [asyncio.create_task(watch(trial.factories), name="watch")] if watch else []
            try:
                timed = [] if seconds is None else [self._served_for(seconds)]
                await trial.hold(stop.wait(), *timed)
            finally:
                for task in showing:
                    task.cancel()
                await asyncio.gather(*showing, return_exceptions=True)
        return self._report()

    async def _served_for(self, seconds: float) -> None:
        await self._trial.served()
        await asyncio.sleep(seconds)

    def _report(self) -> dict[str, Any]:
        by_name, ingest = self._trial.reports()
        gateways = list(by_name.values())
        first, stored = ingest["first_stored"], count_stored(self._trial.store)
        confirmed, pending = (sum(gateway["ledger"][key] for gateway in gateways) for key in ("confirmed", "pending"))
        dropped: dict[str, int] = {}
        for gateway in gateways:
            for reason, n in gateway["ledger"]["dropped"].items():
                dropped[reason] = dropped.get(reason, 0) + n
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "ledger": _sum(gateways, "ledger", ("acquired", "unchanged"))
            | {"dropped": dropped}
            | _sum(gateways, "ledger", ("pending", "confirmed")),
            "schedule": _sum(gateways, "schedule", ("due", "taken", "missed")),
            "points": _sum(gateways, "points", ("configured", "good", "uncertain", "bad")),
            "stored_readings": stored,
            "parts": count_parts(self._trial.store),
            "latency_ms": ingest["latency_ms"],
            "first_stored_after": None if first is None else round(first - self._began_wall, 2),
            "balanced": all(gateway["balanced"] for gateway in gateways),
            "stored_as_counted": confirmed <= stored <= confirmed + pending,
            "never_good": [point for gateway in gateways for point in gateway["never_good"]],
            "machines": {path: machine for gateway in gateways for path, machine in gateway["machines"].items()},
        }


def _sum(reports: Iterable[Mapping[str, Any]], part: str, keys: tuple[str, ...]) -> dict[str, int]:
    return {key: sum(report[part][key] for report in reports) for key in keys}
