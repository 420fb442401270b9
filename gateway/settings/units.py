"""Units, as UCUM writes them: https://ucum.org/ucum, case sensitive.

The check covers the grammar (clauses 3 to 10) and every symbol: the tables of the base, derived,
customary and most special units. Two symbols are added that UCUM lacks and machines need: `r`, a revolution
(ISO 80000-3), and `var`, reactive power (ISO 80000-6). Counted things are in braces, as in `{part}/h`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache

PREFIXES = (*"YZEPTGMkhdcmunpfazy", "da", "Ki", "Mi", "Gi", "Ti")
"""Prefixes of metric units (clause 27)."""

_METRIC = """
    m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc B[SPL] B[V] B[mV]
    B[uV] B[10.nV] B[W] B[kW] B Np cal cal_th cal_IT cal_m cal_[15] cal_[20] [Cal] bit By Bd kat U [iU] [IU]
    st mho G Gb Oe Mx
    Ky dyn erg P St Lmb ph sb Bi Gal Ci R RAD REM eq osm g% m[H2O] m[Hg] tex gf [car_m] [g] att [arb'U] [pH] var b
"""

METRIC = frozenset(_METRIC.split())
"""Units that take prefixes."""

_PLAIN = """
    % [ppth] [ppm] [ppb] [pptr] [pi] min h d a a_t a_j a_g wk mo mo_s mo_j mo_g deg ' '' gon circ sph r AU atm
    [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [mil_i] [sin_i] [sft_i] [syd_i] [cin_i] [cft_i] [cyd_i] [bf_i]
    [cr_i] [hd_i] [in_us] [ft_us] [yd_us] [mi_us] [acr_us] [sct] [smi_us] [in_br] [ft_br] [yd_br] [mi_br] [acr_br]
    [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [cup_us] [tbs_us] [tsp_us] [gal_wi] [pk_us] [bu_us]
    [gal_br] [qt_br] [pt_br] [foz_br] [gr] [lb_av] [oz_av] [dr_av] [scwt_av] [lcwt_av] [ston_av] [lton_av] [stone_av]
    [lb_tr] [oz_tr] [pwt_tr] [lbf_av] [psi] [in_i'H2O] [in_i'Hg] [degF] [degR] [degRe] [Btu] [Btu_IT]
    [Btu_th] [Btu_39]
    [Btu_59] [Btu_60] [HP] [c] [h] [k] [eps_0] [mu_0] [e] [m_e] [m_p] [G] [ly] [cml_i] [mclo] [p'diop] [S] [Ch] [den]
    [drp] [pouce] [ligne] [pnt] [pca] [NTU] [FNU] [diop] bit_s [m/s2/Hz^0.5] [CFU] [pfu] [TCID_50]
"""

PLAIN = frozenset(_PLAIN.split())
"""Units that take no prefix."""

USUAL = {
    "\u00b0C": "Cel", "\u2103": "Cel", "degC": "Cel", "deg C": "Cel", "celsius": "Cel", "Celsius": "Cel",
    "\u00b0F": "[degF]", "degF": "[degF]", "\u00b0": "deg", "rpm": "r/min", "RPM": "r/min", "U/min": "r/min",
    "rev/min": "r/min", "Nm": "N.m", "kNm": "kN.m", "Wh": "W.h", "kWh": "kW.h", "MWh": "MW.h", "Ah": "A.h",
    "VA": "V.A", "kVA": "kV.A", "VAr": "var", "VAR": "var", "kVAr": "kvar", "kVAR": "kvar", "ppm": "[ppm]",
    "ppb": "[ppb]",
    "psi": "[psi]", "PSI": "[psi]", "\u03a9": "Ohm", "ohm": "Ohm", "sec": "s", "secs": "s", "hr": "h", "hrs": "h",
    "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "wk", "inch": "[in_i]", "in": "[in_i]",
    "ft": "[ft_i]", "lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]", "mmHg": "mm[Hg]", "mmH2O": "mm[H2O]",
    "bara": "bar{abs}",
    "barg": "bar{gauge}", "bar(g)": "bar{gauge}", "gal": "[gal_us]", "hp": "[HP]", "byte": "By", "pH": "[pH]",
    "pcs": "{piece}", "pc.": "{piece}", "Stk": "{piece}", "Stk.": "{piece}", "Stck": "{piece}",
    "ea": "{piece}", "piece": "{piece}", "pieces": "{piece}", "parts": "{part}", "part": "{part}",
    "cycles": "{cycle}",
    "pce": "{piece}", "pcs.": "{piece}", "pc(s)": "{piece}", "each": "{piece}", "unit": "{unit}", "units": "{unit}",
    "St": "{piece}", "St.": "{piece}", "St\u00fcck": "{piece}", "stk": "{piece}", "STK": "{piece}", "PCS": "{piece}",
    "EA": "{piece}", "Teile": "{part}", "szt": "{piece}", "szt.": "{piece}", "pz": "{piece}", "pzs": "{piece}",
    "\u4e2a": "{piece}", "\u4ef6": "{piece}", "\u53f0": "{piece}", "\u6b21": "{cycle}",
    "count": "{count}", "counts": "{count}", "cnt": "{count}", "cycle": "{cycle}", "strokes": "{stroke}",
    "rev": "r", "revs": "r", "upm": "r/min", "UPM": "r/min", "Umdr/min": "r/min", "U/s": "r/s",
    "mins": "min", "Sek": "s", "Std": "h", "msec": "ms", "degc": "Cel", "DegC": "Cel", "Deg C": "Cel", "deg.C": "Cel",
    "oC": "Cel", "C\u00b0": "Cel", "GradC": "Cel", "Grad C": "Cel", "degf": "[degF]", "deg F": "[degF]",
    "Fahrenheit": "[degF]", "fahrenheit": "[degF]", "Kelvin": "K", "kelvin": "K",
    "kpa": "kPa", "Kpa": "kPa", "KPa": "kPa", "KPA": "kPa", "Mpa": "MPa", "mpa": "MPa", "MPA": "MPa",
    "kw": "kW", "KW": "kW", "Kw": "kW", "kwh": "kW.h", "KWH": "kW.h", "KWh": "kW.h", "Kwh": "kW.h", "mwh": "MW.h",
    "KG": "kg", "Kg": "kg", "KN": "kN", "Kn": "kN", "hz": "Hz", "HZ": "Hz", "khz": "kHz", "KHz": "kHz",
    "amp": "A", "amps": "A", "Amp": "A", "Amps": "A", "volt": "V", "volts": "V", "Volt": "V", "VAC": "V", "VDC": "V",
    "Vac": "V", "Vdc": "V", "MVA": "MV.A", "kVAh": "kV.A.h", "varh": "var.h", "kvarh": "kvar.h", "kVArh": "kvar.h",
    "psig": "[psi]{gauge}", "psia": "[psi]{abs}", "inHg": "[in_i'Hg]", "inH2O": "[in_i'H2O]", "inWC": "[in_i'H2O]",
    "mbar(a)": "mbar{abs}", "bar(a)": "bar{abs}", "mbarg": "mbar{gauge}", "mbara": "mbar{abs}",
    "Nm3": "m3{norm}", "Sm3": "m3{standard}", "Nl": "l{norm}", "Nl/min": "l{norm}/min", "NL": "l{norm}",
    "%rH": "%{RH}", "% RH": "%{RH}", "%rF": "%{RH}", "% rF": "%{RH}", "%r.F.": "%{RH}", "Prozent": "%", "pct": "%",
    "kts": "[kn_i]", "mph": "[mi_i]/h", "kmh": "km/h", "kph": "km/h", "to": "t", "to/h": "t/h", "lpm": "l/min",
    "LPM": "l/min", "scfm": "[cft_i]/min{standard}",
    "cps": "Hz", "gpm": "[gal_us]/min", "cfm": "[cft_i]/min", "%RH": "%{RH}", "percent": "%", "m/sec": "m/s",
    "l/hr": "l/h", "m3/hr": "m3/h", "dBA": "dB{A}", "dB(A)": "dB{A}", "dBm": "dB{mW}",
}  # fmt: skip
"""How units are often written, and their UCUM codes."""

NONE = frozenset(
    {"-", "--", "[-]", "bool", "BOOL", "none", "None", "n/a", "N/A", "unitless", "dimensionless", "no unit"}
)
"""What people write for no unit."""

LOOKALIKES = {
    "C": "coulomb in UCUM; for degrees Celsius write 'Cel'",
    "F": "farad in UCUM; for degrees Fahrenheit write '[degF]'",
    "U/min": "enzyme units per minute in UCUM; for revolutions per minute write 'r/min'",
    "pc": "parsec in UCUM; for pieces write '{piece}'",
    "a": "year in UCUM; for ampere write 'A'",
}
"""Codes that UCUM has and that are usually written for something else: the meaning, and the likely code."""

_SYMBOL = re.compile(r"(?:[^\d+\-./(){}\[\]\s]|\[[^\[\]\s]+\])(?:[^\d+\-./(){}\[\]\s]|\[[^\[\]\s]+\])*")
_FACTOR = re.compile(r"10[*^][+-]?\d+|\d+")
_EXPONENT = re.compile(r"[+-]?\d+")
_ANNOTATION = re.compile(r"\{[\x21-\x7a|~]*\}")
_SUPERSCRIPT = str.maketrans("\u00b2\u00b3\u00b5\u03bc\u00b7", "23uu.", "^")


class _Wrong(Exception):
    """The text is not a UCUM code from here on."""


def check_unit(written: str) -> str:
    """Let through a UCUM code, or nothing. Raises `ValueError` with what would be right."""
    problem = _problem(written)
    if problem:
        raise ValueError(problem)
    return written


@lru_cache(maxsize=1000)
def _problem(written: str) -> str:
    if not written or is_unit(written):
        return ""
    if written in NONE:
        return f"{written!r} is not a unit; leave unit out for a value that has none"
    if (usual := usual_unit(written)) is not None:
        quotes = '"' if usual.startswith(("{", "[", "%")) else "'"
        return f"{written!r} is not a UCUM unit; write {quotes}{usual}{quotes}"
    known = sorted(METRIC | PLAIN)
    same = [unit for unit in known if unit.lower() == written.lower()]
    if len(same) == 1:
        return f"{written!r} is not a UCUM unit; write {same[0]!r}"
    close = same or get_close_matches(written, known, n=1)
    hint = f"did you mean {close[0]!r}? Else write" if close else "write"
    return (
        f"{written!r} is not a UCUM unit; {hint} one such as Cel, bar, kW.h, r/min, m3/h or %; write a counted "
        "thing in braces, as in '{part}'"
    )


def usual_unit(written: str) -> str | None:
    """Return the UCUM code of a unit that is often written like this, None if no code is certain."""
    if written in USUAL:
        return USUAL[written]
    plain = written.translate(_SUPERSCRIPT).replace(" ", "")
    for code in (plain, "".join(USUAL.get(part, part) for part in re.split(r"([./])", plain))):
        if is_unit(code):
            return code
    return None


def is_unit(written: str) -> bool:
    """Return whether this is a UCUM code."""
    try:
        return _term(written, 1 if written.startswith("/") else 0, 0) == len(written)
    except _Wrong:
        return False


def _term(text: str, at: int, depth: int) -> int:
    """Read components with `.` and `/` between them; returns where they end."""
    at = _component(text, at, depth)
    while at < len(text) and text[at] in "./":
        at = _component(text, at + 1, depth)
    return at


def _component(text: str, at: int, depth: int) -> int:
    if at < len(text) and text[at] == "(":
        if depth > 10:  # noqa: PLR2004 - nobody's unit
            raise _Wrong
        end = _term(text, at + 1, depth + 1)
        if text[end : end + 1] != ")":
            raise _Wrong
        return _after(_EXPONENT, text, end + 1)
    if match := _ANNOTATION.match(text, at):
        return match.end()
    if match := _FACTOR.match(text, at):
        return _after(_ANNOTATION, text, match.end())
    match = _SYMBOL.match(text, at)
    if not match or not _exists(match[0]):
        raise _Wrong
    return _after(_ANNOTATION, text, _after(_EXPONENT, text, match.end()))


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _exists(symbol: str) -> bool:
    if symbol in METRIC or symbol in PLAIN:
        return True
    return any(symbol.startswith(prefix) and symbol[len(prefix) :] in METRIC for prefix in PREFIXES)
