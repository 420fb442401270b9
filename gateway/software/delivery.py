"""A delivery: packages with their checksums, the signature of these, and the key that signs later releases.

    lineside_0.2.0-1~deb12_amd64.deb   SHA256SUMS   SHA256SUMS.sig   release-next.pub

A package is copied to a place of our own while it is read, and the copy is used: who can write the folder of the
delivery can't exchange the package after the check.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from drivers.regular_file import read_regular
from gateway.software.manifest import MANIFEST, SIGNATURE, SIGNATURE_BYTES, signer_of
from gateway.software.release_keys import NEXT_KEY, UnusableKeys, read_keys

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.software.release_keys import ReleaseKeys

MOST_BYTES = 2**20
"""The size of the list of checksums, and of a file with keys."""

LARGEST = 2**31
"""Bytes of a package."""

CHUNK = 2**20
"""Bytes that are read at once."""

_LINE = re.compile(r"([0-9a-f]{64})  ([^/\x00-\x1f]{1,255})")


class Refused(Exception):
    """A package is not one to install; the message says why, and what would be right."""


class Delivery(NamedTuple):
    """A package that was checked. `copy` is its content, `next_keys` those that its signer vouches for."""

    copy: Path
    next_keys: tuple[str, ...] = ()


def check_delivery(package: Path, keys: ReleaseKeys, into: Path) -> Delivery:
    """Copy a package into a folder of our own, and check it with the release keys of this machine.

    Raises `Refused` and `OSError`.
    """
    if not keys.keys:
        raise Refused(f"there is no release key: put the public key of your supplier into {keys.place}, or install "
                      "packages that nobody vouches for with --unsigned")  # fmt: skip
    sums = _checksums(package, keys)
    if package.name not in sums:
        listed = package.with_name(MANIFEST)
        raise Refused(f"{package.name} is not in the signed {listed}; get the files of one release")
    copy = into / package.name
    if copy_of(package, copy) != sums[package.name]:
        raise Refused(f"{package} is not the package that was signed: it was changed or damaged; get it again")
    return Delivery(copy, _next_keys(package.with_name(NEXT_KEY), sums))


def copy_of(package: Path, copy: Path) -> str:
    """Copy a package, and return the SHA-256 of the copy. Raises `Refused` and `OSError`."""
    found, size = hashlib.sha256(), 0
    with package.open("rb") as source, copy.open("xb") as target:
        while content := source.read(CHUNK):
            size += len(content)
            if size > LARGEST:
                raise Refused(f"{package} is larger than {LARGEST:,} bytes; it is not a package of Lineside")
            found.update(content)
            target.write(content)
    return found.hexdigest()


def _checksums(package: Path, keys: ReleaseKeys) -> dict[str, str]:
    """Return the checksums beside a package, as a release key has signed them."""
    listed, signed = package.with_name(MANIFEST), package.with_name(SIGNATURE)
    try:
        content, signature = read_regular(listed, MOST_BYTES), read_regular(signed, SIGNATURE_BYTES)
    except FileNotFoundError as error:
        raise Refused(f"{error.filename} is missing: the package is not signed; put the files {MANIFEST} and "
                      f"{SIGNATURE} of the release beside it") from None  # fmt: skip
    except ValueError:
        signature = b""
    if not signature or signer_of(content, signature, keys.keys) is None:
        raise Refused(f"{signed} is not a signature by a release key of {keys.place}; don't use this package")
    found = (_LINE.fullmatch(line) for line in content.decode(errors="replace").splitlines())
    return {one[2]: one[1] for one in found if one is not None}


def _next_keys(file: Path, sums: dict[str, str]) -> tuple[str, ...]:
    """Return the keys of a delivery that sign later releases."""
    if NEXT_KEY not in sums:
        return ()
    try:
        content = read_regular(file, MOST_BYTES)
        if hashlib.sha256(content).hexdigest() != sums[NEXT_KEY]:
            raise Refused(f"{file} is not the key that was signed: it was changed; get it again")
        return read_keys(content.decode(), file)
    except (OSError, ValueError, UnusableKeys) as error:
        raise Refused(f"{file} is in the signed {MANIFEST}, and can't be used: {error}; get it again") from None
