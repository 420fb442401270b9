"""The configuration of a trial: the simulated machines, with a broker, a spool and a store of the trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.settings.document import read_document
from gateway.settings.serialize import dump, dump_factory, unrolled
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.settings.factory import Factory, Machine

Change = Callable[[dict[str, Any]], None]
"""Changes a configuration, as data, in place."""


def only(factory: Factory, machines: Iterable[Machine]) -> str:
    """Return a factory's YAML with only some of its machines, valid in any folder."""
    return dump_factory(unrolled(factory, machines))


def tried(file: Path, folder: Path, store: Path, port: int, change: Change | None = None) -> str:
    """Return the YAML of `file`, which has no variables, without anything outside of the trial.

    `port` is the broker's port. Settings of the edge box, such as the synchronisation of its clock and the address of
    its metrics, are left out, and so is notification: nobody is to be woken by a simulated alarm.
    """
    data = read_document(file).data
    root = {"root": data["broker"]["root"]} if "root" in data["broker"] else {}
    data["broker"] = {"url": f"mqtt://{LOOPBACK}:{port}", "version": "3.1.1"} | root
    left_out = {"clock", "confirm", "metrics", "notify"}
    kept = {key: value for key, value in data["gateway"].items() if key not in left_out}
    data["gateway"] = kept | {"spool": {"folder": str(folder / "spool"), "max_size": "1GiB"}}
    data["ingest"] = {"folder": str(folder)}
    data["stores"] = [{"sqlite": {"path": str(store)}}]
    if change is not None:
        change(data)
    return dump(data)
