"""The standard address space of OPC UA servers (OPC 10000-5), created once.

asyncua creates its 6,000 nodes for each server: more than a second of a processor, and 50 MB. This module creates
them once, and a server copies those that it is asked for. They are cached in a file beside the byte code of this
module; `python -m simulators.opcua.standard_nodes` writes it beforehand.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
import zlib
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from asyncua import Server, ua
from asyncua.server.address_space import AddressSpace, NodeData, NodeManagementService
from asyncua.server.internal_server import InternalServer
from asyncua.server.standard_address_space.standard_address_space import fill_address_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncua.server.user_managers import UserManager

    Standard = Mapping[Any, bytes | NodeData]
    """Nodes by the number in their id: pickled, or as objects."""

_LOADING = threading.Lock()


def new_server(user_manager: UserManager | None = None) -> Server:
    """Return a server of asyncua's whose `init` does not create the standard nodes."""
    return Server(iserver=_Internal(user_manager))


class _Internal(InternalServer):
    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        del shelf_file
        self.aspace._nodes = _Nodes(await asyncio.to_thread(_standard))  # noqa: SLF001 - as asyncua does with its shelf


class _Nodes(dict[ua.NodeId, NodeData]):
    """The nodes of one server. Iteration lists only those standard nodes that were asked for."""

    def __init__(self, standard: Standard) -> None:
        super().__init__()
        self._standard = standard
        self._deleted: set[ua.NodeId] = set()

    def __missing__(self, node: ua.NodeId) -> NodeData:
        standard = isinstance(node, ua.NodeId) and node.NamespaceIndex == 0 and node not in self._deleted
        kept = self._standard.get(node.Identifier) if standard else None
        if kept is None:
            raise KeyError(node)
        packed = kept if isinstance(kept, bytes) else pickle.dumps(kept)
        found: NodeData = pickle.loads(packed)  # noqa: S301 - what we have made ourselves
        self[node] = found
        return found

    def get(self, node: ua.NodeId, default: NodeData | None = None) -> NodeData | None:  # type: ignore[override]
        try:
            return self[node]
        except KeyError:
            return default

    def __contains__(self, node: object) -> bool:
        return self.get(cast("ua.NodeId", node)) is not None

    def __delitem__(self, node: ua.NodeId) -> None:
        self[node]  # loads a standard node that was never asked for
        super().__delitem__(node)
        self._deleted.add(node)


def _standard() -> Standard:
    """Return the nodes of namespace 0: from the cache file, or created."""
    with _LOADING:
        return standard_nodes()


@cache
def standard_nodes() -> Standard:
    """Return the nodes, loaded or created once in this process; callers in threads hold `_LOADING`."""
    file = cache_file()
    if file is None:
        return create_nodes()
    with suppress(OSError, zlib.error):  # the file is missing or damaged
        cached: Standard = pickle.loads(zlib.decompress(file.read_bytes()))  # noqa: S301 - trusted as the byte code is
        return cached
    created = create_nodes()
    if not sys.dont_write_bytecode:
        with suppress(OSError):  # a read-only folder
            _save(created, file)
    return created


def create_nodes() -> Standard:
    """Create the nodes as asyncua does: more than a second of a processor."""
    space = AddressSpace()
    fill_address_space(NodeManagementService(space))
    return {data.nodeid.Identifier: data for data in space._nodes.values()}  # noqa: SLF001 - see above


def _save(nodes: Standard, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    half = file.with_name(f"{file.name}.{os.getpid()}")
    packed = {number: pickle.dumps(data) for number, data in nodes.items()}
    half.write_bytes(zlib.compress(pickle.dumps(packed)))
    half.replace(file)


def cache_file() -> Path | None:
    """Return the cache file for this Python and this asyncua; None if Python keeps no byte code."""
    try:
        code = Path(cache_from_source(__file__))
    except NotImplementedError:
        return None
    return code.with_name(f"{code.stem}.asyncua-{version('asyncua')}")


if __name__ == "__main__":
    _save(create_nodes(), cast("Path", cache_file()))
