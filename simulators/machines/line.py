"""A line: stages of machines that work side by side, joined by buffers through which parts flow."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from simulators.machines.machine import ORDER_HOURS
from simulators.machines.parts import Buffer, Orders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulators.machines.carousel import Carousel
    from simulators.machines.machine import Machine

    AnyMachine = Machine | Carousel

PLACES = 6
"""Parts that fit between two stages, for each cavity of the machines of the stage before."""

HALF = 0.5
"""Share of a buffer that is full when the line starts."""


class Balance(NamedTuple):
    """Where a line's parts are: `started == good + rejected + inside`, at all times."""

    started: int
    good: int
    rejected: int
    inside: int


class Stage:
    """Machines of one kind, side by side, and the buffer that they take from."""

    def __init__(self, machines: Sequence[AnyMachine]) -> None:
        self.machines = machines
        self.inlet: Buffer | None = None
        self.outlet: Buffer | None = None

    def each(self) -> Iterator[Machine]:
        """Yield every machine, and every place of a carousel."""
        for machine in self.machines:
            yield from machine.machines

    @property
    def cavities(self) -> int:
        """How many parts each machine works on together."""
        return self.machines[0].model.cavities

    @property
    def takt(self) -> float:
        """Seconds from one part to the next, when nothing is in the way."""
        return self.machines[0].model.cycle / (len(list(self.each())) * self.cavities)


class Line:
    """Stages that are joined: what one makes, the next takes."""

    def __init__(self, name: str, seed: str, stages: Sequence[Stage]) -> None:
        self.name = name
        self.stages = stages
        slowest = max(stage.takt for stage in stages)
        orders = Orders(f"{seed}/{name}", ORDER_HOURS * 3600 / slowest)
        for before, after in pairwise(stages):
            made = len(before.machines) * before.cavities
            before.outlet = after.inlet = Buffer(PLACES * max(made, after.cavities))
        for stage in stages:
            for machine in stage.machines:
                machine.connect(stage.inlet, stage.outlet, orders)
        self._fill()

    def _fill(self) -> None:
        """Begin as a line that has been running: parts in every buffer, and in every machine."""
        source = self.stages[0].machines[0]
        for stage in self.stages:
            if stage.inlet is not None:
                wanted = len(list(stage.each())) * stage.cavities + int(HALF * stage.inlet.room)
                stage.inlet.parts.extend(source.start_part() for _ in range(wanted))
            for machine in stage.machines:
                machine.warm_up()

    @property
    def balance(self) -> Balance:
        """Where all parts are."""
        first, last = self.stages[0], self.stages[-1]
        buffers = [stage.inlet for stage in self.stages if stage.inlet is not None]
        return Balance(
            started=sum(machine.started for machine in first.each()),
            good=sum(machine.good for machine in last.each()),
            rejected=sum(machine.rejects for stage in self.stages for machine in stage.each()),
            inside=sum(len(buffer.parts) for buffer in buffers)
            + sum(machine.inside for stage in self.stages for machine in stage.each()),
        )


def joined(machines: Sequence[AnyMachine]) -> list[list[Stage]]:
    """Return the lines that machines form in the order given, as stages.

    Machines of one kind that follow each other are a stage; the next stage is joined to it where it takes what this
    one makes. A part's number names the machine that started it, so a line may hold several of these.
    """
    stages = [Stage(list(group)) for _, group in groupby(machines, key=_kind)]
    lines: list[list[Stage]] = []
    for stage in stages:
        kind = _kind(stage.machines[0])
        before = _kind(lines[-1][-1].machines[0]) if lines else None
        if before is not None and kind.takes and before.makes == kind.takes:
            lines[-1].append(stage)
        else:
            lines.append([stage])
    return lines


def _kind(machine: AnyMachine) -> type[Machine]:
    return machine.model
