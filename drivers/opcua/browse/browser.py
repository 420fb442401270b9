"""Walks the tree of objects and variables of a server. It only reads.

The browser reads the tree level by level, many nodes in a request. It visits a node once, however many paths lead to
it, because an address space may have loops. It skips nodes without process values: the server's own diagnostics, the
states and transitions of state machines, and the nodes below alarms, which events report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.browse.companion_names import Qualified
from drivers.opcua.browse.node_metadata import telling
from drivers.opcua.browse.nodes import BrowsedNode
from drivers.opcua.browse.references import HIERARCHICAL, PARTS, References, local, references
from drivers.opcua.browse.type_hierarchy import TypeHierarchy
from drivers.opcua.codec.values import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.opcua.connection.session import Session

_ALARM = Qualified("", "ConditionType")
_CLASSES = int(ua.NodeClass.Object) | int(ua.NodeClass.Variable)

_SILENT = {Qualified("", name) for name in ("StateType", "TransitionType", "HistoricalDataConfigurationType")}
"""Types of parts of state machines (Part 16, 4.4) and of history configurations. The state itself is a variable."""


class Browser:
    """Explores one server. `depth` limits the levels below the start, `most` the nodes; `cut` means there are more.

    `report` is called with the number of nodes found so far. Raises `REQUEST_ERRORS`.
    """

    def __init__(
        self, session: Session, depth: int, most: int, report: Callable[[int], None] = lambda _: None
    ) -> None:
        """Create a browser without a request."""
        self.cut = False
        self.count = 0
        self._full = False
        self._session = session
        self._depth = depth
        self._most = most
        self._report = report
        self._kinds = TypeHierarchy(session)
        self._seen: set[ua.NodeId] = set()

    async def walk(self, start: BrowsedNode) -> int:
        """Add the nodes below a node; return their number."""
        await self._place(start)
        level, last = [start], False
        for depth in range(self._depth + 1):
            last = depth == self._depth or self._full
            # the properties of variables are read in any case: they describe the value
            asked = [one for one in level if one.variable] if last else level
            answers = await references(
                self._session, [one.id for one in asked], PARTS if last else HIERARCHICAL, _CLASSES
            )
            for one in level if last else ():
                one.note = "" if one.variable else "more may be below: --max" if self._full else "deeper than --depth"
            level = await self._take(asked, answers, last=last)
            self._report(self.count)
            if last or not level:
                break
        return self.count

    async def _place(self, start: BrowsedNode) -> None:
        """Read the types of the start and of the nodes above it, which define the names below them."""
        chain = [*start.way, start.top]
        self._seen = {one.id for one in chain}
        answers = await references(self._session, [one.id for one in chain], ua.ObjectIds.HasTypeDefinition)
        kinds = [answer.found[0].NodeId if answer.found else None for answer in answers]
        await self._kinds.learn([kind for kind in kinds if kind is not None])
        for one, kind in zip(chain, kinds, strict=True):
            one.kinds = self._kinds.of(kind) if kind is not None else ()

    async def _take(
        self, asked: Sequence[BrowsedNode], answers: Sequence[References], *, last: bool
    ) -> list[BrowsedNode]:
        """Add found nodes below their parents; return the nodes of the next level."""
        await self._kinds.learn([one.TypeDefinition for answer in answers for one in answer.found])
        level = []
        for above, answer in zip(asked, answers, strict=True):
            if (fault := fault_of(answer.status)) is not None:
                above.note = fault.code
            self.cut = self.cut or not answer.whole
            for reference in answer.found:
                node = local(self._session, reference.NodeId)
                if node is None or node in self._seen:
                    continue
                name = telling(reference.BrowseName)
                if above.variable and name:
                    above.telling[name] = node
                elif not last and (found := self._found(reference, node, above)) is not None:
                    level.append(found)
        return [one for one in level if not one.note]

    def _found(self, reference: ua.ReferenceDescription, node: ua.NodeId, above: BrowsedNode) -> BrowsedNode | None:
        """Add a node below its parent; return None if it is not shown or exceeds the limit."""
        kinds = self._kinds.of(reference.TypeDefinition)
        if not _SILENT.isdisjoint(kinds):
            return None
        if self.count >= self._most:
            self.cut = self._full = True
            return None
        self.count += 1
        self._seen.add(node)
        found = _found(reference, node, above, kinds)
        above.below.append(found)
        return found


def _found(
    reference: ua.ReferenceDescription, node: ua.NodeId, above: BrowsedNode, kinds: tuple[Qualified, ...]
) -> BrowsedNode:
    found = BrowsedNode(
        node,
        reference.BrowseName,
        above,
        display=reference.DisplayName.Text or "",
        variable=reference.NodeClass == ua.NodeClass.Variable,
        is_property=any(kind == Qualified("", "PropertyType") for kind in kinds),
        kinds=kinds,
    )
    if above.is_objects and node.NamespaceIndex == 0 and not found.variable:
        found.note = "the server's own: --under"
    elif _ALARM in kinds:
        found.note = "an alarm, reported by events"
    return found
