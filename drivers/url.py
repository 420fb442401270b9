"""URLs of devices, brokers and stores: split and checked with messages that say what would be right."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 255
"""The largest number of an IPv4 address."""


@lru_cache(maxsize=16)  # a URL is split by several checks, one after the other
def split_url(url: str) -> SplitResult:
    """Split a URL. Raises `ValueError` if its host can't be read, without the URL: it may have a password."""
    try:
        parts = urlsplit(url)
        _ = parts.hostname
    except ValueError:
        raise ValueError(
            "the URL's host can't be read; write an IPv6 address in brackets, as in [fd00::11]"
        ) from None
    return parts


def check_host(host: str) -> None:
    """Check a host that looks like an IPv4 address. Raises `ValueError` if it is not one.

    Without this check 10.20.1.256 is a host name that no server knows, and 010.20.1.11 is 8.20.1.11 to some systems.
    """
    if not re.fullmatch(r"[\d.]+", host):
        return
    numbers = host.split(".")
    if len(numbers) != 4 or not all(0 < len(number) <= 3 for number in numbers):  # noqa: PLR2004 - of an address
        raise ValueError(f"{host:.40} is not an IPv4 address; write four numbers, as in 10.20.1.11")
    if large := [number for number in numbers if int(number) > _LARGEST]:
        raise ValueError(f"{host} is not an IPv4 address: {large[0]} is larger than {_LARGEST}")
    plain = ".".join(str(int(number)) for number in numbers)
    if plain != host:
        raise ValueError(f"{host} has numbers with leading zeros, which some systems read as octal; write {plain}")


_ADDRESS = re.compile(r"/?[\w.\-]+(:\d+)?([/?][\w.\-/?&=:,]*)?")
"""An address with its port, path and options, without a user."""


def other_scheme(url: str, protocol: str, schemes: Sequence[str]) -> str:
    """Return the message for a URL whose scheme is not one of a protocol's, with the likely URL."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        scheme, rest = "", url
    article = "an" if protocol[0] in "aeiou" else "a"
    found = f"{scheme:.40}:// is not {article} {protocol} connection" if slashes else "the connection has no scheme"
    likely = _likely_scheme(scheme, schemes)
    if likely is not None and _ADDRESS.fullmatch(rest):
        return f"{found}; write {likely}://{rest}"
    return f"{found}; write one of {', '.join(f'{one}://' for one in schemes)}"


def _likely_scheme(written: str, schemes: Sequence[str]) -> str | None:
    """Return the scheme that is likely meant, None if that is not certain: `modbus-tcp` is `modbus+tcp`."""
    letters = {re.sub(r"[^a-z]", "", one): one for one in schemes}
    plain = re.sub(r"[^a-z]", "", written.lower())
    if plain in {"", "tcp", "ip"}:
        return schemes[0]
    parts = [one for one in letters if one.startswith(plain) or one.endswith(plain) or plain.startswith(one)]
    close = [plain] if plain in letters else parts or get_close_matches(plain, letters, n=1, cutoff=0.8)
    return letters[close[0]] if close else None
