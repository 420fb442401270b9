"""Arithmetic with units: which may be added and compared, the unit of a product, and conversions.

Units are UCUM codes (https://ucum.org/ucum). Annotations in braces are 1 (clause 6), but two things that are
counted apart, as in `{part}` and `{cycle}`, are not added. The angle `rad` is 1 wherever a mass is involved: torque
times angle is work. A unit whose size UCUM defines by a procedure, and one that is not in the table here, is a
quantity of its own: it can be calculated with, and converts to nothing else.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from gateway.settings.units import PREFIXES

_POWERS = dict(zip("YZEPTGMk", range(24, 0, -3), strict=True)) | {"h": 2, "da": 1, "d": -1, "c": -2}
_POWERS |= dict(zip("munpfazy", range(-3, -25, -3), strict=True))
_SIZES = {prefix: Fraction(10) ** power for prefix, power in _POWERS.items()}
_SIZES |= {prefix: Fraction(1024) ** power for power, prefix in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)}

_BASES = ("m", "s", "g", "rad", "K", "C", "cd")
"""The base units of UCUM (clause 28)."""

_DEFINED = {
    "Hz": "s-1", "N": "kg.m/s2", "Pa": "N/m2", "J": "N.m", "W": "J/s", "A": "C/s", "V": "J/C", "F": "C/V",
    "Ohm": "V/A", "S": "A/V", "Wb": "V.s", "T": "Wb/m2", "H": "Wb/A", "lm": "cd.rad2", "lx": "lm/m2", "sr": "rad2",
    "l": "dm3", "L": "dm3", "ar": "100 m2", "t": "1000 kg", "bar": "100000 Pa", "u": "1.66053906660e-24 g",
    "eV": "1.602176634e-19 J", "cal": "4.184 J", "dyn": "g.cm/s2", "erg": "g.cm2/s2", "P": "dyn.s/cm2", "St": "cm2/s",
    "G": "0.0001 T", "Gal": "cm/s2", "var": "W", "mol": "6.02214076e23 1", "kat": "mol/s",
    "bit": "1", "By": "8 bit", "Bd": "s-1", "m[H2O]": "9806.65 Pa", "m[Hg]": "133322.387415 Pa",
    "gf": "9.80665 mN", "b": "100 fm2",
    "%": "0.01 1", "[ppth]": "0.001 1", "[ppm]": "0.000001 1", "[ppb]": "1e-9 1", "[pptr]": "1e-12 1",
    "min": "60 s", "h": "60 min", "d": "24 h", "wk": "7 d", "a": "365.25 d", "mo": "30.4375 d",
    "atm": "101325 Pa", "[in_i]": "2.54 cm", "[ft_i]": "12 [in_i]", "[yd_i]": "3 [ft_i]", "[mi_i]": "5280 [ft_i]",
    "[mil_i]": "0.001 [in_i]", "[sin_i]": "[in_i]2", "[sft_i]": "[ft_i]2", "[cin_i]": "[in_i]3", "[cft_i]": "[ft_i]3",
    "[nmi_i]": "1852 m", "[kn_i]": "[nmi_i]/h", "[gal_us]": "231 [in_i]3", "[qt_us]": "0.25 [gal_us]",
    "[pt_us]": "0.5 [qt_us]", "[foz_us]": "0.0078125 [gal_us]", "[gal_br]": "4.54609 l",
    "[lb_av]": "453.59237 g", "[oz_av]": "0.0625 [lb_av]", "[gr]": "64.79891 mg", "[ston_av]": "2000 [lb_av]",
    "[lton_av]": "2240 [lb_av]", "[lbf_av]": "4.4482216152605 N", "[psi]": "[lbf_av]/[in_i]2",
    "[in_i'H2O]": "0.0254 m[H2O]", "[in_i'Hg]": "0.0254 m[Hg]", "[Btu_IT]": "1055.05585262 J", "[Btu]": "1055.06 J",
    "[HP]": "745.69987158227 W", "[degR]": "0.5555555555555556 K", "[g]": "9.80665 m/s2", "[c]": "299792458 m/s",
    "tex": "0.001 g/m", "[den]": "0.0001111111111111 g/m", "[pi]": f"{math.pi} 1",
    "deg": f"{math.pi / 180} rad", "'": f"{math.pi / 10800} rad", "''": f"{math.pi / 648000} rad",
    "gon": f"{math.pi / 200} rad", "circ": f"{2 * math.pi} rad", "r": f"{2 * math.pi} rad",
}  # fmt: skip
"""The units that plants measure in: a number and a unit (UCUM, clauses 29 to 46)."""

_SCALES = {
    "Cel": (Fraction(1), Fraction("273.15")),
    "[degF]": (Fraction(5, 9), Fraction("459.67") * Fraction(5, 9)),
}
"""Temperatures whose zero is not that of K: the factor to K, and their zero in K."""

_SYMBOL = re.compile(r"(?:[^\d+\-./(){}\[\]\s]|\[[^\[\]\s]+\])+")
_FACTOR = re.compile(r"10[*^]([+-]?\d{1,3})|(\d{1,20})")
_EXPONENT = re.compile(r"[+-]?\d{1,3}")
_ANNOTATION = re.compile(r"\{([^{}]*)\}")

MOST_EXPONENT = 30
"""The highest power of a base unit that is calculated with."""


class NotConvertible(ValueError):
    """A unit can't become another."""


class DifferenceOfTemperatures(NotConvertible):
    """A difference of temperatures can't become a temperature of a scale with another zero."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: powers of base units, its size in them, and where its zero lies.

    `text`   its UCUM code
    `powers` base unit -> exponent, sorted; bases outside of `_BASES` are units that convert to nothing else
    `zero`   the zero of a temperature scale in K; None for units that have the same zero
    `note`   the annotation of a unit that is a single symbol, as in `part` or `gauge`
    `delta`  whether it is a difference of temperatures, which has no place on a scale
    """

    text: str = ""
    powers: tuple[tuple[str, int], ...] = ()
    size: Fraction = Fraction(1)
    zero: Fraction | None = None
    note: str = field(default="", compare=False)
    delta: bool = field(default=False, compare=False)

    @property
    def shown(self) -> str:
        """The code for a message."""
        return self.text or "no unit"

    @property
    def dimension(self) -> tuple[tuple[str, int], ...]:
        """The powers, without an angle where a mass is involved."""
        if any(base == "g" for base, _ in self.powers):
            return tuple(one for one in self.powers if one[0] != "rad")
        return self.powers

    def is_like(self, other: Unit) -> bool:
        """Return whether both measure the same quantity, perhaps in other sizes."""
        return self.dimension == other.dimension

    def is_equal(self, other: Unit) -> bool:
        """Return whether a number means the same in both."""
        same_note = not (self.note and other.note) or self.note == other.note
        return self.is_like(other) and _close(self.size, other.size) and self.zero == other.zero and same_note

    def times(self, other: Unit) -> Unit:
        """Return the unit of a product."""
        return _made(_product(self.text, other.text), self, other, 1)

    def over(self, other: Unit) -> Unit:
        """Return the unit of a quotient."""
        if self.is_equal(other):
            return NUMBER
        return _made(_quotient(self.text, other.text), self, other, -1)

    def power(self, exponent: int) -> Unit:
        """Return the unit of a power."""
        powers = _merged(((base, n * exponent) for base, n in self.powers))
        plain = self.text if not self.text or _SYMBOL.fullmatch(self.text) else f"({self.text})"
        return Unit(f"{plain}{exponent}" if plain else "", powers, self.size**exponent)

    def root(self) -> Unit | None:
        """Return the unit of a square root, None if it is not one."""
        if any(n % 2 for _, n in self.powers):
            return None
        size = Fraction(math.sqrt(self.size))
        powers = tuple((base, n // 2) for base, n in self.powers)
        return Unit(_in_bases(powers, size), powers, size)

    def difference(self) -> Unit:
        """Return the unit of the difference of two values: of two temperatures it is K, or a part of it."""
        if self.zero is None:
            return self
        return KELVIN if self.size == 1 else replace(unit("[degR]"), delta=True)

    def conversion(self, other: Unit) -> tuple[float, float]:
        """Return `factor` and `offset` of the values in another unit: `value * factor + offset`.

        Raises `NotConvertible`.
        """
        if not self.is_like(other):
            raise NotConvertible(f"{self.shown} can't be converted to {other.shown}")
        if self.delta and other.zero is not None:
            raise DifferenceOfTemperatures(f"a difference of temperatures has no {other.text}; write unit: K")
        factor = Fraction(1) if _close(self.size, other.size) else self.size / other.size
        offset = ((self.zero or Fraction(0)) - (other.zero or Fraction(0))) / other.size
        if self.delta or self.zero is None is other.zero:
            offset = Fraction(0)
        return float(factor), float(offset)


def _close(one: Fraction, other: Fraction) -> bool:
    return one == other or math.isclose(one, other, rel_tol=1e-9)


def _merged(powers: object) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for base, n in powers:  # type: ignore[attr-defined] # pairs
        found[base] = found.get(base, 0) + n
    if any(abs(n) > MOST_EXPONENT for n in found.values()):
        raise ValueError(f"a unit has a power above {MOST_EXPONENT}")
    return tuple(sorted((base, n) for base, n in found.items() if n))


def _made(text: str, one: Unit, other: Unit, sign: int) -> Unit:
    powers = _merged((*one.powers, *((base, sign * n) for base, n in other.powers)))
    size = one.size * other.size if sign > 0 else one.size / other.size
    return Unit("" if not powers and size == 1 and not _ANNOTATION.search(text) else text, powers, size)


def _product(one: str, other: str) -> str:
    return f"{one}.{_whole(other)}" if one and other else one or other


def _quotient(one: str, other: str) -> str:
    return f"{one}/{_whole(other)}" if other else one


def _whole(text: str) -> str:
    return f"({text})" if "/" in text or "." in text else text


def _in_bases(powers: tuple[tuple[str, int], ...], size: Fraction) -> str:
    """Return a code in base units, empty if the size needs a factor that no code has."""
    text = ".".join(f"{base}{n if n != 1 else ''}" for base, n in powers)
    if size == 1:
        return text
    power = round(math.log10(size))
    return f"10*{power}.{text}" if text and _close(size, Fraction(10) ** power) else ""


@lru_cache(maxsize=2000)
def unit(text: str) -> Unit:
    """Return the unit of a UCUM code that `check_unit` let through. Raises `ValueError` for powers beyond reason."""
    if not text:
        return NUMBER
    found, at = _term(text, 1 if text.startswith("/") else 0, inverse=text.startswith("/"))
    if at != len(text):
        raise ValueError(f"{text!r} is not a UCUM unit")
    return replace(found, text=text)


def _term(text: str, at: int, *, inverse: bool = False) -> tuple[Unit, int]:
    whole, at = _component(text, at)
    single = not inverse
    if inverse:
        whole = NUMBER.over(replace(whole, note=""))
    while at < len(text) and text[at] in "./":
        sign, single = text[at], False
        other, at = _component(text, at + 1)
        whole = _made("", whole, other, 1 if sign == "." else -1)
    return (whole if single else replace(whole, note="", zero=None)), at


def _component(text: str, at: int) -> tuple[Unit, int]:
    if text[at : at + 1] == "(":
        inner, at = _term(text, at + 1)
        return _raised(inner, text, at + 1)
    if match := _ANNOTATION.match(text, at):
        return Unit(note=match[1]), match.end()
    if match := _FACTOR.match(text, at):
        size = Fraction(10) ** int(match[1]) if match[1] else Fraction(match[2])
        found, at = Unit(size=size), match.end()
    elif match := _SYMBOL.match(text, at):
        found, at = _raised(_symbol(match[0]), text, match.end())
    else:
        raise ValueError(f"{text!r} is not a UCUM unit")
    note = _ANNOTATION.match(text, at)
    return (found, at) if note is None else (replace(found, note=note[1]), note.end())


def _raised(base: Unit, text: str, at: int) -> tuple[Unit, int]:
    match = _EXPONENT.match(text, at)
    return (base, at) if match is None else (base.power(int(match[0])), match.end())


@lru_cache(maxsize=1000)
def _symbol(symbol: str) -> Unit:
    if (known := _plain(symbol)) is not None:
        return known
    for prefix in sorted(PREFIXES, key=len, reverse=True):
        if symbol.startswith(prefix) and (base := _plain(symbol[len(prefix) :])) is not None:
            return Unit(symbol, base.powers, base.size * _SIZES[prefix], base.zero)
    return Unit(symbol, ((symbol, 1),))


def _plain(symbol: str) -> Unit | None:
    if symbol in _BASES:
        return Unit(symbol, ((symbol, 1),))
    if symbol in _SCALES:
        size, zero = _SCALES[symbol]
        return Unit(symbol, (("K", 1),), size, zero)
    if symbol not in _DEFINED:
        return None
    number, blank, definition = _DEFINED[symbol].rpartition(" ")
    base = unit(definition)
    return Unit(symbol, base.powers, base.size * (Fraction(number) if blank else 1))


NUMBER = Unit()
"""A number without a unit."""

KELVIN = Unit("K", (("K", 1),), delta=True)
"""The unit of a difference of temperatures."""
