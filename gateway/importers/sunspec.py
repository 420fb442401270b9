"""Models of SunSpec in JSON: a group of points, and groups in it that repeat (SunSpec Device Information Model).

A model does not say at which register a device has it: `--address` does. Points follow each other without gaps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from gateway.importers.base import Format
from gateway.importers.foreign import Foreign, Part, json_part, looks_like_json
from gateway.importers.found import Found, Import, Options, Row
from gateway.model.text import MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Container

    from gateway.importers.content import Content

Keys = dict[str, Any]

COMMON = 40_002
"""The register of the common model (1): behind the two registers `SunS` at 40000."""

SECOND = 40_070
"""The usual register of the model behind the common model, which has 66 registers and a head of two."""

RAW = {
    "int16": "int16", "int32": "int32", "int64": "int64", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "acc16": "uint16", "acc32": "uint32", "acc64": "uint64", "enum16": "uint16", "enum32": "uint32",
    "raw16": "uint16",
    "bitfield16": "uint16", "bitfield32": "uint32", "bitfield64": "uint64", "float32": "float32",
    "float64": "float64", "count": "uint16", "string": "string", "ipaddr": "bytes", "ipv6addr": "bytes",
    "eui48": "bytes",
}  # fmt: skip
"""Types of points, and raw types."""

LEFT_OUT = frozenset({"pad", "sunssf"})
"""Types that are not values: padding, and scale factors, which are read with the values."""

_UNITS = """
    C Cel | Secs s | Sec s | Tms s | mSecs ms | Wh W.h | WH W.h | kWh kW.h | varh var.h | Varh var.h | VAh V.A.h
    VA V.A | var var | Var var | Ah A.h | AH A.h | kAH kA.h | Pct % | W/m2 W/m2 | W/m^2 W/m2 | Degrees deg | deg deg
    ohms Ohm | kO kOhm | meters m | HPa hPa | mps m/s | Mbps Mbit/s | bps bit/s | Vm V/m
"""
UNITS = {pair.split()[0]: pair.split()[1] for line in _UNITS.strip().splitlines() for pair in line.split("|")}
"""Units of the models, and UCUM codes."""

NO_UNITS = frozenset({"PF", "cos()", "SF", "text"})
"""Units of the models that are not units: of a ratio, of a scale factor, of a text."""

MOST_POINTS = 20_000
"""Points of a file with all its repeated groups."""

SCALED = frozenset({"int", "uin", "acc", "raw"})
"""How types begin that a scale factor applies to."""

SLOW = "1h"
"""The period of values that do not change (`static: S`)."""


class PointModel(Foreign):
    """A point."""

    apart: ClassVar[Container[str]] = {
        "access", "mandatory", "value", "detail", "notes", "comments", "symbols", "standards",
    }  # fmt: skip

    name: str
    type: str
    size: Annotated[int, Field(ge=1, le=1000)]
    sf: int | str | None = None
    units: str = ""
    label: str = ""
    desc: str = ""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    static: str = "D"


class GroupModel(Foreign):
    """A group of points."""

    apart: ClassVar[Container[str]] = {
        "points", "groups", "label", "desc", "detail", "notes", "comments", "type", "standards",
    }  # fmt: skip

    name: str = "group"
    count: int | str = 1


class Symbol(Foreign):
    """The name of a number of an enumeration, or of a bit."""

    apart: ClassVar[Container[str]] = {"label", "desc", "detail", "notes", "comments"}

    name: str
    value: Annotated[int, Field(ge=0, le=2**63)]


class Place(NamedTuple):
    """Where a group begins: its first register, the text before the names of its points, and known scale factors."""

    register: int
    prefix: str
    scales: dict[str, int]
    certain: bool


class Reader:
    """Reads models one behind the other."""

    def __init__(self, options: Options, found: Import) -> None:
        self._found = found
        self._repeat = _repeats(options)
        self.machine = Found("", "", "modbus", options.connection, options.area, options.line)

    def group(self, part: Part, place: Place) -> Place:
        """Add the points of a group. Returns the place behind it."""
        register, scales = place.register, dict(place.scales)
        points = [
            (one, one.read(PointModel, self._found, place.prefix or "model")) for one in self._list(part, "points")
        ]
        for _, point in points:  # a scale factor may be behind its points
            if point is None:
                return self._uncertain(part, place)
            if point.type == "sunssf":
                scales[point.name] = register
            register += point.size * point.count
        register = place.register
        for one, point in points:
            if point is not None:
                self._point(one, point, Place(register, place.prefix, scales, place.certain))
                register += point.size * point.count
        inner = Place(register, place.prefix, scales, place.certain)
        for one in self._list(part, "groups"):
            inner = self._repeated(one, inner)
        return inner._replace(prefix=place.prefix, scales=place.scales)

    def _list(self, part: Part, key: str) -> list[Part]:
        return part.find(key, self._found, "model")

    def _uncertain(self, part: Part, place: Place) -> Place:
        message = "is left out, with all behind it: the size of one of its points is not known"
        self._found.note(part.where, place.prefix or "model", message)
        return place._replace(certain=False)

    def _repeated(self, part: Part, place: Place) -> Place:
        group = part.read(GroupModel, self._found, place.prefix or "model")
        if group is None:
            return self._uncertain(part, place)
        name = f"{place.prefix}{group.name}"
        if not place.certain:
            self._found.note(part.where, name, "is left out: its register depends on the groups before it")
            return place
        count = self._repeat.get(group.name)
        known = count is not None or (isinstance(group.count, int) and group.count > 0)
        if count is None:
            count = group.count if isinstance(group.count, int) and group.count > 0 else 1
        if not known:
            message = f"the device says how often it repeats; here once: say --repeat {group.name}=NUMBER"
            self._found.note(part.where, name, message)
        inner = place
        for number in range(1, count + 1):
            prefix = f"{name}_{number}_" if count > 1 or not known or group.count != 1 else f"{name}_"
            inner = self.group(part, inner._replace(prefix=prefix))
            if len(self.machine.points) > MOST_POINTS:
                raise ValueError(f"it has more than {MOST_POINTS:,} points")
        return inner._replace(prefix=place.prefix, certain=inner.certain and known)

    def _point(self, part: Part, point: PointModel, place: Place) -> None:
        if point.type in LEFT_OUT or (point.name in {"ID", "L"} and not place.prefix):
            return
        what = f"{place.prefix}{point.name}"
        if point.type not in RAW:
            self._found.note(part.where, what, f"is left out: the type {point.type[:40]!r} is not known")
            return
        raw = RAW[point.type]
        keys: Keys = {"address": f"holding {place.register}"} | ({} if raw == "uint16" else {"raw": raw})
        if raw in {"string", "bytes"}:
            keys |= {"length": point.size} | ({"encoding": "utf-8"} if raw == "string" else {})
        keys |= self._meaning(part, point, place, what)
        if point.count > 1 and raw not in {"string", "bytes"}:
            keys["count"] = point.count
        self._found.add(self.machine, what, Row(part.where, keys))

    def _meaning(self, part: Part, point: PointModel, place: Place, what: str) -> Keys:
        """Return what values mean: scale, unit, labels, and the value for "not available"."""
        keys: Keys = {}
        unit = _unit(point.units.strip())
        if point.sf is not None and point.type[:3] in SCALED:
            scale = self._scale(point, place)
            if scale is None:
                message = f"its scale factor {str(point.sf)[:40]!r} is not in the model; the number is not scaled"
                self._found.note(part.where, what, message)
                unit = ""
            else:
                keys |= scale
        numeric = RAW[point.type] not in {"string", "bytes"}
        if numeric and not point.type.startswith(("enum", "bitfield")):
            keys |= self._found.unit(part.at("units").where, what, unit)
        if point.type.startswith("acc"):
            keys["not_available"] = 0
        elif numeric and point.type != "raw16":
            keys["not_available"] = "sunspec"
        symbols = [one.read(Symbol, self._found, what) for one in self._list(part, "symbols")]
        named = {symbol.value: symbol.name for symbol in symbols if symbol is not None}
        text = point.desc or point.label
        if point.type.startswith("enum") and named:
            keys["labels"] = named
        elif point.type.startswith("bitfield") and named:
            text = f"{text}; bits: " + ", ".join(f"{bit} {name}" for bit, name in sorted(named.items()))
        if text:
            keys["description"] = text[:MAX_TEXT]
        return keys | ({"every": SLOW} if point.static == "S" else {})

    @staticmethod
    def _scale(point: PointModel, place: Place) -> Keys | None:
        """Return the keys of a scale factor, None if it is not in the model."""
        if isinstance(point.sf, int):
            return {"scale": 10**point.sf} if -10 <= point.sf <= 10 else None  # noqa: PLR2004 - clause 4.2.8
        register = place.scales.get(str(point.sf))
        return None if register is None else {"scale_register": f"holding {register}"}


def read(content: Content, options: Options) -> Import:
    """Return the machine of one model, or of several that follow each other. Raises `ValueError`."""
    if not options.connection:
        raise ValueError("a model names no device; say --connection, as in modbus+tcp://10.20.1.11:502?unit=126")
    found = Import()
    reader = Reader(options, found)
    models = _models(json_part(content))
    if not models:
        raise ValueError("it has no model: a number id, and a group with points")
    first = models[0].at("id").data
    register = options.address
    if register is None:
        register = COMMON if first == 1 else SECOND
        message = f"is assumed at register {register}; lineside probe prints where a device has its models"
        found.note(models[0].where, f"model {first}", f"{message}: say --address")
    place = Place(register, "", {}, certain=True)
    for model in models:
        if not place.certain:
            found.note(model.where, f"model {model.at('id').data}", "is left out: its register is not known")
            continue
        prefix = "" if len(models) == 1 else f"m{model.at('id').data}_"
        place = reader.group(model.at("group"), place._replace(prefix=prefix, scales={}))
    name = str(models[0].at("group", "name").data or f"model-{first}")
    reader.machine.machine = options.machine or name
    reader.machine.template = f"sunspec-{first}"
    found.machines.append(reader.machine)
    return found


def _unit(written: str) -> str:
    """Return a unit of the models as UCUM; a percentage of something has the thing in braces."""
    if re.fullmatch(r"%\s*[A-Za-z_]+", written):
        return f"%{{{written[1:].strip()}}}"
    return "" if written in NO_UNITS else UNITS.get(written, written)


def _models(whole: Part) -> list[Part]:
    """Return the models of a file."""
    one = whole.at("models") if isinstance(whole.at("models").data, list) else whole
    return [part for part in one.entries() if _is_model(part)]


def _is_model(part: Part) -> bool:
    identity = part.at("id").data
    return type(identity) is int and isinstance(part.at("group", "points").data, list)


def _repeats(options: Options) -> dict[str, int]:
    """Return how often groups repeat, by their names. Raises `ValueError`."""
    found: dict[str, int] = {}
    for written in options.repeat:
        name, _, count = written.partition("=")
        if not name or not count.isdecimal() or not 0 < int(count) <= 1000:  # noqa: PLR2004 - no device has more
            raise ValueError(f"--repeat {written} is not a group and a number, as in module=4")
        found[name.strip()] = int(count)
    return found


def _recognise(content: Content) -> bool:
    return looks_like_json(content) and bool(_models(json_part(content)))


FORMAT = Format("sunspec", "model of SunSpec (JSON)", _recognise, read)
