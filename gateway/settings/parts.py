"""The history of parts: the section `part` as written, and checked with the points of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from drivers.base import ValueType
from gateway.common.setting_types import Name, Section, Text, parse_duration
from gateway.settings.derivation import can_be_input, input_of, why_not
from gateway.settings.expressions.check import check, points_of
from gateway.settings.expressions.syntax import Name as PointName
from gateway.settings.expressions.syntax import WrongExpression, parse
from gateway.settings.factory import Place
from gateway.settings.operation import CONTENT, PART, Captured, Counters, Expression, Function, Operation
from gateway.settings.point_builder import ENABLED, Written, filled, is_on
from gateway.settings.problems import unknown
from gateway.settings.results import result_point
from gateway.settings.validation import usable, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.settings.document import Document, Step
    from gateway.settings.expressions.program import Table
    from gateway.settings.line_sections import Keys
    from gateway.settings.parameters import Scalar
    from gateway.settings.point import Point

MOST_PLACES, MOST_VALUES, MOST_MATERIALS, MOST_CURVES = 100, 100, 50, 20
"""Places of a machine, and what is captured of a part."""

FACTS = ("lot", "tool", "recipe", "operator")
"""Texts about a part, by their keys."""

PLACE = "place"

_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT})


def _value(written: object) -> object:
    return {Function.LAST.value: written} if isinstance(written, str) else written


def _values(written: object) -> object:
    if isinstance(written, list) and all(isinstance(name, str) for name in written):
        return {name: name for name in written}
    return written


def _result(written: object) -> object:
    return {"of": written} if isinstance(written, str) else written


def _time(written: object) -> object:
    is_zero = isinstance(written, int | float | str) and not isinstance(written, bool) and written in {0, "0", "0s"}
    return 0.0 if is_zero else parse_duration(written)


Time = Annotated[float, BeforeValidator(_time), Field(ge=0)]
"""A length of time in seconds, which may be 0."""


class ValueKeys(Section):
    """A captured value as written: one function of an expression."""

    last: str | None = None
    """The value at the end; a text in place of these keys means this, as in `dump_temperature`."""
    first: str | None = None
    """The first value, as in `sheet_temperature`."""
    min: str | None = None
    """The lowest reading, as in `circuit_pressure`."""
    max: str | None = None
    """The highest reading, as in `bladder_pressure`."""
    mean: str | None = None
    """The mean of the readings, as in `mould_temperature`."""
    result: str | None = None
    """The value when `results_of` names the part, as in `radial_force_variation`."""
    during: str | None = None
    """A condition; only readings while it is true count, as in `'phase == "nitrogen"'`."""

    @model_validator(mode="after")
    def _is_one_function(self) -> Self:
        functions = [one for one in Function if getattr(self, one) is not None]
        if len(functions) != 1:
            raise ValueError(f"write one of {', '.join(Function)}, as in {{max: pressure}}")
        if self.during is not None and functions[0] is Function.RESULT:
            raise ValueError("a result has no phase; leave during out")
        return self


Values = Annotated[
    dict[Name, Annotated[ValueKeys, BeforeValidator(_value)]],
    BeforeValidator(_values),
    Field(max_length=MOST_VALUES),
]
"""Captured values by their names; a list of points stands for their values at the end."""


class ResultKeys(Section):
    """The result of a part as written: an expression, or two counters."""

    of: str | None = None
    """The result; a text in place of these keys means this, as in `result_left`."""
    good: str | None = None
    """The counter of good parts, as in `good_count`."""
    rejected: str | None = None
    """The counter of rejected parts, as in `reject_count`."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.of is None) == (self.good is None) or (self.good is None) != (self.rejected is None):
            raise ValueError("write a point, or the counters {good: good_count, rejected: reject_count}")
        return self


def _names(written: object) -> object:
    return tuple(written) if isinstance(written, list) else written


Curves = Annotated[tuple[str, ...], BeforeValidator(_names), Field(max_length=MOST_CURVES)]
"""Names of points."""


class PartKeys(Section):
    """The work on parts at one place as written. Expressions are those of derived points, without a state."""

    place: Name = ""
    """The name of the place, where a machine works on several parts at once, as in `left`."""
    serial: str
    """The serial number: a point, or an expression, as in `serial_number`."""
    operation: Text = ""
    """The name of the work; without it that of the template, as in `curing`."""
    begin: str | None = None
    """The condition that becomes true when work begins; without it a new serial number begins it, as in `'phase ==
    "load"'`.
    """
    end: str | None = None
    """The condition that becomes true when the work ends; without it the next serial number ends it, as in `'phase ==
    "unload"'`.
    """
    finished: bool = False
    """Whether the serial number is that of the part that was finished last, as of a carousel, as in `true`."""
    result: Annotated[ResultKeys | None, BeforeValidator(_result)] = None
    """The result of the part: an expression, or two counters, as in `{good: good_count, rejected: reject_count}`."""
    results_of: str | None = None
    """The serial number of the part that the results belong to, as in `result_serial_number`."""
    values: Annotated[
        dict[Name, Annotated[ValueKeys, BeforeValidator(_value)]],
        BeforeValidator(_values),
        Field(max_length=MOST_VALUES),
    ] = {}
    """Values that are captured, by their names, as in `{pressure: {max: pressure, during: 'phase == "steam"'}}`."""
    materials: Annotated[dict[Name, str], Field(max_length=MOST_MATERIALS)] = {}
    """The lots that go into the part, by the names of the materials, as in `{ply: ply_lot}`."""
    lot: str | None = None
    """The lot that the part belongs to: others name it as their material, as in `compound_lot`."""
    tool: str | None = None
    """The tool, as in `mould_id`."""
    recipe: str | None = None
    """The recipe, as in `recipe`."""
    operator: str | None = None
    """The person, as in `operator_badge`."""
    curves: Curves = ()
    """Points whose course belongs to the history of the part, as in `[bladder_pressure, bladder_temperature]`."""
    stable: Time = 0.0
    """How long a serial number stays the same before it counts, as in `500ms`."""
    settle: Time = 1.0
    """How long points that change together may arrive one after another, as in `1s`."""
    wait: Time = 300.0
    """How long the results of a part are waited for after its end, as in `5m`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.finished and (self.begin is not None or self.end is not None or self.results_of is not None):
            raise ValueError("a serial number of finished parts needs neither begin, end nor results_of")
        if self.finished and self.result is not None and self.result.of is None:
            raise ValueError(
                "counters say nothing about a finished part by its serial number; write a point as result"
            )
        of_results = [name for name, one in self.values.items() if one.result is not None]
        if of_results and self.results_of is None:
            raise ValueError(
                f"{of_results[0]} is a result: results_of is missing, the serial number that it belongs to"
            )
        return self


def by_place(
    section: Sequence[Keys], document: Document, above: tuple[Step, ...]
) -> dict[str, tuple[Keys, Place]]:  # fmt: skip
    """Return the keys of each place with where they are written; report a place that is there twice."""
    found: dict[str, tuple[Keys, Place]] = {}
    for number, keys in enumerate(section):
        path = (*above, PART, number)
        here = Place(document, path if document.has(path) else (*above, PART))
        name = keys.get(PLACE, "")
        if not isinstance(name, str) or name in found:
            here.report(f"there is another part with the place {name!r}; write a place for each, as in place: left")
        else:
            found[name] = keys, here
    return found


def laid_over(base: Mapping[str, Written], changes: Mapping[str, tuple[Keys, Place]]) -> dict[str, Written]:
    """Return the places of parts with the keys of others laid over them."""
    found = dict(base)
    for name, (keys, at) in changes.items():
        found[name] = base.get(name, Written({}, {}, at)).over(keys, at)
    return found


class PartTable:
    """The section `part` of a template or a machine, as written, by the places."""

    def __init__(self, written: Mapping[str, Written], tables: Mapping[str, Table]) -> None:
        self._written = written
        self._tables = tables

    def build(
        self, points: Sequence[Point], others: Iterable[str], values: Mapping[str, Scalar]
    ) -> tuple[Operation, ...]:
        """Return the operations that are right; for the others there are problems.

        `points` are those of the machine, derived points included; `others` are the names of points that are off.
        `values` are its parameters.
        """
        building = _Building(points, set(others), self._tables)
        found = []
        for one in self._written.values():
            whole = filled(one, values)
            if whole is not None and is_on(whole) and (operation := building.operation(whole)) is not None:
                found.append(operation)
        if len(found) > MOST_PLACES:
            next(iter(self._written.values())).place.report(f"has more than {MOST_PLACES} places")
        return tuple(found[:MOST_PLACES])


class _Building:
    """The operations of one machine while they are checked."""

    def __init__(self, points: Sequence[Point], off: set[str], tables: Mapping[str, Table]) -> None:
        self._points = {point.name: point for point in points}
        self._known = {point.name: input_of(point) for point in points if can_be_input(point)}
        self._off = off
        self._tables = tables
        self._written: Written
        self._right = True

    def operation(self, written: Written) -> Operation | None:
        """Return an operation, or None after reporting its problems."""
        self._written, self._right = written, True
        known = set(PartKeys.model_fields)
        for key in sorted(set(written.keys) - known - {ENABLED}):
            written.report(key, unknown("key", key, known | {ENABLED}))
            self._right = False
        own = {key: value for key, value in written.keys.items() if key in known}
        keys = validate(PartKeys, written.place.document, own, written.place.path, written.blame)
        self._right &= keys is not None
        keys = usable(PartKeys, own) if keys is None else keys
        if keys is None:
            return None
        name = f"{PART}_{keys.place}" if keys.place else PART
        if name in self._points:
            written.place.report(f"the history of parts is the point {name}, and there is a point {name}; rename it")
            self._right = False
        serial = self._checked(keys.serial, "serial")
        if serial is not None and serial.program.type is not ValueType.STRING:
            self._report(("serial",), f"needs a text, and this is of type {serial.program.type}; write string(x)")
        found = (
            serial,
            self._optional(keys.begin, "begin", condition=True),
            self._optional(keys.end, "end", condition=True),
            self._result(keys),
            self._optional(keys.results_of, "results_of"),
        )
        values = tuple(one for one in (self._captured(*item) for item in keys.values.items()) if one is not None)
        materials = self._texts(keys.materials, "materials")
        facts = tuple(
            (fact, one) for fact in FACTS if (one := self._optional(getattr(keys, fact), fact)) is not None
        )  # fmt: skip
        for curve in keys.curves:
            if curve not in self._points:
                self._report(("curves",), self._why(curve))
        if not self._right or found[0] is None:
            return None
        operation = keys.operation
        description = f"Parts that were worked on{f' at {keys.place}' if keys.place else ''}"
        return Operation(
            keys.place, operation, result_point(name, CONTENT, description), found[0], found[1], found[2],
            keys.finished, found[3], found[4], values, materials, facts, keys.curves, keys.stable, keys.settle,
            keys.wait,
        )  # fmt: skip

    def _result(self, keys: PartKeys) -> Expression | Counters | None:
        if keys.result is None:
            return None
        if keys.result.of is not None:
            return self._checked(keys.result.of, "result")
        good, rejected = (
            self._checked(getattr(keys.result, name) or "", "result", name) for name in ("good", "rejected")
        )
        for name, one in (("good", good), ("rejected", rejected)):
            if one is not None and one.program.type is not ValueType.INT:
                self._report(("result", name), f"a counter is an int, and this is of type {one.program.type}")
        return None if good is None or rejected is None else Counters(good, rejected)

    def _captured(self, name: str, keys: ValueKeys) -> Captured | None:
        function = next(one for one in Function if getattr(keys, one) is not None)
        expression = self._checked(getattr(keys, function), "values", name, function)
        during = self._optional(keys.during, "values", name, "during", condition=True)
        is_number = expression is None or expression.program.type in _NUMBERS
        if not is_number and function in {Function.MIN, Function.MAX, Function.MEAN}:
            text = f"{function} is for numbers, and this is of another type; write last"
            self._report(("values", name), text)
        return None if expression is None else Captured(name, function, expression, during)

    def _texts(self, written: Mapping[str, str], section: str) -> tuple[tuple[str, Expression], ...]:
        found = ((name, self._checked(text, section, name)) for name, text in written.items())
        return tuple((name, one) for name, one in found if one is not None)

    def _optional(self, text: str | None, *keys: str, condition: bool = False) -> Expression | None:
        found = None if text is None else self._checked(text, *keys)
        if condition and found is not None and found.program.type is not ValueType.BOOL:
            text = f"needs a condition, and this is of type {found.program.type}; write a comparison, as in x > 0"
            self._report(keys, text)
        return found

    def _checked(self, text: str, *keys: str) -> Expression | None:
        """Return an expression, or None after reporting its problem at its place."""
        text = text.strip()
        whole = f"`{text}`" if text in self._known else text
        try:
            for name in points_of(whole):
                if name not in self._known:
                    self._report(keys, self._why(name))
                    return None
            program = check(whole, self._known, self._tables)
            alone = isinstance(parse(whole), PointName)
        except WrongExpression as error:
            self._report(keys, str(error))
            return None
        if program.steps:
            name = program.steps[0].function
            self._report(keys, f"{name} keeps a state; write a derived point with it, and its name here")
            return None
        measured = (
            program.unit.text if program.unit is not None and program.type in {ValueType.INT, ValueType.FLOAT} else ""
        )
        return Expression(program, measured, program.inputs[0].labels if alone else ())

    def _why(self, name: str) -> str:
        if name in self._points:
            return why_not(self._points[name])
        if name in self._off:
            return f"the point {name} is off or wrong; leave it out here, too"
        return unknown("point", name, self._known)

    def _report(self, keys: Sequence[str], message: str) -> None:
        self._right = False
        whole = self._written.at(keys[0])
        Place(whole.document, (*whole.path, *keys[1:])).report(message)
