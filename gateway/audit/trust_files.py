"""Files that decide whom a service trusts: every change of one is an entry, also a change by hand.

A certificate that a person copies into a folder is trusted without a command that would record it. So the digests of
these files are compared with those of the last entry: at the start, and from time to time.
"""

from __future__ import annotations

import asyncio
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gateway.audit.apart import Entry, log_exists
from gateway.common.atomic_file import load_json, save_json
from gateway.common.key_files import is_key_file
from gateway.common.state_log import StateLog
from gateway.settings.contents import pki_folders, values_in
from gateway.settings.policy import policy_path
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.audit.apart import ServiceLog
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

ADDED, CHANGED, REMOVED = "trust-file-added", "trust-file-changed", "trust-file-removed"
KNOWN = "trust-files-known"
"""The actions; the last is of a service that knew no files before."""

SETTLE = 4.0
"""Seconds after the start of a service until its first look: its first readings go first."""

LOOK_EVERY = 60.0
"""Seconds between two looks."""

MOST_FILES = 2_000
"""Files that are looked at; a folder with more is logged."""

MOST_ENTRIES = 50
"""Entries of one look; the others follow with the next."""

LARGEST = 2**20
"""Bytes of a file that are in its digest, with its size: certificates and keys are smaller."""

UNREADABLE = "unreadable"
"""The digest of a file that can't be read."""

_PKI = ("own/certs", "own/private", "trusted/certs", "trusted/crl", "issuers/certs", "issuers/crl", "rejected")
"""The folders of `pki`, see `drivers.opcua.security.pki`."""


class TrustPlaces(NamedTuple):
    """Files, those of `named` only if they have a certificate or a key, and all files of folders."""

    files: tuple[Path, ...] = ()
    named: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()


def trust_places(factory: Factory, service: Service) -> TrustPlaces:
    """Return the places of a service. The configuration has the public keys of people and gateways."""
    files, folders = [factory.file, policy_path()], list[Path]()
    stores = [entry.settings for entry in factory.stores]
    connections = list({id(one.connection): one.connection for one in factory.machines}.values())
    sections: list[object] = [factory.broker]
    if service is Service.GATEWAY:
        sections += [factory.gateway, *connections]
        folders = [folder / part for folder in pki_folders(factory) for part in _PKI]
    elif service is Service.INGEST:
        sections += [factory.ingest, *stores]
    else:
        files.append(factory.dashboard.users)
        sections += [factory.dashboard, *stores]
    paths = {value for _, value in values_in(sections) if isinstance(value, Path)}
    named = sorted(paths - {factory.dashboard.users})
    return TrustPlaces(*(tuple(dict.fromkeys(one.absolute() for one in some)) for some in (files, named, folders)))


def digests_of(places: TrustPlaces) -> dict[str, str]:
    """Return the digests of the files that are there, by their paths. Blocks."""
    found: dict[str, str] = {}
    for file in _files_of(places):
        if len(found) >= MOST_FILES:
            break
        digest = _digest(file)
        if digest:
            found[str(file)] = digest
    return found


def _files_of(places: TrustPlaces) -> Iterator[Path]:
    yield from places.files
    for file in places.named:
        try:
            if file.is_file() and is_key_file(file):
                yield file
        except OSError:
            yield file
    for folder in places.folders:
        try:
            yield from sorted(folder.iterdir())
        except OSError:  # it is not there yet
            continue


def _digest(file: Path) -> str:
    """Return the digest of a regular file, nothing if there is none."""
    try:
        return digest_and_content(file)[0]
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        return UNREADABLE


def digest_and_content(file: Path) -> tuple[str, bytes]:
    """Return the SHA-256 of a file with its content; of a file larger than `LARGEST` that of its beginning and size.

    Both are empty for another thing than a regular file. Never waits for a writer. Raises `OSError`.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return "", b""
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            content = opened.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        content = content[:LARGEST]
        return sha256(content + str(found.st_size).encode()).hexdigest(), content
    return sha256(content).hexdigest(), content


def changes_between(known: dict[str, str], found: dict[str, str]) -> Iterator[Entry]:
    """Yield an entry for each file that was added, changed or removed; its object is the path of the file."""
    for path in sorted(known.keys() | found.keys()):
        before, after = known.get(path), found.get(path)
        if before == after:
            continue
        action = ADDED if before is None else REMOVED if after is None else CHANGED
        yield Entry(action=action, object=path, before=_about(before), after=_about(after))


def _about(digest: str | None) -> dict[str, str] | None:
    return None if digest is None else {"sha256": digest}


class TrustWatch:
    """Records the changes of the files of a service."""

    def __init__(self, audit: ServiceLog, places: TrustPlaces) -> None:
        """Prepare; no I/O."""
        self._audit = audit
        self._places = places
        self._file = audit.section.folder / f"{audit.service}-{audit.who}.trust.json"
        self._known: dict[str, str] | None = None
        self._state = StateLog(log, "audit.trust_files_unstable", service=audit.service)

    async def run(self) -> None:
        """Look from time to time until cancelled; returns where there is no audit log."""
        if not any(self._places) or not await asyncio.to_thread(log_exists, self._audit.section):
            return
        await asyncio.sleep(SETTLE)
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Compare once. Changes that can't be recorded are found again by the next look."""
        if self._known is None:
            self._known = await asyncio.to_thread(self._load)
        found = await asyncio.to_thread(digests_of, self._places)
        if len(found) >= MOST_FILES:
            self._state.enter("audit.too_many_files", files=MOST_FILES, hint="remove rejected certificates")
        elif self._state.state:
            self._state.enter("audit.files_watched", healthy=True)
        if self._known is None:
            entries, known = [_first(found)], found
        else:
            entries = list(changes_between(self._known, found))[:MOST_ENTRIES]
            known = _after(self._known, found, entries)
        if not entries:
            return
        if error := await self._audit.write(entries):
            log.warning("audit.not_recorded", action=entries[-1].action, error=error)
            return
        self._known = known
        await asyncio.to_thread(save_json, self._file, {"files": known})

    def _load(self) -> dict[str, str] | None:
        """Return the digests of the last entries, None where there are none that can be read."""
        try:
            found = load_json(self._file)["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if isinstance(found, dict) and all(isinstance(one, str) for one in (*found, *found.values())):
            return found
        return None


def _after(known: dict[str, str], found: dict[str, str], entries: Iterable[Entry]) -> dict[str, str]:
    """Return the known digests when these entries are written."""
    after = dict(known)
    for one in entries:
        if one.object in found:
            after[one.object] = found[one.object]
        else:
            del after[one.object]
    return after


def _first(found: dict[str, str]) -> Entry:
    """Return the entry of files whose earlier state nobody knows: their number, and a digest of all."""
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(found.items()))
    about: dict[str, Any] = {"files": len(found), "sha256": sha256(lines.encode()).hexdigest()}
    return Entry(action=KNOWN, after=about | {"listed": dict(sorted(found.items())[:MOST_ENTRIES])})
