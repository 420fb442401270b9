"""The folders that each service writes, and whether they are on encrypted storage (IEC 62443-4-2, CR 4.1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.settings.contents import pki_folders
from gateway.settings.problems import Problem, Severity
from gateway.settings.signature_memory import Service
from gateway.settings.storage_section import Encrypted
from gateway.storage.folder import verdict_of_folder
from gateway.storage.verdict import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.factory import Factory
    from gateway.storage.verdict import System, Verdict

_PATH = ("storage", "encrypted")


class StorageFolder(NamedTuple):
    """A folder that a service writes: the name of its content, such as `spool`, and its path."""

    name: str
    path: Path


class Storage(NamedTuple):
    """A folder with its verdict."""

    folder: StorageFolder
    verdict: Verdict

    @property
    def problem(self) -> str:
        """The fault with its remedy; empty if there is none."""
        found = self.verdict
        if found.protected:
            return ""
        what = "is not encrypted" if found.state is State.NOT_ENCRYPTED else "may not be encrypted"
        return (
            f"{self.folder.path} ({self.folder.name}) {what}: {found.device}, {found.why}; put it on an encrypted "
            "disk, or name it in storage.encrypted_by_plant if the plant encrypts it where this machine can't see it"
        )


def folders_of(factory: Factory, service: Service | None = None) -> list[StorageFolder]:
    """Return the folders that a service writes, each path once; without a service those of all three."""
    page, found = factory.dashboard, []
    if service in {None, Service.GATEWAY}:
        found.append(StorageFolder("spool", factory.gateway.spool.folder))
        found += [StorageFolder("certificates", one) for one in pki_folders(factory)]
    if service in {None, Service.INGEST}:
        found.append(StorageFolder("ingest", factory.ingest.folder))
        found.append(StorageFolder("audit", factory.ingest.audit.folder))
        paths = (getattr(entry.settings, "path", None) for entry in factory.stores)
        found += [StorageFolder("store", one.parent) for one in paths if isinstance(one, Path)]
    if service in {None, Service.DASHBOARD}:
        found.append(StorageFolder("users", page.users.parent))
    if service is not Service.INGEST:
        found.append(StorageFolder("audit", page.audit.folder))
    once: dict[Path, StorageFolder] = {}
    for one in found:
        once.setdefault(one.path.absolute(), one)
    return list(once.values())


def storage_of(factory: Factory, service: Service | None = None, system: System | None = None) -> list[Storage]:
    """Return the folders of a service with their verdicts, as this machine has them."""
    stated = factory.storage.encrypted_by_plant
    return [Storage(one, verdict_of_folder(one.path, stated, system)) for one in folders_of(factory, service)]


def storage_problems(factory: Factory, service: Service) -> Iterator[Problem]:
    """Yield an error for each folder of a service that has to be on encrypted storage and is not."""
    if factory.storage.encrypted is Encrypted.REQUIRED:
        yield from _problems(factory, storage_of(factory, service), Severity.ERROR)


def storage_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each folder that is there on this machine, and known to be without encryption.

    A configuration is also validated where it does not run: folders that are not there say nothing.
    """
    if factory.storage.encrypted is not Encrypted.REPORTED:
        here = [one for one in storage_of(factory) if one.folder.path.is_dir()]
        plain = [one for one in here if one.verdict.state is State.NOT_ENCRYPTED]
        yield from _problems(factory, plain, Severity.WARNING)


def _problems(factory: Factory, those: list[Storage], severity: Severity) -> Iterator[Problem]:
    document = factory.document
    for one in those:
        if one.problem and document is not None:
            text = f"{factory.storage.encrypted}, and {one.problem}"
            yield Problem(document.file, *document.mark(_PATH), ".".join(_PATH), text, severity)
