"""Samples the raw value of the server for each reading."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import Fault, NotConnected, Sampler, Scan
from drivers.opcua.browse.variable_details import decoded
from drivers.opcua.codec.values import point_reading
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.errors import REQUEST_ERRORS
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.sampling import RawValue, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Value
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup
    from drivers.opcua.subscription.session_reader import SessionReader

LONGEST = 200
"""Maximum number of characters of a raw value."""


class OpcUaSampler(OpcUaDriver, Sampler[OpcUaConnection, OpcUaSource]):
    """Reads every node, also subscribed nodes; of event points it only checks that it may subscribe."""

    def __init__(self, connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]) -> None:
        self._asked = {group: group if group.events else replace(group, pushed=False) for group in groups}
        super().__init__(connection, list(self._asked.values()), clock)

    async def _start(self, session: Session, reader: SessionReader) -> None:
        await super()._start(session, reader)
        await self._try_items(reader)

    async def _try_items(self, reader: SessionReader) -> None:
        """Create the monitored items of subscribed points, and delete them: `warnings` reports what was revised."""
        subscribed = [group for group in self._asked if group.pushed and not group.events]
        for group in subscribed:
            nodes = self._nodes[self._asked[group]]
            await reader.monitor(group, range(len(nodes)), nodes)
        await reader.drop(set(subscribed), self.groups)

    async def sample(self, group: OpcUaGroup) -> Sample:
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        nodes = self._nodes[self._asked[group]]
        sources = group.sources
        scan = Scan(group, self.clock(), [None] * len(nodes))
        scan.faults = {i: node for i, node in enumerate(nodes) if isinstance(node, Fault)}
        held = [RawValue(str(source.node)) for source in sources]
        if group.events:
            return Sample(scan, held)
        distinct = list({node: None for node in nodes if isinstance(node, ua.NodeId)})
        try:
            answer = await session.read(distinct)
        except REQUEST_ERRORS as error:
            raise session.translated(error) from error
        places = {node: place for place, node in enumerate(distinct)}
        for i, (node, source) in enumerate(zip(nodes, sources, strict=True)):
            if isinstance(node, Fault):
                continue
            place = places[node]
            value, variant = answer.values[place], answer.variants.get(place)
            found: tuple[Value | None, Fault | None] = point_reading(
                self._asked[group], i, value, answer.statuses[place], variant, self._points.structures
            )
            scan.values[i] = found[0]
            if found[1] is not None:
                scan.faults[i] = found[1]
            structures = self._points.structures
            raw = value if structures is None else decoded(structures, value)
            held[i] = RawValue(str(source.node), "" if raw is None else f"{raw!r:.{LONGEST}}")
        return Sample(scan, held)
