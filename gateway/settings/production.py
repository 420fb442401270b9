"""The section `production` of a template or a machine: which points are its state and its counters, and its plan.

The states of PackML (OPC 30050) and of OPC 40001-1 Machinery are known by their labels, and map to the categories of
ISO 22400-2 as Annex C of OPC 40001-1 suggests. `states` and `modes` name the differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from drivers.base import Source, ValueType
from gateway.common.setting_types import Duration, Name, Section, Text, parse_duration
from gateway.model.command import MAX_STOP_REASON
from gateway.model.production import TimeState
from gateway.settings.derivation import meaning_of
from gateway.settings.point import Point
from gateway.settings.point_builder import ENABLED, Written, filled, is_on
from gateway.settings.problems import unknown
from gateway.settings.quantities import NotConvertible, unit
from gateway.settings.results import result_point
from gateway.settings.validation import validate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from drivers.base import Value
    from gateway.settings.calendar import CalendarSection
    from gateway.settings.factory import Place
    from gateway.settings.parameters import Scalar

PRODUCTION, STOPS, STOP_REASONS = "production", "stops", "stop_reasons"
"""The names of the result points, and their contents."""

MOST_REASONS = 200
"""Reasons that a person may choose from."""

_PACKML = {
    TimeState.PRODUCTION: "execute completing",
    TimeState.SETUP: "starting resetting complete",
    TimeState.IDLE: "idle",
    TimeState.WAITING: "suspending suspended unsuspending",
    TimeState.DOWN: "stopping stopped aborting aborted clearing holding unholding " + "held",
    TimeState.UNKNOWN: "undefined",
}

_MACHINERY = {
    TimeState.PRODUCTION: "executing",
    TimeState.IDLE: "notexecuting",
    TimeState.DOWN: "outofservice notavailable",
}

_PLAIN = {
    TimeState.PRODUCTION: "running production producing",
    TimeState.SETUP: "setup changeover",
    TimeState.STARVED: "starved lack",
    TimeState.BLOCKED: "blocked tailback",
    TimeState.WAITING: "waiting",
    TimeState.DOWN: "down fault failure",
    TimeState.UNKNOWN: "unknown",
    TimeState.OFF: "off",
}

KNOWN: Mapping[str, TimeState] = {
    label: state
    for table in (_PACKML, _MACHINERY, _PLAIN)
    for state, labels in table.items()
    for label in labels.split()
}
"""Labels of states, without blanks and in lower case -> their categories."""

KNOWN_MODES: Mapping[str, TimeState] = {
    "setup": TimeState.SETUP, "manual": TimeState.SETUP, "maintenance": TimeState.DOWN
}  # fmt: skip
"""Labels of modes that say more than the state. The state counts in all other modes."""

ANY_RECIPE = "other"
"""The key of the planned cycle time of recipes that are not listed."""


def _is_plan(written: object) -> object:
    if isinstance(written, dict):
        return {str(recipe): _seconds(duration) for recipe, duration in written.items()}
    return {ANY_RECIPE: _seconds(written)}


def _seconds(written: object) -> float:
    seconds = parse_duration(written)
    if not isinstance(seconds, float | int) or isinstance(seconds, bool) or seconds <= 0:
        raise ValueError(f"{written!r} is not a cycle time; write a duration, as in 55s")
    return float(seconds)


def _scalars_as_text(written: object) -> object:
    if isinstance(written, dict):
        return {_label_text(key): value for key, value in written.items()}
    return written


def _label_text(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _strings(plan: dict[str, float]) -> dict[str, float]:
    if not plan:
        raise ValueError("is empty; write a cycle time, or one for each recipe")
    return plan


def _reason(written: str) -> str:
    if not 1 <= len(written) <= MAX_STOP_REASON:
        raise ValueError(f"a reason has 1 to {MAX_STOP_REASON} characters, as in no material")
    return written


def _differ(reasons: tuple[str, ...]) -> tuple[str, ...]:
    if twice := next((one for one in reasons if reasons.count(one) > 1), None):
        raise ValueError(f"{twice!r} is there twice; leave one of them out")
    return reasons


Plan = Annotated[dict[str, float], BeforeValidator(_is_plan), AfterValidator(_strings)]
"""Planned cycle times by recipe, in seconds."""

States = Annotated[
    dict[Text, Annotated[TimeState, Field(strict=False)]], BeforeValidator(_scalars_as_text)
]  # fmt: skip
"""Labels, or values of a point without labels, and their categories."""

Reasons = Annotated[
    tuple[Annotated[Text, AfterValidator(_reason)], ...],
    BeforeValidator(lambda written: tuple(written) if isinstance(written, list) else written),
    Field(max_length=MOST_REASONS),
    AfterValidator(_differ),
]
"""Reasons of stops."""


class ProductionSection(Section):
    """The points of a machine that its production is calculated from."""

    state: Name
    """The point with the state of the machine: PackML, OPC 40001-1, or another with `states`, as in `state`."""
    states: States = {}
    """Categories of states by label, or by value where the point has no labels, as in `{held: idle}`."""
    mode: Name | None = None
    """The point with the mode of the machine, as in `mode`."""
    modes: States = {}
    """Categories of modes by label, for modes that count more than the state, as in `{maintenance: off}`."""
    starved: Name | None = None
    """A point that is true while the machine waits for parts, as in `lack`."""
    blocked: Name | None = None
    """A point that is true while the machine can't get rid of its parts, as in `tailback`."""
    good: Name | None = None
    """The counter of good parts, as in `good_count`."""
    reject: Name | None = None
    """The counter of rejected parts, as in `reject_count`."""
    total: Name | None = None
    """The counter of all parts, if good or rejected parts have none, as in `total_count`."""
    planned_cycle_time: Plan | None = None
    """The planned duration of a cycle: one, or one for each recipe, with `other` for those that are not listed, as in
    `55s` or `{GT-195: 55s, GT-205: 60s, other: 58s}`.
    """
    planned_cycle_point: Name | None = None
    """A point with the planned duration of a cycle, in a unit of time; it counts where it has a value above 0, as in
    `planned_cycle`.
    """
    parts_per_cycle: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Parts that a cycle makes, or that are in work at the same time, as in `2`."""
    cycle_time: Name | None = None
    """A point with the duration of the last cycle, in a unit of time; without it the time between parts counts, as in
    `cycle_time_last`.
    """
    recipe: Name | None = None
    """The point with the recipe, as in `recipe`."""
    order: Name | None = None
    """The point with the production order, as in `order`."""
    reason: Name | None = None
    """The point with the reason of a stop: a code or a text, 0 or empty without a reason, as in `stop_reason`."""
    reasons: Reasons = ()
    """The reasons that a person may give for a stop; without them any text, as in `[no material, bladder, other]`."""
    micro_stop: Duration = 60.0
    """A down that is shorter is a micro-stop, and a shorter stop has no row of its own, as in `2m`."""
    every: Duration = 30.0
    """How often key figures of the running shift are calculated; they are sent when they change, as in `10s`."""


KEYS = frozenset(ProductionSection.model_fields) | {ENABLED}
"""The keys of `production`."""

POINTS = ("state", "mode", "starved", "blocked", "good", "reject", "total", "planned_cycle_point", "cycle_time",
          "recipe", "order", "reason")  # fmt: skip
"""The keys that name points."""

_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT})
_COUNTERS = frozenset({"good", "reject", "total"})
_DURATIONS = frozenset({"planned_cycle_point", "cycle_time"})
_SECOND = unit("s")


class KeyFigure(Source):
    """The source of a point with a key figure. No driver reads it."""

    figure: str
    """The name of the figure."""


class Kind(StrEnum):
    """The kinds of key figures."""

    RATIO = "%"
    PARTS = "{part}"
    TEXT = ""


FIGURES: Mapping[str, tuple[Kind, str]] = {
    "oee": (Kind.RATIO, "Overall equipment effectiveness of the running shift (ISO 22400-2)"),
    "availability": (Kind.RATIO, "Production time of the known busy time of the running shift (ISO 22400-2)"),
    "performance": (
        Kind.RATIO,
        "Planned time of the parts of the production time of the running shift (ISO 22400-2)",
    ),
    "quality_ratio": (Kind.RATIO, "Good parts of all parts of the running shift (ISO 22400-2)"),
    "shift_good": (Kind.PARTS, "Good parts of the running shift"),
    "shift_reject": (Kind.PARTS, "Rejected parts of the running shift"),
    "shift_target": (Kind.PARTS, "Parts that the shift was planned for until now"),
    "time_state": (Kind.TEXT, "Category of the present time (ISO 22400-2)"),
}
"""The points with key figures: unit and description."""


def _figure(name: str, every: float) -> Point:
    kind, description = FIGURES[name]
    keys: dict[str, Any] = {"name": name, "source": KeyFigure(figure=name), "description": description}
    if kind is Kind.TEXT:
        keys |= {"type": ValueType.STRING, "on_change": True}
    else:
        whole = kind is Kind.PARTS and name != "shift_target"
        keys |= {"type": ValueType.INT if whole else ValueType.FLOAT, "unit": kind.value}
        keys |= {"on_change": True} if whole else {"deadband": 0.1 if kind is Kind.RATIO else 0.5}
    return Point.model_validate(keys).model_copy(update={"every": every, "at_least_every": max(every, 600.0)})


@dataclass(frozen=True, slots=True)
class Production:
    """How the production of a machine is calculated; machines of a type share it.

    `points` are the points by the key that names them. `states` and `modes` map values to categories, `names` the
    values of the state to their labels. `scales` are the seconds of a unit of each duration. `figures` and `results`
    are the points of the calculation, `all_points` both of them.
    """

    section: ProductionSection
    points: Mapping[str, Point]
    states: Mapping[Value, TimeState]
    modes: Mapping[Value, TimeState]
    names: Mapping[Value, str]
    scales: Mapping[str, float]
    figures: tuple[Point, ...]
    results: tuple[Point, ...]

    all_points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """The production of a machine, with the calendar of its factory."""

    production: Production
    calendar: CalendarSection


class WrittenProduction:
    """The section `production` of a template, with that of the templates that it extends.

    It is built once for all machines whose points mean the same.
    """

    def __init__(self, written: Written | None) -> None:
        self.written = written
        self._built: dict[tuple[object, ...], Production | None] = {}

    def of(
        self, points: tuple[Point, ...], values: Mapping[str, Scalar] | None, changed: dict[str, Any],
        others: Iterable[str], place: Place,
    ) -> Production | None:  # fmt: skip
        """Return the production of a machine with these points; None without any, or after reporting a problem.

        `values` are its parameters, None in a template without parameters. `changed` are keys that it has instead,
        written at `place`. `others` are the names of points that are off or wrong.
        """
        base = self.written
        if base is not None and values is not None:
            base = filled(base.with_parameters(), values)
            if base is None:
                return None
        if changed:
            return build((base or Written({}, {}, place)).over(changed, place), points, others)
        if base is None:
            return None
        key = repr(base.keys), *sorted(others), *map(meaning_of, points)
        if key not in self._built:
            self._built[key] = build(base, points, others)
        return self._built[key]


def build(written: Written, points: Iterable[Point], others: Iterable[str]) -> Production | None:
    """Return the production of a machine, None after reporting each problem at its key, or if it is off."""
    if not is_on(written):
        return None
    right = True
    for key in sorted(set(written.keys) - KEYS):
        written.report(key, unknown("key", key, KEYS))
        right = False
    own = {key: value for key, value in written.keys.items() if key != ENABLED and key in KEYS}
    section = validate(ProductionSection, written.place.document, own, written.place.path, written.blame)
    if section is None:
        return None
    known = {point.name: point for point in points}
    found = _named(section, known, set(others), written)
    for name in (PRODUCTION, STOPS, STOP_REASONS, *FIGURES):
        if name in known:
            written.place.report(
                f"there is a point {name}, as a result has; give the point of the machine another name"
            )
            right = False
    right = _fits(section, written) and right
    if not right or found is None:
        return None
    states = _categories("state", found["state"], section.states, KNOWN, written)
    modes = _categories("mode", found["mode"], section.modes, KNOWN_MODES, written) if "mode" in found else {}
    if states is None or modes is None:
        return None
    scales = {key: unit(found[key].unit).conversion(_SECOND)[0] for key in _DURATIONS & found.keys()}
    figures = tuple(_figure(name, section.every) for name in _figures_of(section))
    results = (
        result_point(PRODUCTION, PRODUCTION, "Production of an hour or a shift"),
        result_point(STOPS, STOPS, "Stops that are over"),
        result_point(STOP_REASONS, STOP_REASONS, "Reasons that people gave for stops"),
    )
    point = found["state"]
    labels = {} if point.type is ValueType.STRING else point.labels
    names: dict[Value, str] = {number: label for number, label in labels.items()}  # noqa: C416 - keys of another type
    return Production(
        section, found, states, modes, names, scales, figures, results, figures + results
    )  # fmt: skip


def _named(
    section: ProductionSection, known: Mapping[str, Point], off: Collection[str], written: Written
) -> dict[str, Point] | None:  # fmt: skip
    """Return the points by the keys that name them, None after reporting those that are missing or unfit."""
    found: dict[str, Point] = {}
    right = True
    for key in POINTS:
        name = getattr(section, key)
        if name is None:
            continue
        if name not in known:
            message: str | None = (
                f"the point {name} is off or wrong" if name in off else unknown("point", name, known)
            )
        else:
            message = _unfit(key, known[name])
        if message is None:
            found[key] = known[name]
        else:
            written.report(key, message)
            right = False
    return found if right else None


def _figures_of(section: ProductionSection) -> list[str]:
    """Return the key figures that a machine can have."""
    counts = section.good is not None or section.total is not None
    rejects = section.reject is not None or (section.good is not None and section.total is not None)
    plan = section.planned_cycle_time is not None or section.planned_cycle_point is not None
    lacking = (
        ({"performance", "oee"} if not (counts and plan) else set())
        | ({"shift_good", "quality_ratio"} if not counts else set())
        | ({"shift_reject"} if not rejects else set())
        | ({"shift_target"} if not plan else set())
    )
    return [name for name in FIGURES if name not in lacking]


def _fits(section: ProductionSection, written: Written) -> bool:
    """Report keys that need each other; return whether all fit."""
    right = True
    if section.good is not None and section.reject is not None and section.total is not None:
        written.report("total", "good and reject say it already; leave one of the three out")
        right = False
    if section.reject is not None and section.good is None and section.total is None:
        written.report("reject", "without good or total nobody knows how many parts are made; write one of them, too")
        right = False
    if section.planned_cycle_time is not None and section.recipe is None:
        listed = [one for one in section.planned_cycle_time if one != ANY_RECIPE]
        if listed:
            written.report("planned_cycle_time", f"{listed[0]} is a recipe; write recipe: POINT, the point with it")
            right = False
    if section.modes and section.mode is None:
        written.report("modes", "there is no point for them; write mode: POINT, too")
        right = False
    return right


def _unfit(key: str, point: Point) -> str | None:
    """Return why a point can't have a meaning, None if it can."""
    if point.source.events or point.source.search or point.type is ValueType.JSON:
        return f"{point.name} is an event, a search or a structure, which has no value here"
    if key in _DURATIONS:
        return _no_duration(point)
    if key in _COUNTERS:
        fits, wanted = point.type in _NUMBERS and not point.labels, "a counter is a number"
    elif key in {"starved", "blocked"}:
        fits, wanted = point.type is ValueType.BOOL, "a condition is a bool"
    else:
        fits, wanted = point.type is not ValueType.FLOAT, f"{key} is a text or a whole number"
    return None if fits else f"{point.name} has type {point.type}, and {wanted}"


def _no_duration(point: Point) -> str | None:
    try:
        unit(point.unit).conversion(_SECOND)
    except (NotConvertible, ValueError):
        return f"{point.name} has the unit {point.unit or 'of a number'}, and a duration has one of time, as in s"
    return None if point.type in _NUMBERS else f"{point.name} has type {point.type}, and a duration is a number"


def _categories(
    key: str, point: Point, written_states: Mapping[str, TimeState], known: Mapping[str, TimeState], written: Written
) -> Mapping[Value, TimeState] | None:
    """Return the categories of the values of a point, None after reporting labels without one."""
    values = _values(point)
    if not values:  # a text or a number without labels
        if key == "state" and not written_states and point.type is not ValueType.STRING:
            written.report("state", f"{point.name} has no labels; write states: {{1: production, 2: down}}")
            return None
        categories: dict[Value, TimeState] = {}
        if point.type is ValueType.STRING:
            categories.update(known)
        is_int = point.type is ValueType.INT
        for label, category in written_states.items():
            categories[int(label) if is_int and _is_whole(label) else label] = category
        return categories
    lower = {label.lower(): state for label, state in written_states.items()}
    right = True
    for label in sorted(lower.keys() - {label.lower() for label in values.values()}):
        written.report(f"{key}s", unknown("label", label, values.values()))
        right = False
    found: dict[Value, TimeState] = {}
    missing = []
    for value, label in values.items():
        state = lower.get(label.lower()) or known.get(plain_label(label))
        if state is not None:
            found[value] = state
        elif key == "state":
            missing.append(label)
    if missing:
        names = ", ".join(f"{label}: down" for label in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004 - that are shown
        written.report("state", f"the category of {missing[0]} is not known; write states: {{{names}}}{more}")
        right = False
    return found if right else None


def plain_label(label: str) -> str:
    """Return a label as `KNOWN` has it."""
    return "".join(one for one in label.lower() if one.isalnum())


def _values(point: Point) -> dict[Value, str]:
    """Return the values that a point can have and their labels; empty where that is not known."""
    if point.labels:
        if point.type is ValueType.STRING:
            return {label: label for label in point.labels.values()}
        if point.type is ValueType.BOOL:
            return {bool(number): label for number, label in point.labels.items()}
        return {number: label for number, label in point.labels.items()}  # noqa: C416 - keys of another type
    return {True: "true", False: "false"} if point.type is ValueType.BOOL else {}


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
