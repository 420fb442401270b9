"""Drivers: one folder and one line in `DRIVERS` per protocol.

A driver in another package has an entry point in the group `lineside.drivers`, in the format of the table; see
docs/drivers.md.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from drivers.base import AnyProtocol, Connection

DRIVERS: dict[str, str] = {
    "modbus": "drivers.modbus:PROTOCOL",
    "opcua": "drivers.opcua:PROTOCOL",
}
"""Protocol name -> module and attribute, as text, so that a gateway loads only the protocols that it uses."""


class UnusableDriver(ValueError):
    """The driver of another package can't be loaded, or is written against another version of the contract."""


def known() -> dict[str, str]:
    """Return the table with the drivers of other packages added; names in `DRIVERS` take precedence."""
    return _installed() | DRIVERS


@cache
def _installed() -> dict[str, str]:
    """Return the drivers of other packages. Once: a search reads the metadata of every installed package."""
    return {entry.name: entry.value for entry in entry_points(group="lineside.drivers")}


@cache
def protocol(name: str) -> AnyProtocol:
    """Load a protocol by its name, and silence its library's loggers, unless the root logger has debug or info.

    Raises `KeyError` for an unknown name, and `UnusableDriver` if a driver of another package can't be used.
    """
    where = known()[name]
    module, _, attribute = where.partition(":")
    if name in DRIVERS:
        found: AnyProtocol = getattr(import_module(module), attribute)
    else:
        found = _foreign(name, where)
    if not logging.getLogger().isEnabledFor(logging.INFO):
        for logger in found.loggers:
            logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
    return found


def _foreign(name: str, where: str) -> AnyProtocol:
    from drivers.base import CONTRACT, Protocol  # noqa: PLC0415 - base imports pydantic, which `known` does not need

    module, _, attribute = where.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:
        raise UnusableDriver(f"{where} can't be loaded: {error!r}") from error
    if not isinstance(found, Protocol):
        raise UnusableDriver(f"{where} is a {type(found).__name__}, not a drivers.base.Protocol")
    if found.contract != CONTRACT:
        raise UnusableDriver(
            f"{where} is written against version {found.contract} of the driver contract, "
            f"and this is version {CONTRACT}; install a version of it that fits"
        )
    if found.name != name:
        raise UnusableDriver(f"{where} calls itself {found.name}; both names must be the same")
    return found


def usable() -> list[AnyProtocol]:
    """Load all protocols, without unusable drivers of other packages."""
    found = []
    for name in known():
        try:
            found.append(protocol(name))
        except UnusableDriver:
            continue
    return found


def parse_connection(kind: AnyProtocol, written: str | Mapping[str, object]) -> Connection:
    """Return the settings of a written connection: a URL, or a mapping of `url` and options.

    Raises `ValueError` if the URL or an option is wrong.
    """
    options = dict(written) if isinstance(written, Mapping) else {"url": written}
    url = options.pop("url", None)
    if not isinstance(url, str):
        raise ValueError("a connection needs a url")  # noqa: TRY004 - a value that a user wrote
    schemes = kind.connection.schemes
    from drivers.url import other_scheme, split_url  # noqa: PLC0415 - for `known` alone it is not needed

    parts = split_url(url)
    if parts.scheme not in schemes:
        other = next((one for one in usable() if parts.scheme in one.connection.schemes), None)
        if other is not None:
            raise ValueError(
                f"{parts.scheme}:// is for templates of protocol {other.name}, and this template is of protocol "
                f"{kind.name}; write another template, or one of {', '.join(f'{one}://' for one in schemes)}"
            )
        raise ValueError(other_scheme(url, kind.name, schemes))
    query = parse_qsl(parts.query, keep_blank_values=True)
    times = Counter([*options, *(key for key, _ in query)])
    if twice := [key for key, n in times.items() if n > 1]:
        raise ValueError(f"written twice: {', '.join(twice)}")
    found: Connection = kind.connection.from_url(url, options | dict(query))
    return found
