"""The sections `lines` and a template's file, as written."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.common.setting_types import DURATION, Name, Section, Text, parse_duration
from gateway.settings.machine_ranges import machines_of
from gateway.settings.parameters import NAME, Scalar


def _url_or_options(written: object) -> object:
    if not isinstance(written, str | dict):
        raise ValueError(f"{written!r} is not a connection; write a URL, or a mapping of url and options")  # noqa: TRY004
    return written


def _machines(written: str) -> str:
    """Let through a name, or one with a range of numbers in it."""
    machines_of(written)
    return written


def _parameter(written: str) -> str:
    if not NAME.fullmatch(written):
        raise ValueError(f"{written!r} is not a parameter name; write lower-case letters, digits and '_'")
    return written


Machines = Annotated[str, AfterValidator(_machines)]
"""The name of a machine, or of many, as in `press-{01..24}`."""

Parameter = Annotated[str, AfterValidator(_parameter)]
"""The name of a parameter."""

MOST_ROWS = 1_000
"""Rows of a table."""


def _table(written: object) -> object:
    """Turn rows into pairs of floats, in the order of their first numbers."""
    form = "write rows of a number and its value, as in [[0, 0], [10, 250]]"
    if not isinstance(written, list) or not all(isinstance(row, list) and len(row) == 2 for row in written):  # noqa: PLR2004
        raise ValueError(f"is not a table; {form}")
    if not all(type(number) in {int, float} and math.isfinite(number) for row in written for number in row):
        raise ValueError(f"a table has numbers only; {form}")
    if not 2 <= len(written) <= MOST_ROWS:  # noqa: PLR2004 - of a line
        raise ValueError(f"a table has from 2 to {MOST_ROWS:,} rows, and this has {len(written):,}")
    rows = [(float(first), float(value)) for first, value in written]
    for before, after in pairwise(rows):
        if before[0] >= after[0]:
            raise ValueError(f"{after[0]:g} comes after {before[0]:g}; write each number once, in rising order")
    return tuple(rows)


Table = Annotated[tuple[tuple[float, float], ...], BeforeValidator(_table)]
"""A table of the function `lookup`."""

Keys = dict[str, Any]
"""The keys of a point: those of `Point`, and of its protocol's source."""


def _places(written: object) -> object:
    """Turn the keys of one part into a list."""
    if isinstance(written, dict):
        return (written,)
    if not isinstance(written, list) or not all(isinstance(one, dict) for one in written):
        raise ValueError("write the keys of a part, as in {serial: serial_number}, or a list of them with places")
    return tuple(written)


Places = Annotated[tuple[Keys, ...], BeforeValidator(_places)]
"""The keys of the work on parts, of one place or several."""


Phase = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, le=86400), WithJsonSchema(DURATION)]
"""The time from a full period of the wall clock to a scan, in seconds; at most a day."""


class MachineSection(Section):
    """One machine, or a range of them: its type, its connection, and its own parameters and points."""

    template: Name
    """The machine's type: a file of the folder `machines`, as in `curing-press`."""
    connection: Annotated[str | dict[str, Any], BeforeValidator(_url_or_options)]
    """Where the machine is: a URL, or a mapping of url and options, as in `modbus+tcp://10.20.1.11:502?unit=1`."""
    parameters: dict[Parameter, Scalar] = {}
    """Values of the parameters of the template, as in `{base: 100}`."""
    points: dict[Name, Keys] = {}
    """Keys of points that differ on this machine, by the points' names, as in `{door_open: {enabled: false}}`."""
    derive: dict[Name, Keys] = {}
    """Keys of derived points that differ on this machine, or more derived points, as in `{in_spec: {expression:
    "pressure > 12.0"}}`.
    """
    alarms: dict[Name, Keys] = {}
    """Keys of alarms that differ on this machine, or more alarms, as in `{oil_low: {low: 40}}`."""
    part: Places = ()
    """Keys of the work on parts that differ on this machine, a list for several places, as in `{stable: 2s}`."""
    production: Keys = {}
    """Keys of `production` of the template that differ on this machine, as in `{planned_cycle_time: 12m}`."""
    phase: Phase | None = None
    """Time from a full period of the wall clock to each scan, chosen by the gateway if missing, as in `250ms`."""


class LineSection(Section):
    """A line of an area, and its machines by name."""

    area: Name
    """The area that the line belongs to, a level of every topic, as in `curing`."""
    machines: Annotated[dict[Machines, MachineSection], Field(min_length=1)]
    """The machines by their names; a range of them is `press-{01..24}`, with `{n}` for the number, as in `{press-01:
    {template: curing-press, connection: "modbus+tcp://10.20.1.11:502"}}`.
    """


class TemplateSection(Section):
    """A machine type: its points, written once.

    `extends` names a template whose points are part of this template; keys written here replace its keys. `defaults`
    are keys of every point of this file. `parameters` are values that differ between machines of this type: write
    their names in braces in the keys of points. A value here is the default of a machine; with null the machine must
    give one.
    """

    format: int
    """The format of this file, as in `1`."""
    protocol: str
    """How machines of this type are read, as in `modbus`."""
    extends: Name | None = None
    """A template whose points this template extends, as in `packml-modbus`."""
    description: Text = ""
    """For people, as in `Tyre curing press`."""
    parameters: dict[Parameter, Scalar | None] = {}
    """Values that differ between machines of this type, with their defaults; null if a machine must give one, as
    in `{base: 0}`.
    """
    defaults: Keys = {}
    """Keys under every point of this file, as in `{every: 500ms}`."""
    points: dict[Name, Keys] = {}
    """The points by their names, as in `{pressure: {address: holding 2, unit: bar}}`."""
    derive: dict[Name, Keys] = {}
    """Points that the gateway derives from the points of a machine, by their names, as in `{pressure_rate:
    {expression: rate(pressure), unit: bar/s}}`.
    """
    alarms: dict[Name, Keys] = {}
    """Alarms by their names, as in `{oil_low: {point: oil_level, low: 50, deadband: 5, priority: high}}`."""
    part: Places = ()
    """The work on parts, whose history the gateway records, a list where a machine has several places, as in
    `{serial: serial_number, result: result}`.
    """
    production: Keys = {}
    """The points that OEE and losses are calculated from, and the plan, as in `{state: state, good: good_count,
    reject: reject_count, planned_cycle_time: 55s}`.
    """
    tables: dict[Parameter, Table] = {}
    """Tables for the function lookup: each row is a number and its value, as in `{tank: [[0, 0], [10, 250]]}`."""

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if not self.points and self.extends is None:
            raise ValueError("points are missing; write some, or a template to extend")
        return self
