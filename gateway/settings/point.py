"""A point: what it means, when it is worth sending, and where its driver finds it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from drivers.base import Source, ValueType
from gateway.settings.types import Duration, Section

_LARGEST = 1e100
"""The largest scale or offset, and 1 / the smallest: what is scaled so always fits a float."""


def _labels(written: object) -> object:
    """Let the numbers that labels belong to be keys; YAML's keys arrive as text."""
    if isinstance(written, dict):
        wrong = [key for key in written if not re.fullmatch(r"-?\d+", str(key))]
        if wrong:
            raise ValueError(
                f"a label belongs to a whole number, not to {wrong[0]!r}; write {{0: stopped, 1: running}}"
            )
        return {int(key): value for key, value in written.items()}
    return written


def _pair(written: object) -> object:
    if isinstance(written, list) and len(written) == 2:  # noqa: PLR2004 - a lowest and a highest
        return tuple(written)
    if written is not None and not isinstance(written, tuple):
        raise ValueError(f"{written!r} is no range; write [lowest, highest]")
    return written


class Deadband(Section):
    """The change below which a value is not worth sending: in the point's unit, or in percent of its range."""

    size: float
    percent: bool = False


def _deadband(written: object) -> object:
    """Turn `0.5` or `2%` into a `Deadband`."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        size, percent = float(written), False
    elif isinstance(written, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", written)):
        size, percent = float(match[1]), True
    else:
        raise ValueError(f"{written!r} is no deadband; write a number in the point's unit, or percent of its range")
    if size <= 0:
        raise ValueError("a deadband is greater than 0; use on_change: true to send every change")
    return {"size": size, "percent": percent}


class Point(Section):
    """One measured quantity of one machine.

    `type`            the declared type; follows from the source where it can
    `unit`            UCUM code (`Cel`, `bar`, `r/min`); empty for what has none
    `scale`, `offset` value = raw x scale + offset
    `labels`          what the numbers of a state mean; with `type: string` the label is the value
    `range`           the values that can be; one outside is uncertain
    `every`           seconds from one reading to the next
    `on_change`, `deadband`  send only what has changed (by as much); else every reading is sent
    `at_least_every`  seconds after which an unchanged value is sent all the same
    """

    name: str
    source: SerializeAsAny[Source]
    type: Annotated[ValueType, Field(strict=False)]
    unit: str = ""
    description: str = ""
    scale: float = 1.0
    offset: float = 0.0
    labels: Annotated[dict[int, str], BeforeValidator(_labels)] = {}
    range: Annotated[tuple[float, float] | None, BeforeValidator(_pair)] = None
    every: Duration = 1.0
    on_change: bool = False
    deadband: Annotated[Deadband | None, BeforeValidator(_deadband)] = None
    at_least_every: Duration = 60.0

    @model_validator(mode="before")
    @classmethod
    def _type_follows(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        """Let the type follow from the source where it is not written."""
        if isinstance(data, dict) and "type" not in data and isinstance(data.get("source"), Source):
            natural = data["source"].value_type
            if natural is None:
                raise ValueError("type is missing; write bool, int, float or string")
            if natural is ValueType.INT and not (_whole(data.get("scale", 1)) and _whole(data.get("offset", 0))):
                natural = ValueType.FLOAT
            return data | {"type": natural}
        return data

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        numeric = self.type in {ValueType.INT, ValueType.FLOAT}
        if not numeric and (self.scale != 1 or self.offset != 0 or self.range or self.deadband):
            raise ValueError(f"scale, offset, range and deadband are for numbers, and this point is a {self.type}")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value the same")
        if not 1 / _LARGEST <= abs(self.scale) <= _LARGEST or abs(self.offset) > _LARGEST:
            raise ValueError("with this scale or offset values are no numbers any more")
        if self.type is ValueType.INT and not (_whole(self.scale) and _whole(self.offset)):
            raise ValueError("with this scale or offset the value is no whole number; write type: float")
        natural = self.source.value_type
        if self.labels and (
            self.type not in {ValueType.INT, ValueType.STRING} or natural not in {None, ValueType.INT}
        ):
            raise ValueError(f"labels are for whole numbers, and this point is a {natural or self.type}")
        if natural and not self.labels and (natural is ValueType.STRING) != (self.type is ValueType.STRING):
            raise ValueError(f"the device holds type {natural} here, which can't become {self.type}")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"the range {list(self.range)} is empty; write [lowest, highest]")
        if self.deadband is not None and self.deadband.percent and self.range is None:
            raise ValueError("a deadband in percent needs a range to be a percentage of")
        return self

    @property
    def dead(self) -> float:
        """The deadband in the point's unit, 0 where there is none."""
        if self.deadband is None:
            return 0.0
        if self.deadband.percent and self.range is not None:
            return (self.range[1] - self.range[0]) * self.deadband.size / 100
        return self.deadband.size


def _whole(number: object) -> bool:
    return isinstance(number, int | float) and float(number).is_integer()
