"""A template's points: from keys as written, to points, or to all that is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from drivers.base import Source, ValueType
from gateway.settings.factory import Place
from gateway.settings.parameters import LITERAL, fill, has_names
from gateway.settings.point import LATER, Point, contradictions, natural_type, reachable, shown
from gateway.settings.problems import Severity, likely_name, unknown
from gateway.settings.units import LOOKALIKES
from gateway.settings.validation import explain, usable, validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import Protocol
    from gateway.settings.document import Document, Step
    from gateway.settings.parameters import Scalar

ENABLED = "enabled"
"""The key that takes a point out, or an inherited one in again."""


@dataclass(frozen=True, slots=True)
class Written:
    """A point's keys, and the document to blame for each.

    `place` is the place of the point; `open` are its keys with parameters in braces.
    """

    keys: dict[str, Any]
    blame: dict[str, tuple[Document, tuple[Step, ...]]]
    place: Place
    open: tuple[str, ...] = ()

    def over(self, keys: dict[str, Any], place: Place) -> Written:
        """Return these keys with others laid over them; null takes one back."""
        blame = self.blame | dict.fromkeys(keys, (place.document, place.path))
        merged = {key: value for key, value in (self.keys | keys).items() if value is not None}
        return Written(merged, blame, place)

    def with_parameters(self) -> Written:
        """Return this, knowing which keys have names in braces."""
        return replace(self, open=tuple(k for k, v in self.keys.items() if k not in LITERAL and has_names(v)))

    def at(self, key: str) -> Place:
        """Return the place of a key, or of the point if the key is not written."""
        document, above = self.blame.get(key, self.place)
        path = (*above, key)
        return (
            Place(document, path)
            if document.has(path)
            else self.place
            if key not in self.blame
            else Place(document, above)
        )

    def report(self, key: str, message: str, severity: Severity = Severity.ERROR) -> None:
        """Report a problem at the place of a key."""
        self.at(key).report(message, severity)


def filled(written: Written, names: Mapping[str, Scalar]) -> Written | None:
    """Return the keys with parameters filled in, or None after reporting the keys that can't be filled in."""
    keys, right = dict(written.keys), True
    for key in written.open:
        try:
            keys[key] = fill(keys[key], names)
        except ValueError as error:
            written.report(key, str(error))
            right = False
    return Written(keys, written.blame, written.place) if right else None


def is_on(written: Written) -> bool:
    """Return whether a point is to be read."""
    on = written.keys.get(ENABLED, True)
    if not isinstance(on, bool):
        written.report(ENABLED, f"{on!r} is not true or false")
    return on is not False


def build(protocol: Protocol, name: str, keys: dict[str, Any], written: Written) -> Point | None:
    """Build a point, or report all its problems: keys of the source go there, all others to the point."""
    own = set(Point.model_fields) - {"name", "source"}
    theirs = set(protocol.source.model_fields)
    strange = sorted(set(written.blame) - own - theirs - {ENABLED})
    if commas := [key for key in strange if key[:1].isdecimal()]:
        document, above = written.blame[commas[0]]
        document.report((*above, commas[0]), "a comma ends a value; write a decimal point, as in 0.01")
        return None
    for key in strange:
        document, above = written.blame[key]
        document.report((*above, key), unknown("key", key, own | theirs | {ENABLED}))
    source = None
    if not _meant(protocol.source, strange, keys):  # else they are there, under unknown keys that are reported
        source = validate(
            protocol.source,
            written.place.document,
            {k: keys[k] for k in keys if k in theirs},
            written.place.path,
            written.blame,
        )
    mine = {"name": name, "source": source} | {k: keys[k] for k in keys if k in own}
    point = whole_point(mine, source, written)
    if source is None or point is None or strange:
        return None
    doubt(point, written)
    return point


def _meant(source: type[Source], strange: list[str], keys: Mapping[str, Any]) -> set[str]:
    """Return the missing keys of a source that unknown keys are likely meant to be."""
    needed = [key for key, field in source.model_fields.items() if field.is_required() and key not in keys]
    return {likely for key in strange if (likely := likely_name("key", key, needed)) is not None}


class Pattern:
    """A point of one machine, after which those of others are made that differ in where they are alone.

    It costs a fraction of `build`, which counts where a thousand machines have registers of their own.
    """

    def __init__(self, protocol: Protocol, written: Written, point: Point) -> None:
        theirs = protocol.source.model_fields
        self._source = protocol.source
        self._point = point
        self._kind = point.source.value_type, point.source.limits
        self._keys = {key: value for key, value in written.keys.items() if key in theirs}
        self._open = written.open
        self._fits = all(key in theirs for key in written.open)

    def point(self, names: Mapping[str, Scalar]) -> Point | None:
        """Return the point with parameters filled in, None if it must be built to report its problems."""
        if not self._fits:
            return None
        keys = self._keys.copy()
        try:
            for key in self._open:
                keys[key] = fill(keys[key], names)
            source = self._source.model_validate(keys)
        except ValueError:  # pydantic's own are of this kind
            return None
        if (source.value_type, source.limits) != self._kind:
            return None
        return self._point.model_copy(update={"source": source})


def whole_point(mine: dict[str, Any], source: Source | None, written: Written) -> Point | None:
    """Return the point, or None after reporting the problems of its own keys, each alone and all together.

    A contradiction with a key that is wrong in itself is left out: it would report one mistake twice.
    """
    wrong: set[str] = set()
    if source is None:
        mine, wrong = mine | {"source": Source()}, {"source"}
    if "type" not in mine and (source is None or source.value_type is None):
        mine, wrong = mine | {"type": ValueType.FLOAT}, wrong | {"type"}
        if source is not None:
            written.report("type", "type is missing; write bool, int, float, string or json")
    point: Point | None
    try:
        point = Point.model_validate(mine, context=LATER)
    except ValidationError as error:
        explain(error, Point, written.place.document, written.place.path, written.blame)
        wrong |= {str(detail["loc"][0]) for detail in error.errors(include_url=False) if detail["loc"]}
        natural = None if source is None else natural_type(source, mine.get("scale", 1), mine.get("offset", 0))
        point = usable(Point, {"type": natural or ValueType.FLOAT} | mine, LATER)
    for keys, message in () if point is None else contradictions(point):
        if not wrong.intersection(keys):
            written.report(keys[0], message)
            wrong.add("")
    return None if wrong else point


def doubt(point: Point, written: Written) -> None:
    """Warn of values that are possible and rarely intended."""
    if point.unit in LOOKALIKES:
        written.report("unit", f"{point.unit!r} is {LOOKALIKES[point.unit]}", Severity.WARNING)
    reach = reachable(point)
    if reach is None or point.range is None or (reach[0] <= point.range[0] and point.range[1] <= reach[1]):
        return
    low = "" if reach[0] <= point.range[0] or reach[0] < 0 else "; if it can be negative, use a signed raw type"
    message = f"the range {shown(*point.range)} is wider than the source allows, {shown(*reach)}{low}"
    written.report("range", message, Severity.WARNING)
