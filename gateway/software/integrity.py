"""Compare the installed files with those that were built, and their list with the release keys of this machine."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.software.compiled import CACHE, is_compiled_from, source_of
from gateway.software.installation import NOTES
from gateway.software.manifest import MANIFEST, SIGNATURE, signer_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from gateway.software.installation import Installation
    from gateway.software.release_keys import ReleaseKeys

CHUNK = 2**20
"""Bytes that are read at once."""

PAUSE = 0.02
"""Seconds between two chunks: 50 MB/s at the most, so that the disk has room for the services."""

OF_PYTHON = ("python", "activate", "Activate")
"""The beginnings of names in `bin` that Python makes for each environment."""


def software_problems(installed: Installation, keys: ReleaseKeys, pause: float = PAUSE) -> Iterator[str]:
    """Yield the problems of the installed software; without a release key its origin is not checked."""
    hint = f"install version {installed.version} again"
    yield from _problems_of_signature(installed, keys)
    if installed.version != __version__:
        yield f"{installed.prefix / MANIFEST} is of version {installed.version}, and {__version__} runs; {hint}"
    wrong: set[Path] = set()
    for file, problem in _changed(installed, pause):
        wrong.add(file)
        yield f"{file} {problem}; {hint}"
    for file, problem in _added(installed, wrong):
        yield f"{file} {problem}, or {hint}"


def _changed(installed: Installation, pause: float) -> Iterator[tuple[Path, str]]:
    """Yield the expected files that are not as they were, each with its problem."""
    for file, digest in installed.files.items():
        try:
            if _digest(file, pause) != digest:
                yield file, "was changed"
        except (FileNotFoundError, NotADirectoryError):
            yield file, "is missing"
        except OSError as error:
            yield file, f"can't be read: {error.strerror}"


def _added(installed: Installation, wrong: Collection[Path]) -> Iterator[tuple[Path, str]]:
    """Yield files that are not expected, and compiled files without the code of their source."""
    for file in _unexpected(installed):
        if file.parent.name != CACHE:
            yield file, "was added: remove it"
        elif (source := source_of(file)) is not None:
            if source[0] not in installed.files:
                yield file, "was added, and has no source: remove it"
            elif source[0] not in wrong and not _is_compiled(file, *source):
                yield file, "was changed, and has other code than its source: remove it"


def statement(installed: Installation, keys: ReleaseKeys) -> str:
    """Return a statement about the origin of the installed software, for a check that has found nothing."""
    files = f"{len(installed.files):,} files are as they were"
    if installed.manifest is None:
        return f"{files} installed by pip; that they are from their builder is not known"
    if not keys.keys:
        text = "that they are from their builder is not known: there is no release key"
        return f"{files} built for version {installed.version}; {text} ({keys.place})"
    return f"{files} built for version {installed.version}, and signed with a release key of {keys.place}"


def _problems_of_signature(installed: Installation, keys: ReleaseKeys) -> Iterator[str]:
    if not keys.keys:
        return
    if installed.manifest is None:
        yield (f"{installed.prefix} has no manifest that {keys.place} could vouch for; install the Debian package or "
               "the bundle of a signed release")  # fmt: skip
    elif installed.signature is None:
        yield (f"{installed.prefix / MANIFEST} is not signed, and {keys.place} has a release key; "
               "install a signed release")  # fmt: skip
    elif signer_of(installed.manifest, installed.signature, keys.keys) is None:
        yield (f"{installed.prefix / SIGNATURE} is not the signature of {MANIFEST} by a release key of {keys.place}; "
               "install a release that is signed with it")  # fmt: skip


def _digest(file: Path, pause: float) -> str:
    """Return the SHA-256 of a regular file. Raises `OSError`."""
    if file.is_symlink():
        raise OSError(40, "it is a symbolic link", str(file))
    found = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        while content := opened.read(CHUNK):
            found.update(content)
            time.sleep(pause * len(content) / CHUNK)
    return found.hexdigest()


def _unexpected(installed: Installation) -> Iterator[Path]:
    """Yield the files that Python could run, or that are commands, and that are not expected."""
    for folder, folders, names in os.walk(installed.packages):
        at = installed.packages / os.path.relpath(folder, installed.packages)
        links = [name for name in folders if (at / name).is_symlink()]
        for name in sorted([*names, *links]):
            note = name in NOTES and at.name.endswith(".dist-info") and at / "METADATA" in installed.files
            known = note or (at == installed.packages and name in installed.unhashed)
            if not known and at / name not in installed.files:
                yield at / name
    commands = installed.prefix / "bin"
    if installed.manifest is not None and commands.is_dir():
        for file in sorted(commands.iterdir()):
            if not file.name.startswith(OF_PYTHON) and file not in installed.files:
                yield file


def _is_compiled(compiled: Path, source: Path, level: int) -> bool:
    try:
        return is_compiled_from(compiled, source, level)
    except OSError:
        return False
