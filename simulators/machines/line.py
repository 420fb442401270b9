"""A line: stages of parallel machines, connected by buffers."""

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

BUFFER_ROOM = 6
"""Room of a buffer, in parts for each cavity of the stage before it."""

INITIAL_FILL = 0.5
"""Share of a buffer that is full when the line starts."""


class Balance(NamedTuple):
    """The parts of a line: `started == good + rejected + inside` at all times."""

    started: int
    good: int
    rejected: int
    inside: int


class Stage:
    """Parallel machines of one model, and their buffers."""

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
        """Parts that each machine processes together."""
        return self.machines[0].model.cavities

    @property
    def takt(self) -> float:
        """Seconds from one part to the next without stops."""
        return self.machines[0].model.cycle / (len(list(self.each())) * self.cavities)


class Line:
    """Connected stages: each stage takes the kind of part that the stage before makes."""

    def __init__(self, name: str, seed: str, stages: Sequence[Stage]) -> None:
        self.name = name
        self.stages = stages
        slowest = max(stage.takt for stage in stages)
        orders = Orders(f"{seed}/{name}", ORDER_HOURS * 3600 / slowest)
        for before, after in pairwise(stages):
            made = len(before.machines) * before.cavities
            before.outlet = after.inlet = Buffer(BUFFER_ROOM * max(made, after.cavities))
        for stage in stages:
            for machine in stage.machines:
                machine.connect(stage.inlet, stage.outlet, orders)
        self._fill()

    def _fill(self) -> None:
        """Fill buffers and machines, like a line that has been running."""
        source = self.stages[0].machines[0]
        for stage in self.stages:
            if stage.inlet is not None:
                wanted = len(list(stage.each())) * stage.cavities + int(INITIAL_FILL * stage.inlet.room)
                stage.inlet.parts.extend(source.start_part() for _ in range(wanted))
            for machine in stage.machines:
                machine.warm_up()

    @property
    def balance(self) -> Balance:
        """The present balance of parts."""
        first, last = self.stages[0], self.stages[-1]
        buffers = [stage.inlet for stage in self.stages if stage.inlet is not None]
        return Balance(
            started=sum(machine.started for machine in first.each()),
            good=sum(machine.good for machine in last.each()),
            rejected=sum(machine.rejects for stage in self.stages for machine in stage.each()),
            inside=sum(len(buffer.parts) for buffer in buffers)
            + sum(machine.inside for stage in self.stages for machine in stage.each()),
        )


def form_lines(machines: Sequence[AnyMachine]) -> list[list[Stage]]:
    """Return the lines, as lists of stages, that machines form in this order.

    Consecutive machines of one model are a stage. The next stage joins its line if it takes the kind of part that
    this stage makes. A serial number names the machine where its part started, so a line may start with several
    machines.
    """
    stages = [Stage(list(group)) for _, group in groupby(machines, key=_model)]
    lines: list[list[Stage]] = []
    for stage in stages:
        model = _model(stage.machines[0])
        before = _model(lines[-1][-1].machines[0]) if lines else None
        if before is not None and model.takes and before.makes == model.takes:
            lines[-1].append(stage)
        else:
            lines.append([stage])
    return lines


def _model(machine: AnyMachine) -> type[Machine]:
    return machine.model
