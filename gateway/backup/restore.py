"""Put a gateway back from its archive.

Everything is checked before anything changes: the manifest, the names, sizes and hashes of all members, the disk, the
passphrase, the locks of running services. The files are then written beside their places, and renamed at the end.

The gateway has used numbers since the archive was made, and records in it may be stored by now. Each restored spool
gets a name of its own: its pending records are sent again, which a store recognizes by point and time, and no number
means two records, whatever the old spool has sent under it.
"""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, cast

from gateway.audit.files import log_files, sync_folder
from gateway.backup.container import ArchiveReader, BadArchive
from gateway.backup.encrypted import DecryptingReader, read_header
from gateway.backup.manifest import LARGEST, LARGEST_SEALED, NAME, SEALED, BadManifest, parse_manifest
from gateway.backup.places import AUDIT, CONFIGURATION, INGEST, SPOOL, STAGING, STATE, existing, fits, is_private
from gateway.backup.running import check_stopped, locked_out
from gateway.backup.sealed import Contents, WrongPassphrase, unseal
from gateway.spool.files import SpoolFiles
from gateway.spool.snapshot import Copied, rename_spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from gateway.backup.encrypted import Header, Unlock
    from gateway.backup.manifest import Manifest

ROOM_LEFT = 16 * 2**20
"""Bytes that stay free on a disk."""

SECRETS = "secrets"
"""The section of named secrets; its folder is that of the command."""


class InTheWay(Exception):
    """Files are there already that differ from those of the archive; `files` are these."""

    def __init__(self, files: list[Path]) -> None:
        super().__init__(f"{len(files)} files are there already")
        self.files = files


class Planned(NamedTuple):
    """A file that is put into place: its content in the folder of checked members, its place, and its rights."""

    content: Path
    target: Path
    mode: int


class Restored(NamedTuple):
    """The files that were written, the spools with their new names, and the sections that were left as they are."""

    files: list[Path]
    spools: dict[str, Copied]
    kept: list[str]


@dataclass(frozen=True, slots=True)
class Options:
    """How to restore. `into` is the folder below which all folders are, `/` in general.

    `secrets` is the folder for named secrets, which are left out without it. `passphrase` is that of keys and
    secrets, `unlock` that of an encrypted archive, or its private key. `replace` allows to replace files.
    """

    into: Path = Path("/")
    secrets: Path | None = None
    passphrase: str | None = None
    replace: bool = False
    unlock: Unlock | None = None


def header_of(file: Path) -> Header | None:
    """Return the header of an encrypted archive, None of another. Raises `BadArchive` or `OSError`."""
    with file.open("rb") as opened:
        return read_header(opened)


@contextmanager
def open_archive(file: Path, unlock: Unlock | None = None) -> Iterator[ArchiveReader]:
    """Open an archive to read it. Raises `WrongPassphrase`, `BadArchive` or `OSError`."""
    with file.open("rb") as opened:
        header = read_header(opened)
        if header is None:
            yield ArchiveReader(opened)
        elif unlock is None:
            needed = "--passphrase-stdin" if header.needs_passphrase else "--key FILE"
            raise WrongPassphrase(f"{file} is encrypted; write {needed}")
        else:
            yield ArchiveReader(cast("BinaryIO", DecryptingReader(opened, header, unlock)))


def read_manifest(file: Path, unlock: Unlock | None = None) -> Manifest:
    """Return the manifest of an archive. Raises `WrongPassphrase`, `BadArchive` or `OSError`."""
    with open_archive(file, unlock) as archive:
        found = archive.next()
        if found is None or found[0] != NAME:
            raise BadArchive(f"{file}: is not an archive of lineside backup: its first member is not {NAME}")
        try:
            manifest = parse_manifest(archive.read(LARGEST))
        except BadManifest as error:
            raise BadArchive(f"{file}: {error}") from None
    for member in manifest.members:
        section, _, name = member.name.partition("/")
        known = section in manifest.folders and fits(section, name, manifest.gateway, manifest.ingest)
        if member.name != SEALED and not known:
            raise BadArchive(f"{file}: {member.name[:200]!r} is not the name of a file of a gateway")
    for section, folder in manifest.folders.items():
        if not Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise BadArchive(f"{file}: the folder of {section[:50]!r} is not an absolute path")
    return manifest


class Restore:
    """One restore: `check`, which changes nothing outside of a folder of its own, then `apply`."""

    def __init__(self, file: Path, options: Options, report: Callable[[str], None] = lambda _text: None) -> None:
        """Read the manifest. Raises `WrongPassphrase`, `BadArchive` or `OSError`."""
        self.manifest = read_manifest(file, options.unlock)
        self._file = file
        self._options = options
        self._report = report
        self._staging: Path | None = None
        self._planned: list[Planned] = []
        self._kept: list[str] = []
        self._spools: dict[str, Copied] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)

    def folder(self, section: str) -> Path:
        """Return the folder of a section on this box."""
        named = Path(self.manifest.folders[section])
        return self._options.into / named.relative_to("/")

    @property
    def config(self) -> Path:
        """The main file of the configuration on this box."""
        return self.folder(CONFIGURATION) / self.manifest.config

    @property
    def planned(self) -> list[Path]:
        """The files that `apply` writes, known after `check`."""
        return [one.target for one in self._planned]

    def check(self) -> None:
        """Read the whole archive, and check that it can be restored here.

        Raises `BadArchive`, `WrongPassphrase`, `BlockingIOError` if a service runs, `InTheWay`, or `OSError`.
        """
        check_stopped(self.folder(STATE), self.manifest.gateway, self.folder(INGEST), self.manifest.ingest)
        self._staging = self._new_staging()
        contents = self._extract(self._staging)
        sealed = self._unseal(contents.pop(SEALED, None))
        self._plan(contents, sealed)
        self._rename_spools()
        in_the_way = [one.target for one in self._planned if _differs(one)]
        if in_the_way and not self._options.replace:
            raise InTheWay(in_the_way)

    def apply(self) -> Restored:
        """Put the files into place; no gateway can start meanwhile. After a kill run it again, with `replace`.

        Raises `BlockingIOError` if a gateway has started, or `OSError`.
        """
        with locked_out(self.folder(STATE), self.manifest.gateway):
            return self._put_in_place()

    def _put_in_place(self) -> Restored:
        made: list[tuple[Path, Planned]] = []
        try:
            for one in self._planned:
                self._report(f"writing {one.target}")
                made.append((_write_beside(one), one))
        except OSError:
            for new, _ in made:
                new.unlink(missing_ok=True)
            raise
        for new, one in made:
            if one.target.name.endswith(SPOOL) and one.target.parent == self.folder(STATE):
                _remove_rest_of_spool(SpoolFiles(one.target.parent, one.target.name.removesuffix(SPOOL)))
            new.replace(one.target)
        for folder in {one.target.parent for one in self._planned}:
            sync_folder(folder)
        return Restored(self.planned, self._spools, self._kept)

    def _new_staging(self) -> Path:
        """Make the folder of the checked members, on the disk of the spool, and check the room there."""
        above = existing(self.folder(STATE))
        free = shutil.disk_usage(above).free
        if free < 2 * self.manifest.size + ROOM_LEFT:
            raise OSError(
                f"{above} has {free / 1e6:,.0f} MB free, and restoring needs "
                f"{(2 * self.manifest.size + ROOM_LEFT) / 1e6:,.0f} MB"
            )
        name = f"{STAGING}{self.manifest.gateway}."
        for old in above.glob(f"{name}*"):  # of a run that was killed: keys and secrets may be in it
            shutil.rmtree(old, ignore_errors=True)
        staging = above / f"{name}{secrets.token_hex(4)}"
        staging.mkdir(mode=0o700)
        return staging

    def _extract(self, staging: Path) -> dict[str, Path]:
        """Extract all members, and compare each with the manifest; return their contents by name."""
        wanted = {member.name: member for member in self.manifest.members}
        contents: dict[str, Path] = {}
        with open_archive(self._file, self._options.unlock) as archive:
            archive.next()  # the manifest, which is known
            while (found := archive.next()) is not None:
                name, size = found
                member = wanted.pop(name, None)
                if member is None:
                    raise BadArchive(f"{self._file}: the manifest does not name the member {name[:200]!r}")
                if size != member.size:
                    raise BadArchive(f"{self._file}: {name} has {size:,} bytes; the manifest says {member.size:,}")
                self._report(f"checking {name}")
                content = staging / f"{len(contents):06}"
                with content.open("xb") as opened:
                    digest = archive.copy(opened)
                if digest != member.sha256:
                    raise BadArchive(f"{self._file}: {name} differs from its hash: the archive is damaged")
                contents[name] = content
        if wanted:
            raise BadArchive(f"{self._file}: members are missing: {', '.join(sorted(wanted)[:5])}")
        return contents

    def _unseal(self, file: Path | None) -> Contents:
        if file is None:
            if self._options.passphrase is not None:
                raise WrongPassphrase("the archive has no keys and secrets; leave out the passphrase")
            return Contents()
        if self._options.passphrase is None:
            self._kept.append("keys and secrets, which need the passphrase")
            return Contents()
        if file.stat().st_size > LARGEST_SEALED:
            raise BadArchive(f"{self._file}: {SEALED} has more than {LARGEST_SEALED:,} bytes")
        return unseal(file.read_bytes(), self._options.passphrase, self.manifest.bound())

    def _plan(self, contents: dict[str, Path], sealed: Contents) -> None:
        """Note the place of each file; the audit log of this box stays if it has one."""
        assert self._staging is not None  # noqa: S101 - of `check`
        has_audit = bool(log_files(self.folder(AUDIT)))
        if has_audit:
            self._kept.append(f"the audit log in {self.folder(AUDIT)}: it is that of this box")
        modes = {member.name: member.mode for member in self.manifest.members}
        for name, data in sealed.contents.items():
            section, _, rest = name.partition("/")
            if section not in self.manifest.folders or not fits(
                section, rest, self.manifest.gateway, self.manifest.ingest
            ):
                raise BadArchive(f"{self._file}: {name[:200]!r} is not the name of a file of a gateway")
            contents[name] = self._staging / f"{len(contents):06}"
            contents[name].write_bytes(data)
        for name, content in contents.items():
            section, _, rest = name.partition("/")
            if section == AUDIT and has_audit:
                continue
            private = name in sealed.files or is_private(section, rest)
            mode = 0o600 if private else modes[name] & 0o755 | 0o600
            self._planned.append(Planned(content, self.folder(section) / rest, mode))
        if sealed.secrets and self._options.secrets is None:
            self._kept.append(f"{len(sealed.secrets)} secrets, for which no folder is named")
        elif self._options.secrets is not None:
            for number, (name, value) in enumerate(sealed.secrets.items()):
                content = self._staging / f"secret-{number}"
                content.write_text(value, encoding="utf-8")
                self._planned.append(Planned(content, self._options.secrets / name, 0o600))
        # the spools last: a gateway that starts on a part of the files would begin without them
        self._planned.sort(key=lambda one: one.target.name.endswith(SPOOL))

    def _rename_spools(self) -> None:
        for one in self._planned:
            if one.target.parent == self.folder(STATE) and one.target.name.endswith(SPOOL):
                part = one.target.name.removesuffix(SPOOL)
                self._report(f"renaming the spool of {part}")
                self._spools[part] = rename_spool(one.content, self.manifest.gateway, secrets.token_hex(4))


def _differs(one: Planned) -> bool:
    """Return whether another file is in the place of a planned file. A link there is another file."""
    if one.target.is_symlink():
        return True
    if not one.target.exists():
        return False
    if not one.target.is_file():
        raise IsADirectoryError(f"{one.target} is not a file; remove it")
    return not filecmp.cmp(one.target, one.content, shallow=False)


def _write_beside(one: Planned) -> Path:
    """Write a file beside its place, durable, with the rights of its section and the owner of its folder."""
    above = existing(one.target.parent)
    owner = above.stat()
    is_root = os.geteuid() == 0
    for folder in reversed([part for part in (one.target.parent, *one.target.parent.parents) if not part.is_dir()]):
        folder.mkdir(mode=0o700 if one.mode == 0o600 else 0o755)  # noqa: PLR2004 - as the file
        if is_root:
            os.chown(folder, owner.st_uid, owner.st_gid)
    new = one.target.with_name(f".{one.target.name}.restored")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, 0o600)
    with os.fdopen(descriptor, "wb") as target, one.content.open("rb") as content:
        shutil.copyfileobj(content, target)
        os.fchmod(descriptor, one.mode)
        if is_root:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        target.flush()
        os.fsync(descriptor)
    return new


def _remove_rest_of_spool(files: SpoolFiles) -> None:
    """Remove the log and the copy of the ledger of a spool that is replaced: they would change the new database."""
    for file in (files.wal, files.shm, files.journal, files.slots, files.new):
        with suppress(FileNotFoundError):
            file.unlink()


def sections_in(manifest: Manifest) -> Iterator[tuple[str, int, int]]:
    """Yield the sections of an archive with the number and the bytes of their files."""
    for section in manifest.folders:
        sizes = [member.size for member in manifest.members if member.name.partition("/")[0] == section]
        if sizes:
            yield section, len(sizes), sum(sizes)
