"""The configuration that a trial uses: the simulated machines', with the trial's own broker, spool and store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.settings.document import read_document
from gateway.settings.serialize import dump, unrolled
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.settings.factory import Factory, Machine

Change = Callable[[dict[str, Any]], None]
"""Changes a configuration, as data, in place."""


def only(factory: Factory, machines: Iterable[Machine]) -> str:
    """Return a factory's YAML with some of its machines alone, to stand anywhere."""
    return dump(unrolled(factory, machines, movable=True))


def tried(file: Path, folder: Path, store: Path, port: int, change: Change | None = None) -> str:
    """Return the YAML of `file` with nothing in it that is elsewhere; `port` is the broker's.

    What belongs to the box on which the gateway will run, as who keeps its clock right, is not tried here.
    """
    data = read_document(file).data
    root = {"root": data["broker"]["root"]} if "root" in data["broker"] else {}
    data["broker"] = {"url": f"mqtt://{LOOPBACK}:{port}", "version": "3.1.1"} | root
    kept = {key: value for key, value in data["gateway"].items() if key not in {"clock", "confirm"}}
    data["gateway"] = kept | {"spool": {"folder": str(folder / "spool"), "max_size": "1GiB"}}
    data["ingest"] = {"folder": str(folder)}
    data["stores"] = [{"sqlite": {"path": str(store)}}]
    if change is not None:
        change(data)
    return dump(data)
