"""Whether the folders of a service are on encrypted storage, for its metrics, its readiness and its log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.settings.encrypted_storage import storage_of
from gateway.settings.storage_section import Encrypted

if TYPE_CHECKING:
    from gateway.metrics.samples import Samples
    from gateway.settings.encrypted_storage import Storage
    from gateway.settings.factory import Factory
    from gateway.settings.signature_memory import Service

log = structlog.get_logger(__name__)

LOOK_EVERY = 600.0
"""Seconds between two looks: a mount changes by hand, and a look at ZFS is a process."""


class StorageWatch:
    """Looks at the folders of a service now and then. Each change of a folder without encryption is logged once."""

    def __init__(self, factory: Factory, service: Service, every: float = LOOK_EVERY) -> None:
        """Prepare; no I/O."""
        self._factory = factory
        self._service = service
        self._every = every
        self._found: list[Storage] = []
        self._wrong: dict[str, str] = {}

    def reconfigure(self, factory: Factory) -> None:
        """Look at the folders of a changed configuration from the next look on."""
        self._factory = factory

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._found = await asyncio.to_thread(storage_of, self._factory, self._service)
            self._log()
            await asyncio.sleep(self._every)

    @property
    def reason(self) -> str:
        """Why the service is not ready: a folder that has to be on encrypted storage is not; else empty."""
        if self._factory.storage.encrypted is not Encrypted.REQUIRED:
            return ""
        names = [one.folder.name for one in self._found if one.problem]
        return f"not on encrypted storage: {', '.join(names)}" if names else ""

    def add_to(self, samples: Samples) -> None:
        """Add the folders to the metrics of the service, once they are known; the worst of one name counts."""
        states: dict[str, float] = {}
        for one in self._found:
            states[one.folder.name] = min(states.get(one.folder.name, 1.0), float(not one.problem))
        if states:
            samples.set_each("lineside_storage_encrypted", states)

    def _log(self) -> None:
        """Log the folders that are without encryption since the last look, where somebody has asked for it."""
        wrong = {str(one.folder.path): one.problem for one in self._found if one.problem}
        if self._factory.storage.encrypted is not Encrypted.REPORTED and (new := wrong.keys() - self._wrong.keys()):
            log.warning("storage.not_encrypted", problems=[wrong[path] for path in sorted(new)])
        self._wrong = wrong
