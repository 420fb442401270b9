"""The files that belong to a gateway, and to the ingest and the page of its configuration.

A section is a folder of the box; only files with the names of its table are saved and restored there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drivers.opcua.security.settings import SecureConnection
from drivers.secret import Secret
from gateway.common.key_files import is_key_file
from gateway.model.part import BETWEEN
from gateway.settings.contents import secrets_of, sections_of, values_in
from gateway.settings.dashboard_section import ALARM_NOTES
from gateway.settings.signature import signature_file
from gateway.settings.templates import bundled_config
from gateway.spool.siblings import spools_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.settings.factory import Factory
    from gateway.spool.files import SpoolFiles

CONFIGURATION, STATE, INGEST, PKI, USERS, AUDIT = "configuration", "state", "ingest", "pki", "users", "audit"

SECTIONS = (CONFIGURATION, STATE, INGEST, PKI, USERS, AUDIT)

SPOOL = ".spool.db"

STAGING = ".lineside-restore-"
"""The begin of the name of a folder with the contents of an archive, while a restore checks them."""

SAVING = ".lineside-backup-"
"""The begin of the name of the folder with the copies for an encrypted archive, on the disk of the spool."""

STATE_FILES = (
    ".set-aside.jsonl", ".set-aside.jsonl.1", ".metas.json", ".told.json", ".found.json", ".totals.json",
    ".states.json", ".retained.json", ".workers.json", ".signed.json",
)  # fmt: skip
"""Ends of the names of a gateway's files that are saved; the spools come first."""

INGEST_FILES = (".metas.json", ".owners.json", ".signed.json", ".dead-letters.jsonl", ".dead-letters.jsonl.1")
"""Ends of the names of an ingest's files that are saved."""

AUDIT_FILE = re.compile(r"audit-\d{6,9}\.jsonl|audit-head\.json|audit-[0-9a-f]{16}\.pub|audit-key\.pem")

_PKI_FILE = re.compile(
    r"own/(?:certs|private)/[^/]+|(?:trusted|issuers)/(?:certs|crl)/[^/]+"
)  # those of rejected servers come again

PRIVATE_KEY = b"PRIVATE KEY-----"
"""In every file in PEM that has a private key (RFC 7468)."""

LARGEST_KEY = 2**20
"""Bytes of the largest file that is looked at as a key."""

MOST_FILES = 10_000
"""Files of one section."""


class Source(NamedTuple):
    """A file to save: its section, its name there, and where it is. `key` is true for a file with a secret."""

    section: str
    name: str
    file: Path
    key: bool = False

    @property
    def member(self) -> str:
        """The name in an archive."""
        return f"{self.section}/{self.name}"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a configuration by section, and the files in them.

    `elsewhere` are files that the configuration names outside of these folders. `secrets` are its named secrets.
    """

    gateway: str
    ingest: str
    config: str
    folders: dict[str, Path]
    sources: tuple[Source, ...]
    spools: tuple[SpoolFiles, ...]
    elsewhere: tuple[Path, ...] = ()
    secrets: tuple[Secret, ...] = field(default=())


def places_of(factory: Factory) -> Places:
    """Return the folders and present files of a configuration. Raises `OSError`."""
    own, bundled = factory.gateway, bundled_config().resolve()
    written = [file.absolute() for file in factory.files if not file.resolve().is_relative_to(bundled)]
    base = Path(os.path.commonpath([file.parent for file in written]))
    state = own.spool.folder.absolute()
    folders = {
        CONFIGURATION: base,
        STATE: state,
        INGEST: factory.ingest.folder.absolute(),
        USERS: factory.dashboard.users.absolute().parent,
        AUDIT: factory.dashboard.audit.folder.absolute(),
    } | dict(_pki_folders(factory))
    signed = [file for file in (signature_file(factory.file.absolute()),) if file.is_file()]
    found = [Source(CONFIGURATION, str(file.relative_to(base)), file) for file in (*sorted(written), *signed)]
    named = sorted({file.absolute() for file in _named_files(factory)} - set(written))
    pki = [folder for section, folder in folders.items() if section.startswith(PKI)]
    elsewhere = []
    for file in named:
        if any(file.is_relative_to(folder) for folder in pki):
            continue
        if file.is_relative_to(base):
            found.append(Source(CONFIGURATION, str(file.relative_to(base)), file, _has_key(file)))
        else:
            elsewhere.append(file)
    found += _state_files(state, own.id)
    found += [
        Source(INGEST, f"{factory.ingest.id}{end}", file)
        for end in INGEST_FILES
        if (file := folders[INGEST] / f"{factory.ingest.id}{end}").is_file()
    ]
    for section, folder in folders.items():
        if section.startswith(PKI):
            found += _below(section, folder, _PKI_FILE, lambda name: name.startswith("own/private/"))
    if factory.dashboard.users.is_file():
        found.append(Source(USERS, factory.dashboard.users.name, factory.dashboard.users.absolute()))
    found += _below(AUDIT, folders[AUDIT], AUDIT_FILE, lambda name: name == "audit-key.pem")
    return Places(
        own.id, factory.ingest.id, str(factory.file.absolute().relative_to(base)), folders, tuple(found),
        tuple(files for files in spools_of(state, own.id) if files.db.exists()), tuple(elsewhere),
        tuple(one for one in secrets_of(factory) if one.secret),
    )  # fmt: skip


def fits(section: str, name: str, gateway: str, ingest: str) -> bool:
    """Return whether a file of an archive may be restored under this name in the folder of its section."""
    parts = name.split("/")
    if len(name) > 250 or any(part in {"", ".", ".."} or not part.isprintable() for part in parts):  # noqa: PLR2004
        return False
    if re.fullmatch(rf"{PKI}(?:-\d{{1,3}})?", section):
        return _PKI_FILE.fullmatch(name) is not None
    return {
        CONFIGURATION: True,
        STATE: name == ALARM_NOTES or _is_state(name, gateway),
        INGEST: name in {f"{ingest}{end}" for end in INGEST_FILES},
        USERS: len(parts) == 1,
        AUDIT: AUDIT_FILE.fullmatch(name) is not None,
    }.get(section, False)


def _is_state(name: str, gateway: str) -> bool:
    part = rf"{re.escape(gateway)}(?:{BETWEEN}\d{{1,3}})?"
    return any(re.fullmatch(part + re.escape(end), name) for end in (SPOOL, *STATE_FILES))


def is_private(section: str, name: str) -> bool:
    """Return whether a file is for its owner alone."""
    return not (section == CONFIGURATION or (section.startswith(PKI) and not name.startswith("own/private/")))


def _state_files(folder: Path, gateway: str) -> list[Source]:
    if not folder.is_dir():
        return []
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.is_symlink())
    return [
        Source(STATE, name, folder / name)
        for name in names
        if fits(STATE, name, gateway, "") and not name.endswith(SPOOL)
    ]


def _below(section: str, folder: Path, pattern: re.Pattern[str], is_key: Callable[[str], bool]) -> list[Source]:
    found = []
    for file in sorted(folder.rglob("*"))[:MOST_FILES]:
        name = str(file.relative_to(folder))
        if pattern.fullmatch(name) and file.is_file() and not file.is_symlink():
            found.append(Source(section, name, file, is_key(name)))
    return found


def _pki_folders(factory: Factory) -> Iterator[tuple[str, Path]]:
    """Yield the sections of the folders with certificates of OPC UA connections: `pki`, `pki-2` and so on."""
    connections = (machine.connection for machine in factory.machines)
    used = {(factory.file.parent / one.folder).absolute() for one in connections if isinstance(one, SecureConnection)}
    of_service = factory.gateway.spool.folder.absolute() / "pki"
    if used and of_service.is_dir():  # where systemd, which this command does not run under, puts the default
        used.add(of_service)
    for number, folder in enumerate(sorted(used), 1):
        yield (PKI if number == 1 else f"{PKI}-{number}"), folder


def _named_files(factory: Factory) -> set[Path]:
    """Return the certificates, keys and files of secrets that a configuration names and that exist."""
    found = set()
    for _, one in values_in(sections_of(factory)):
        if isinstance(one, Secret):
            file = Path(one.file) if one.file else None
        else:
            file = one if isinstance(one, Path) else None
        if file is None or not file.is_file() or file.stat().st_size > LARGEST_KEY:
            continue
        if isinstance(one, Secret) or is_key_file(file):
            found.add(file)
    return found


def has_private_key(file: Path) -> bool:
    """Return whether a file has a private key in PEM. Raises `OSError`."""
    with file.open("rb") as opened:
        return PRIVATE_KEY in opened.read(LARGEST_KEY)


def _has_key(file: Path) -> bool:
    """Return whether a file has a secret: a private key, or nothing that is known to be public."""
    content = file.read_bytes()
    public = b"-----BEGIN CERTIFICATE" in content or file.suffix.lower() in {".cer", ".crt"}
    return PRIVATE_KEY in content or not public


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest folder above it that exists."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
