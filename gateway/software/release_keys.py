"""The release keys: the public keys of those whose releases this machine accepts.

They are those of `release_keys` in the policy of the machine, else those in the file /etc/lineside/release.pub: PEM,
as `openssl pkey -pubout` writes them, one after another while a key is replaced by the next.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.public_keys import UnusableKey, canonical
from gateway.settings.root_files import Unprotected, read_root_text

if TYPE_CHECKING:
    from gateway.settings.policy import Policy

FILE = Path("/etc/lineside/release.pub")
"""The release keys of this machine, unless its policy has them."""

NEXT_KEY = "release-next.pub"
"""The file of a delivery with the key that signs later releases."""

MOST_KEYS = 20
"""Keys in a file."""

_BLOCK = re.compile(r"-----BEGIN [A-Z ]{1,40}-----.*?-----END [A-Z ]{1,40}-----", re.DOTALL)


class UnusableKeys(ValueError):
    """The release keys can't be used; the message names the file, and what would be right."""


class ReleaseKeys(NamedTuple):
    """Public keys in their canonical form, none if this machine has none. `place` is the file that has them."""

    place: Path
    keys: tuple[str, ...]


def release_keys(policy: Policy | None, file: Path | None = None) -> ReleaseKeys:
    """Return the release keys of this machine: of a file that a person names, of its policy, or of `FILE`.

    Raises `UnusableKeys`.
    """
    if file is None and policy is not None and policy.release_keys is not None:
        return ReleaseKeys(policy.file, tuple(policy.release_keys.values()))
    place = FILE if file is None else file
    if file is None and not os.path.lexists(place):
        return ReleaseKeys(place, ())
    try:
        text = read_root_text(place, "the release keys", "put the public key of the release there")
    except Unprotected as error:
        raise UnusableKeys(str(error)) from None
    return ReleaseKeys(place, read_keys(text, place))


def read_keys(text: str, place: Path) -> tuple[str, ...]:
    """Return the public keys in the text of a file. Raises `UnusableKeys`."""
    blocks = _BLOCK.findall(text) or [text]
    if len(blocks) > MOST_KEYS:
        raise UnusableKeys(f"{place}: has more than {MOST_KEYS} keys; remove those that sign no release any more")
    try:
        return tuple(dict.fromkeys(map(canonical, blocks)))
    except UnusableKey as error:
        raise UnusableKeys(f"{place}: {error}") from None


def public_pem(key: str) -> str:
    """Return a key in its canonical form as PEM (RFC 7468)."""
    return f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"
