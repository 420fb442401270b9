"""The nodes of Node-RED flows and the wires between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.importers.foreign import Foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.foreign import Part
    from gateway.importers.found import Import

PASSIVE = frozenset({"junction", "delay", "rbe", "link in", "link out", "debug", "complete"})
"""Types of nodes behind which a message has the same payload."""


EDITOR = frozenset({
    "id", "type", "z", "g", "x", "y", "wires", "l", "d", "info", "env", "outputs", "inputs", "showStatusActivities",
    "showErrors", "showWarnings", "showLogs", "logIOActivities", "emptyMsgOnFail", "keepMsgProperties",
    "delayOnStart", "startDelayTime", "enableDeformedMessages", "useIOForPayload", "bufferCommands", "topic",
    "stateLogEnabled", "queueLogEnabled", "failureLogEnabled", "reconnectOnTimeout", "reconnectTimeout",
    "parallelUnitIdsAllowed", "serialAsciiResponseStartDelimiter", "credentials", "inputLabels", "outputLabels",
    "icon", "verbose", "order", "label",
})  # fmt: skip
"""Keys of the editor, and those that do not change values."""


class Wired(Foreign):
    """A node's wires: for each output the nodes behind it. `links` are those of link nodes."""

    wires: list[list[str]] = Field(default=[], max_length=1000)
    links: list[str] = Field(default=[], max_length=10_000)


class Flow:
    """Nodes by their id, without disabled nodes, which are noted."""

    def __init__(self, nodes: list[Part], found: Import) -> None:
        off = {node.data["id"] for node in nodes if node.data["type"] == "tab" and node.at("disabled").data is True}
        self.nodes: dict[str, Part] = {}
        self._ahead: dict[str, list[str]] = {}
        self._behind: dict[str, list[str]] = {}
        for node in nodes:
            if node.at("d").data is True or node.at("z").text in off:
                found.note(node.where, self.title(node), "is left out: it is disabled")
            elif node.data["id"] in self.nodes:
                found.note(node.where, self.title(node), "is left out: another node has its id")
            else:
                self.nodes[node.data["id"]] = node
        for identity, node in self.nodes.items():
            for target in self._targets(node, found):
                self._ahead.setdefault(identity, []).append(target)
                self._behind.setdefault(target, []).append(identity)

    def _targets(self, node: Part, found: Import) -> list[str]:
        """Return the ids of the nodes that a node sends to."""
        given = {key: node.data[key] for key in ("wires", "links") if key in node.data}
        wired = type(node)(given, node.path).read(Wired, found, self.title(node)) if given else None
        if wired is None:
            return []
        targets = [target for output in wired.wires for target in output]
        if node.data["type"] == "link out":
            targets += wired.links
        return [target for target in dict.fromkeys(targets) if target in self.nodes]

    @staticmethod
    def title(node: Part) -> str:
        """Return the name of a node, else its type and id."""
        name = node.at("name").data or node.at("label").data
        return str(name or f"{node.data['type']} {node.data['id']}")[:100]

    def of_type(self, *types: str) -> Iterator[Part]:
        """Yield the nodes of some types."""
        return (node for node in self.nodes.values() if node.data["type"] in types)

    def after(self, node: Part) -> Iterator[Part]:
        """Yield the nodes that get the payload of a node, through nodes that do not change it."""
        return self._reached(node, self._ahead, PASSIVE)

    def before(self, node: Part, through: frozenset[str] = PASSIVE) -> Iterator[Part]:
        """Yield the nodes that send to a node, through nodes of some types."""
        return self._reached(node, self._behind, through)

    def _reached(self, node: Part, ways: dict[str, list[str]], through: frozenset[str]) -> Iterator[Part]:
        waiting, seen = [*ways.get(node.data["id"], ())], {node.data["id"]}
        while waiting:
            identity = waiting.pop(0)
            if identity in seen:
                continue
            seen.add(identity)
            yield self.nodes[identity]
            if self.nodes[identity].data["type"] in through:
                waiting += ways.get(identity, ())
