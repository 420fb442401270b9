"""The metrics and the health of a gateway with workers: one endpoint for all processes.

The values of a worker have its number as the label `worker`. A worker that does not answer has none, but
`lineside_worker_up` 0.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from gateway.metrics.definitions import GATEWAY_LABEL, WORKER_LABEL
from gateway.metrics.gateway_metrics import add_ledger
from gateway.metrics.health import machines_reason
from gateway.metrics.process_metrics import add_build, add_process
from gateway.metrics.samples import MetricsPart, Samples
from gateway.workers.process import METRICS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.metrics.health import Checks
    from gateway.model.ledger import Ledger
    from gateway.mqtt.session import Session
    from gateway.workers.messages import Metrics
    from gateway.workers.process import WorkerProcess

SUPERVISOR, RETIRED = "supervisor", "retired"
"""The labels `worker` of the supervisor, and of the spools of workers that the gateway had before."""


PROBE_SECONDS = 0.8
"""Seconds that a worker has for a sign of life: probes of Kubernetes wait for a second."""


class WorkersMetrics:
    """Asks all workers, and joins their answers."""

    def __init__(
        self,
        gateway: str,
        session: Session,
        workers: Callable[[], Iterable[WorkerProcess]],
        retired: Callable[[], Ledger],
        configuration: Callable[[], tuple[str, str, str, str]],
        add_more: Callable[[Samples], None],
        checks: Callable[[], Checks],
    ) -> None:
        """Prepare; the functions return the present workers, the ledger of retired spools, and see `add_build`.

        `add_more` adds other samples of the supervisor, `checks` returns its own needs.
        """
        self._add_more = add_more
        self._own_checks = checks
        self._gateway = gateway
        self._session = session
        self._workers = workers
        self._retired = retired
        self._configuration = configuration

    async def parts(self) -> list[MetricsPart]:
        """Return the samples of the supervisor and of all workers."""
        own, retired, began = Samples(), Samples(), time.thread_time()
        add_build(own, self._configuration())
        add_process(own)
        self._add_more(own)
        own.set("lineside_scrape_collect_seconds", time.thread_time() - began)
        add_ledger(retired, self._retired())
        found = [self._part(SUPERVISOR, own), self._part(RETIRED, retired)]
        for worker, answer in (await self._ask(samples=True)).items():
            about = Samples()
            about.set("lineside_worker_up", answer is not None)
            about.set("lineside_worker_restarts_total", worker.restarts)
            found.append(self._part(str(worker.number), about))
            if answer is not None:
                found.append(self._part(str(worker.number), Samples.of(answer.samples)))
        return found

    async def checks(self) -> Checks:
        """Return the needs of the gateway and all of its workers, see `Checks`."""
        found = {"broker": "" if self._session.connected else "not connected"}
        states: Counter[str] = Counter()
        for worker, answer in (await self._ask(samples=False)).items():
            found[f"worker {worker.number}"] = "" if answer is not None else "does not answer"
            if answer is not None:
                states.update(answer.machines)
                for name, reason in answer.checks.items():
                    text = f"worker {worker.number}: {reason}" if reason else ""
                    found[name] = found.get(name) or text
        found["machines"] = machines_reason(states)
        return found | self._own_checks()

    async def silence(self) -> Mapping[str, float]:
        """Return the seconds for which each worker, and the thread of its spool, gave no sign of life."""
        found: dict[str, float] = {}
        for worker, answer in (await self._ask(samples=False, seconds=PROBE_SECONDS)).items():
            found[f"worker {worker.number}"] = 0.0 if answer is not None else worker.silence
            if answer is not None:
                found[f"spool {worker.number}"] = answer.spool_silence
        return found

    def _part(self, worker: str, samples: Samples) -> MetricsPart:
        return MetricsPart({GATEWAY_LABEL: self._gateway, WORKER_LABEL: worker}, samples)

    async def _ask(self, *, samples: bool, seconds: float = METRICS_SECONDS) -> dict[WorkerProcess, Metrics | None]:
        workers = list(self._workers())
        asked = (worker.metrics(samples=samples, seconds=seconds) for worker in workers)
        answers = await asyncio.gather(*asked)
        return dict(zip(workers, answers, strict=True))
