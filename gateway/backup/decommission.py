"""Remove a gateway from a box that leaves the plant: its spool, state, keys, users and secrets.

Each file is overwritten once and then removed, the "clear" of NIST SP 800-88. On flash media, on file systems that
write elsewhere than they read (copy on write, logs, snapshots), and in backups the old content may be left all the
same: only the encryption of the disk, or the disk's own erase command, removes that.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.audit.files import LOCK as AUDIT_LOCK
from gateway.backup.places import AUDIT_FILE, CONFIGURATION, PKI, SAVING, STAGING, has_private_key, places_of
from gateway.model.part import BETWEEN
from gateway.settings.contents import secrets_of
from gateway.settings.dashboard_section import ALARM_NOTES, LINK_FILE, SESSIONS_FILE
from gateway.settings.policy import read_policy
from gateway.settings.signature_memory import memory_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drivers.secret import Secret
    from gateway.settings.factory import Factory

PIECE = 2**20
"""Bytes that are overwritten at once."""

LIMITS = (
    "each file is overwritten once; flash media, file systems with snapshots or copy on write, and backups may keep "
    "the old content: encrypt the disk, or use its own erase command, before it leaves your hands"
)
"""The limits of overwriting, in one line."""


_KINDS = (
    "alive", "configuration", "dead-letters", "found", "metas", "owners", "retained", "self-test", "set-aside",
    "sock", "spool", "states", "status", "told", "totals", "workers",
)  # fmt: skip
"""The words behind the id in the names of files of a gateway or an ingest."""

_AUDIT_STATE = r".+\.(?:life|trust)\.json|audit-clock\.json"
_AUDIT_FILE = re.compile(rf"(?:\.?(?:{AUDIT_FILE.pattern})|{re.escape(AUDIT_LOCK)}|{_AUDIT_STATE})(?:\..+)?")

_PKI_FILE = re.compile(r"(?:own|trusted|issuers|rejected)/.+")

_LEFT_BY_A_RESTORE = re.compile(rf"(?:{re.escape(STAGING)}|{re.escape(SAVING)})[^/]+/.+")


class Plan(NamedTuple):
    """Files to remove by their kind, and folders that are removed if they are empty then.

    `kept` names the things that stay, each with its reason.
    """

    files: dict[str, list[Path]]
    folders: list[Path]
    audit: list[Path]
    kept: list[str]

    @property
    def all_files(self) -> list[Path]:
        """All files but those of the audit log, each once."""
        return list(dict.fromkeys(file for files in self.files.values() for file in files))


def plan(factory: Factory, *, keep_audit: bool = False) -> Plan:
    """Return all that belongs to the gateway and the ingest of a configuration on this box. Raises `OSError`."""
    places = places_of(factory)
    own, dashboard = factory.gateway, factory.dashboard
    state, ingest = own.spool.folder.absolute(), factory.ingest.folder.absolute()
    audits = {one.folder.absolute(): None for one in (dashboard.audit, factory.ingest.audit)}
    pki = [folder for section, folder in places.folders.items() if section.startswith(PKI)]
    users = dashboard.users.absolute()
    keys = [one.file for one in places.sources if one.section == CONFIGURATION and one.key]
    keys = [file for file in (*keys, *places.elsewhere) if has_private_key(file)]
    named, missing = _secret_files(secrets_of(factory))
    files = {
        "spool and state": [
            *_named(state, own.id),
            *_present(state / ALARM_NOTES),
            *memory_files(factory, read_policy()),
            *_all(state, _LEFT_BY_A_RESTORE),
            *_all(state, LINK_FILE),
            *_all(state, SESSIONS_FILE),
        ],
        "files of ingest": _named(ingest, factory.ingest.id),
        "certificates and keys of OPC UA": [file for folder in pki for file in _all(folder, _PKI_FILE)],
        "users": [*_present(users), *_present(users.with_name(f"{users.name}.lock"))],
        "keys": [file for file in keys if file not in named],
        "secrets": named,
    }
    kept = [f"configuration in {places.folders[CONFIGURATION]}: remove it with the package, or by hand"]
    kept += [f"secret {one}: {reason}" for one, reason in missing]
    kept += [f"store {name}: the readings of the plant" for name in factory.store_names]
    if keep_audit:
        kept += [f"audit log in {audit}: as asked" for audit in audits if audit.is_dir()]
    folders = [*_folders(pki), *([] if keep_audit else _folders(audits))]
    removed = [] if keep_audit else [file for audit in audits for file in _all(audit, _AUDIT_FILE)]
    return Plan(files, folders, removed, kept)


def remove(files: Iterable[Path], report: Callable[[Path], None] = lambda _file: None) -> list[str]:
    """Overwrite and remove files; return those that could not be removed, with the reasons."""
    failed = []
    for file in files:
        report(file)
        try:
            _overwrite(file)
            file.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(f"{file}: {error.strerror or error}")
    return failed


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove folders that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _overwrite(file: Path) -> None:
    """Overwrite a regular file with random bytes, on the disk. A link is left: only its name is removed."""
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or not found.st_size:
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        left = found.st_size
        while left:
            left -= os.write(descriptor, secrets.token_bytes(min(PIECE, left)))
        os.fsync(descriptor)
        os.ftruncate(descriptor, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(folder: Path, name: str) -> list[Path]:
    """Return the files of a gateway or an ingest, and of the gateway's workers.

    Another gateway in this folder may have an id that begins with that of this gateway and a dot.
    """
    pattern = re.compile(rf"{re.escape(name)}(?:{BETWEEN}\d{{1,3}})?\.(?:{'|'.join(_KINDS)})(?:[.-].*)?")
    return [file for file in _listing(folder) if pattern.fullmatch(file.name) and not file.is_dir()]


def _listing(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _present(file: Path) -> list[Path]:
    return [file] if file.exists() or file.is_symlink() else []


def _all(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files below a folder whose paths in it fit: whatever else a user keeps there is not ours."""
    return sorted(
        file
        for file in folder.rglob("*")
        if pattern.fullmatch(str(file.relative_to(folder))) and (file.is_symlink() or not file.is_dir())
    )


def _folders(above: Iterable[Path]) -> list[Path]:
    """Return folders with all below them, the innermost first."""
    found = [one for folder in above if folder.is_dir() for one in (folder, *folder.rglob("*"))]
    return sorted((one for one in found if one.is_dir() and not one.is_symlink()), reverse=True)


def _secret_files(named: Iterable[Secret]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Return the files of secrets that this process may remove, and the other secrets with the reasons."""
    found: list[Path] = []
    others: list[tuple[str, str]] = []
    for one in named:
        file = next(_places(one), None)
        if file is None:
            others.append((one.secret or one.file, "is not in a file on this box, as far as this command can see"))
        elif os.access(file.parent, os.W_OK):
            found.append(file)
        else:
            others.append((one.secret or one.file, f"{file} can't be removed by this user"))
    return found, others


def _places(secret: Secret) -> Iterator[Path]:
    """Yield the files of a secret. Credentials of a service are copies in memory, which end with it."""
    if secret.file:
        yield from _present(Path(secret.file).absolute())
        return
    for folder in (os.environ.get("LINESIDE_SECRETS"), "/run/secrets"):
        if folder:
            yield from _present(Path(folder, secret.secret).absolute())
