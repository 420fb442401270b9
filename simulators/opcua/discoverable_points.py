"""Points that a search finds: only a real machine knows them, so a simulated machine shows examples."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, cast

from drivers.opcua.browse.point_names import snake
from drivers.opcua.node_address import BrowsePath, Step, parse_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.opcua.node_address import Node
    from drivers.opcua.settings import OpcUaSource
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point

EXAMPLES = 3
"""Variables below a node that is searched."""


def with_examples(factory: Factory) -> Factory:
    """Return a factory with example points for each search. Machines that share their points still do."""
    shared: dict[tuple[int, int], tuple[Point, ...]] = {}

    def with_points(machine: Machine) -> Machine:
        if not machine.searches:
            return machine
        key = id(machine.points), id(machine.searches)
        if key not in shared:
            found = chain.from_iterable(map(examples, machine.searches))
            shared[key] = tuple({point.name: point for point in (*found, *machine.points)}.values())
        return replace(machine, points=shared[key])

    return replace(factory, machines=tuple(map(with_points, factory.machines)))


def examples(search: Point) -> Iterator[Point]:
    """Yield example points of a search, named as the search names them: its pattern with numbers filled in."""
    source = cast("OpcUaSource", search.source)
    for number in range(1, EXAMPLES + 1):
        way = [_filled(part, number) for part in (source.match or "*").split("/")]
        name = "_".join(filter(None, map(snake, way)))
        below = source.model_copy(update={"node": _below(source.node, way), "match": None})
        yield search.model_copy(update={"name": f"{search.name}_{name}", "source": below})


def _filled(part: str, number: int) -> str:
    """Return a name that matches a part of a pattern."""
    plain = part.replace("*", str(number)).replace("?", str(number))
    return f"Part{plain}" if plain.isdigit() else plain


def _below(node: Node | BrowsePath, way: list[str]) -> Node | BrowsePath:
    if isinstance(node, BrowsePath):
        return BrowsePath((*node.steps, *(Step(node.steps[-1].namespace, name) for name in way)))
    return cast("Node", parse_node(".".join((str(node), *way))))
