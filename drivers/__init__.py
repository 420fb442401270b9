"""How machines are read.

One folder a protocol, one line in `DRIVERS`. A driver of somebody else's is found by the entry point
group `lineside.drivers`, whose entries look like the lines of the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from drivers.base import Connection, Protocol

DRIVERS: dict[str, str] = {
    "modbus": "drivers.modbus:PROTOCOL",
    "opcua": "drivers.opcua:PROTOCOL",
}
"""Protocol name -> where it is. Text, so that a gateway loads only the protocols that it uses."""


def known() -> dict[str, str]:
    """Return the table with others' drivers added; our own names win."""
    others = {entry.name: entry.value for entry in entry_points(group="lineside.drivers")}
    return others | DRIVERS


@cache
def protocol(name: str) -> Protocol:
    """Load a protocol by its name. Raises `KeyError` for an unknown one."""
    module, _, attribute = known()[name].partition(":")
    found: Protocol = getattr(import_module(module), attribute)
    return found


def parse_connection(kind: Protocol, written: str | Mapping[str, object]) -> Connection:
    """Turn a connection as written (a URL, or a mapping of `url` and options) into settings.

    Raises `ValueError` where the URL or an option is wrong.
    """
    options = dict(written) if isinstance(written, Mapping) else {"url": written}
    url = options.pop("url", None)
    if not isinstance(url, str):
        raise ValueError("a connection needs a url")  # noqa: TRY004 - what a user wrote, not what code passed
    schemes = kind.connection.schemes
    if urlsplit(url).scheme not in schemes:
        raise ValueError(
            f"{urlsplit(url).scheme or 'this'} is no {kind.name} connection; "
            f"write one of {', '.join(f'{scheme}://' for scheme in schemes)}"
        )
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    times = Counter([*options, *(key for key, _ in query)])
    if twice := [key for key, n in times.items() if n > 1]:
        raise ValueError(f"written twice: {', '.join(twice)}")
    return kind.connection.from_url(url, options | dict(query))
