"""Translates engineering units of servers (Part 8, 5.6.3) to UCUM.

The number of a unit is its common code (UN/CEFACT Recommendation 20), a byte for each letter (Part 8, 5.6.3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncua import ua

NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"
"""The namespace URI of units whose number is a common code."""

_CODES = """
    1 C62 | % P1 | [ppm] 59 | [ppb] 61
    K KEL | Cel CEL | [degF] FAH | [degR] A48
    m MTR | mm MMT | cm CMT | dm DMT | km KMT | um 4H | nm C45 | [in_i] INH | [ft_i] FOT | [yd_i] YRD | [mi_i] SMI
    m2 MTK | mm2 MMK | cm2 CMK | km2 KMK | [in_i]2 INK | [ft_i]2 FTK
    m3 MTQ | mm3 MMQ | cm3 CMQ | dm3 DMQ | l LTR | ml MLT | cl CLT | hl HLT | [gal_us] GLL | [ft_i]3 FTQ | [in_i]3 INQ
    s SEC | ms C26 | us B98 | min MIN | h HUR | d DAY | wk WEE | mo MON | a ANN
    kg KGM | g GRM | mg MGM | ug MC | t TNE | [lb_av] LBR | [oz_av] ONZ
    m/s MTS | m/min 2X | km/h KMH | mm/s C16 | cm/s 2M | mm/min H81 | [ft_i]/min FR | [ft_i]/s FS | [mi_i]/h HM
    m/s2 MSK | [g] K40
    rad C81 | mrad C25 | deg DD | ' D61 | '' D62 | rad/s 2A | rad/s2 2B | deg/s E96 | r M44
    Hz HTZ | kHz KHZ | MHz MHZ | GHz A86 | r/min RPM | r/s RPS | /s C97 | /min C94 | /h H10
    N NEW | kN B47 | mN C20 | MN B73 | [lbf_av] C78 | N.m NU | kN.m B48 | mN.m D83 | N.cm F88 | N/m 4P | N/mm F47
    Pa PAL | hPa A97 | kPa KPA | MPa MPA | GPa A89 | mPa 74 | bar BAR | mbar MBR | [psi] PS | atm ATM | N/mm2 C56
    mm[Hg] HN | mm[H2O] HP | m[H2O] N23 | cm[H2O] H78
    J JOU | kJ KJO | MJ 3B | GJ GV | W.h WHR | kW.h KWH | MW.h MWH | GW.h GWH | cal_IT D70 | kcal_IT E14
    [Btu_IT] BTU
    W WTT | kW KWT | MW MAW | mW C31 | GW A90 | V.A D46 | kV.A KVA | var D44 | kvar KVR
    V VLT | mV 2Z | kV KVT | uV D82 | A AMP | mA 4K | uA B84 | kA B22 | A.h AMH | mA.h E09 | kvar.h K3
    Ohm OHM | kOhm B49 | MOhm B75 | mOhm E45 | S SIE | mS C27 | uS B99 | uS/cm G42 | mS/cm H61
    F FAR | uF 4O | nF C41 | pF 4T
    H 81 | mH C14 | uH B90 | T D33 | mT C29 | Wb WEB | C COU
    kg/m3 KMQ | g/cm3 23 | g/l GL | mg/l M1 | mg/m3 GP | kg/l B35 | g/m3 A93 | mol C34 | mol/l C38
    kg/s KGS | kg/min F31 | kg/h E93 | g/s F29 | g/min F28 | g/h F27 | t/h E18
    m3/s MQS | m3/h MQH | m3/min G53 | l/s G51 | l/min L2 | l/h E32 | ml/min 41 | cm3/min G49 | cm3/s 2J
    [gal_us]/min G2
    Pa.s C65 | mPa.s C24 | P 89 | cP C7 | m2/s S4 | mm2/s C17 | cSt 4C
    kg/m KL | kg/m2 28 | g/m2 GM | V/m D50 | W/m2 D54 | W/(m.K) D53 | J/(kg.K) B11 | kJ/kg B42
    kJ/(kg.K) B43 | J/g D95
    lx LUX | lm LUM | cd CDL | dB 2N | Bd J38 | bit A99 | By AD
    {piece} H87 | {piece} EA
"""
"""UCUM codes and common codes of units that machines use."""

_PAIRS = [tuple(pair.split()) for line in _CODES.splitlines() for pair in line.split("|") if pair.strip()]
UCUM = {int.from_bytes(code.encode(), "big"): unit for unit, code in _PAIRS}
"""Number of a unit -> UCUM."""


def ucum(unit: ua.EUInformation) -> str:
    """Return the UCUM code of a server's unit; empty for an unknown unit.

    A unit of another namespace is unknown, since its numbers have another meaning.
    """
    if unit.NamespaceUri not in {NAMESPACE, None, ""}:
        return ""
    return UCUM.get(unit.UnitId, "")
