"""Names of points, and addresses of nodes, for a template of an explored server. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from drivers.opcua.node_address import BrowsePath, Node, Step, parse_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.browse.nodes import BrowsedNode

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPELLED = str.maketrans({"ß": "ss", "Æ": "AE", "æ": "ae", "Ø": "O", "ø": "o", "ł": "l", "Ł": "L", "µ": "u"})

Wanted = tuple[str | None, "Sequence[str]", int | None]
"""The preferred name of a point, the words to make a name of (the last first), and the length of an array."""


def snake(name: str) -> str:
    """Return a name in the style of points: `JobGoodParts` and `Job.good-parts` become `job_good_parts`.

    A name without Latin letters becomes empty.
    """
    plain = unicodedata.normalize("NFKD", name.translate(_SPELLED)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9]+", "_", _BOUNDARY.sub("_", plain))
    return words.strip("_").lower()


def unique(wanted: Sequence[Wanted]) -> list[str]:
    """Return a unique name for each point, with as many words before the last word as necessary.

    A known name stays as it is if only one point has it.
    """
    words = [
        [word for word in (*above[:-1], name or "".join(above[-1:])) if word] or ["point"]
        for name, above, _ in wanted
    ]
    taken = [1] * len(wanted)
    names = [one[-1] for one in words]
    for _ in range(max((len(one) for one in words), default=0)):
        times = Counter(names)
        known = Counter(name for name, (own, _, _) in zip(names, wanted, strict=True) if own == name)
        longer = [
            place
            for place, name in enumerate(names)
            if times[name] > 1
            and not (known[name] == 1 and wanted[place][0] == name)
            and taken[place] < len(words[place])
        ]
        if not longer:
            break
        for place in longer:
            taken[place] += 1
            names[place] = "_".join(words[place][-taken[place] :])
    return _numbered(names, [count for _, _, count in wanted])


def _numbered(names: list[str], counts: Sequence[int | None]) -> list[str]:
    """Add numbers to names that are still equal to each other or to an element of an array."""
    used: set[str] = set()
    found = []
    for name, count in zip(names, counts, strict=True):
        tried, number = name, 1
        while not used.isdisjoint(points := _points(tried, count)):
            number += 1
            tried = f"{name}_{number}"
        used |= points
        found.append(tried)
    return found


def _points(name: str, count: int | None) -> set[str]:
    return {name} if count is None else {name, *(f"{name}_{i}" for i in range(count))}


def own_namespace(nodes: Sequence[BrowsedNode], uris: Sequence[str]) -> str | None:
    """Return the most frequent namespace of nodes except the standard's, or None."""
    indexes = Counter(one.id.NamespaceIndex for one in nodes if 0 < one.id.NamespaceIndex < len(uris))
    return uris[indexes.most_common(1)[0][0]] if indexes else None


class Addresses:
    """Writes addresses of nodes. `own` is the namespace that the connection names, which need not be repeated."""

    def __init__(
        self, nodes: Sequence[BrowsedNode], uris: Sequence[str], own: str | None, *, by_path: bool | None
    ) -> None:
        """Create the addresses of `nodes`, which are all found nodes.

        `by_path` is True for browse paths, False for node ids. None selects the more permanent address: the node id
        if its identifier is text, else the path, because many servers assign numbers at each start. A path that leads
        to two nodes is not used.
        """
        self._uris = uris
        self._own = own
        self._by_path = by_path
        self._times = Counter(self._path(one) for one in nodes)

    def of(self, node: BrowsedNode) -> Node | BrowsePath | None:
        """Return the address of a node, None if it has no usable address."""
        text = isinstance(node.id.Identifier, str)
        wants_path = not text if self._by_path is None else self._by_path
        path = self._path(node)
        if path is not None and self._times[path] > 1:
            path = None
        plain = Node(self._namespace(node.id.NamespaceIndex), _identifier(node))
        ways = (path, plain) if wants_path else (plain, path)
        return next((way for way in ways if way is not None and _lasts(way)), None)

    def _namespace(self, index: int) -> str | int | None:
        uri = self._uris[index] if 0 < index < len(self._uris) else None
        if uri is None or set(uri) & set(";{}"):
            return index
        return None if uri == self._own else uri

    def _path(self, node: BrowsedNode) -> BrowsePath | None:
        if not node.top.is_objects or node.above is None:
            return None
        steps = [Step(self._namespace(one.name.NamespaceIndex), one.name.Name or "") for one in node.way]
        return BrowsePath(tuple(steps))


def _identifier(node: BrowsedNode) -> str:
    """Return an identifier as in `s=Drum.Speed` (Part 6, 5.3.1.10)."""
    return str(node.id.to_string()).partition(";")[2] if node.id.NamespaceIndex else str(node.id.to_string())


def _lasts(way: Node | BrowsePath) -> bool:
    """Return True if parsing the written address returns it again; line breaks and empty names prevent that."""
    try:
        return parse_node(str(way)) == way
    except ValueError:
        return False
