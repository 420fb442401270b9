"""Write an archive of a gateway, which may run meanwhile.

The files are first copied beside the archive, each as of one moment, and the archive is made of the copies: its
manifest, with the hashes, is its first member. The archive appears under its name when it is complete and on disk.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, cast

from drivers.secret import MissingSecret
from gateway import __version__
from gateway.audit.files import LOCK as AUDIT_LOCK
from gateway.audit.files import locked as audit_locked
from gateway.audit.files import sync_folder
from gateway.backup.container import ArchiveWriter, digest_of
from gateway.backup.encrypted import EncryptingWriter
from gateway.backup.manifest import (
    FORMAT,
    LARGEST_SEALED,
    NAME,
    SEALED,
    LeftOut,
    Manifest,
    Member,
    SpoolInArchive,
    encoded,
)
from gateway.backup.places import AUDIT, SAVING, SPOOL, STATE, existing, places_of
from gateway.backup.sealed import seal
from gateway.spool.snapshot import copy_spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from gateway.backup.encrypted import Lock
    from gateway.backup.places import Places, Source
    from gateway.settings.factory import Factory

MODE = 0o600
"""The rights of an archive."""

ROOM_LEFT = 16 * 2**20
"""Bytes that stay free on the disk of the archive."""

NOT_ASKED = "is a secret; --secrets saves it, encrypted"


class NoRoom(OSError):
    """The disk of the archive has too little room; nothing was written."""


class Saved(NamedTuple):
    """A finished archive: its file, its bytes, and its manifest."""

    file: Path
    bytes: int
    manifest: Manifest


def save(
    factory: Factory,
    file: Path,
    passphrase: str | None,
    report: Callable[[str], None] = lambda _text: None,
    lock: Lock | None = None,
) -> Saved:
    """Write the archive of a configuration's gateway into a file, which it replaces.

    With a `passphrase` keys and secrets are in it, encrypted. A `lock` encrypts all of it: nothing is on the disk of
    the archive in the clear, and the copies are on the disk of the spool meanwhile. Raises `NoRoom`, `OSError`,
    `NotReadable` for a damaged spool, `BadArchive` for a name that does not fit, and `MissingSecret` for a missing
    secret that should be saved.
    """
    places = places_of(factory)
    partial = file.absolute().with_name(f".{file.name}.partial")
    state = existing(places.folders[STATE])
    staging = partial if lock is None else state / f"{SAVING}{places.gateway}"
    _check_room(places, (staging.parent, partial.parent))
    for one in (staging, partial):  # of a run that was killed
        _remove(one)
    staging.mkdir(mode=0o700)
    archive = staging / "archive" if lock is None else partial
    try:
        return _Save(factory, places, staging, report).run(file, archive, passphrase, lock)
    finally:
        for one in (staging, partial):
            _remove(one)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _check_room(places: Places, folders: Sequence[Path]) -> None:
    """Raise `NoRoom` if the copies and the archive, one in each of the folders, may not fit."""
    parts = (*((one.db, one.wal) for one in places.spools), *((one.file,) for one in places.sources))
    size = sum(one.stat().st_size for part in parts for one in part if one.exists())
    on_one = len({folder.stat().st_dev for folder in folders}) == 1
    needed = (2 * size if on_one else size) + ROOM_LEFT
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise NoRoom(
                f"{folder} has {free / 1e6:,.0f} MB free, and the copies and the archive may need "
                f"{needed / 1e6:,.0f} MB: name a file on another disk"
            )


class _Save:
    """One run: copies into the folder `staging`, then the archive."""

    def __init__(self, factory: Factory, places: Places, staging: Path, report: Callable[[str], None]) -> None:
        self._factory = factory
        self._places = places
        self._staging = staging
        self._report = report
        self._members: dict[str, tuple[Path, int]] = {}
        self._left_out: list[LeftOut] = []
        self._keys: dict[str, bytes] = {}

    def run(self, file: Path, archive: Path, passphrase: str | None, lock: Lock | None) -> Saved:
        """Write the archive into the file `archive`, which is renamed to `file` at the end."""
        spools = self._copy_spools()
        self._copy_files(keep_keys=passphrase is not None)
        named = self._secrets(reveal=passphrase is not None)
        if not spools:
            state = self._places.folders[STATE]
            self._left_out.append(LeftOut(name="a spool", reason=f"{state} has none: has the gateway run here?"))
        self._left_out += [
            LeftOut(name=str(one), reason="is outside of the folder of the configuration; save it by hand")
            for one in self._places.elsewhere
        ]
        manifest = self._manifest(spools)
        if passphrase is not None:
            manifest = self._seal(manifest, named, passphrase)
        self._pack(manifest, archive, lock)
        size = archive.stat().st_size
        archive.replace(file)
        sync_folder(file.absolute().parent)
        return Saved(file, size, manifest)

    def _copy_spools(self) -> list[SpoolInArchive]:
        """Copy the spools first: the descriptions that their records name are in the files copied after them."""
        found = []
        for files in self._places.spools:
            self._report(f"copying {files.db}")
            copy = self._new(f"{STATE}/{files.gateway}{SPOOL}", MODE)
            copied = copy_spool(files, copy)
            found.append(SpoolInArchive(part=files.gateway, **copied._asdict()))
        return found

    def _copy_files(self, *, keep_keys: bool) -> None:
        audit = self._places.folders[AUDIT]
        for section in self._places.folders:
            sources = [one for one in self._places.sources if one.section == section]
            shared = section == AUDIT and (audit / AUDIT_LOCK).exists()
            with audit_locked(audit, shared=True) if shared else nullcontext():
                self._copy_section(sources, keep_keys=keep_keys)

    def _copy_section(self, sources: Sequence[Source], *, keep_keys: bool) -> None:
        for one in sources:
            self._report(f"copying {one.file}")
            try:
                if one.key:
                    if keep_keys:
                        self._keys[one.member] = one.file.read_bytes()
                    else:
                        self._left_out.append(LeftOut(name=str(one.file), reason=NOT_ASKED))
                    continue
                mode = one.file.stat().st_mode & 0o777
                shutil.copyfile(one.file, self._new(one.member, mode), follow_symlinks=True)
            except FileNotFoundError:  # removed meanwhile: it does not belong to the gateway any more
                self._members.pop(one.member, None)

    def _secrets(self, *, reveal: bool) -> dict[str, str]:
        if not reveal:
            self._left_out += [
                LeftOut(name=f"the secret {one.secret}", reason=NOT_ASKED) for one in self._places.secrets
            ]
            return {}
        found = {}
        for one in self._places.secrets:
            try:
                found[one.secret] = one.reveal()
            except MissingSecret as error:
                raise MissingSecret(f"{error}; an archive without it would not bring the gateway back") from None
        return found

    def _new(self, member: str, mode: int) -> Path:
        """Return the file of a copy."""
        copy = self._staging / f"{len(self._members):06}"
        self._members[member] = copy, mode
        return copy

    def _manifest(self, spools: Sequence[SpoolInArchive]) -> Manifest:
        factory, places = self._factory, self._places
        members = []
        for name, (copy, mode) in self._members.items():
            self._report(f"hashing {name}")
            members.append(Member(name=name, size=copy.stat().st_size, sha256=digest_of(copy), mode=mode))
        return Manifest(
            format=FORMAT,
            made_by=f"lineside {__version__}",
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            host=socket.gethostname(),
            enterprise=factory.factory.enterprise,
            site=factory.factory.site,
            gateway=places.gateway,
            ingest=places.ingest,
            config=places.config,
            digest=factory.digest,
            folders={section: str(folder) for section, folder in places.folders.items()},
            spools=tuple(spools),
            members=tuple(members),
            left_out=tuple(self._left_out),
        )

    def _seal(self, manifest: Manifest, named: dict[str, str], passphrase: str) -> Manifest:
        data = seal(named, self._keys, passphrase, manifest.bound())
        if len(data) > LARGEST_SEALED:
            raise OSError(f"keys and secrets have {len(data):,} bytes; at most {LARGEST_SEALED:,} fit")
        copy = self._new(SEALED, MODE)
        copy.write_bytes(data)
        member = Member(name=SEALED, size=len(data), sha256=digest_of(copy), mode=MODE)
        return manifest.model_copy(update={"members": (*manifest.members, member)})

    def _pack(self, manifest: Manifest, archive: Path, lock: Lock | None) -> None:
        """Write the archive of the copies; it is on disk when this returns."""
        head = encoded(manifest)
        (self._staging / NAME).write_bytes(head)
        descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        with os.fdopen(descriptor, "wb") as opened:
            encrypting = None if lock is None else EncryptingWriter(opened, lock)
            writer = ArchiveWriter(cast("BinaryIO", encrypting or opened), int(time.time()))
            files = [(NAME, self._staging / NAME), *((name, copy) for name, (copy, _) in self._members.items())]
            for name, copy in files:
                self._report(f"writing {name}")
                with copy.open("rb") as content:
                    writer.add(name, copy.stat().st_size, content)
                with suppress(OSError):
                    copy.unlink()  # as early as possible: the disk of a box is small
            writer.close()
            if encrypting is not None:
                encrypting.finish()
            opened.flush()
            os.fsync(opened.fileno())
