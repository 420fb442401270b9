#!/usr/bin/env python3
"""Draw the zones and conduits of a plant (IEC 62443-3-2) for docs/security.md, as an SVG for light and dark pages.

tools/zones.py            write docs/pictures/zones.svg
tools/zones.py --check    exit 1 if the file differs from what this script draws

An arrow begins at the side that opens the connection.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent

PICTURE = ROOT / "docs" / "pictures" / "zones.svg"

WIDTH, HEIGHT = 1200, 660

LINE = 17
"""Pixels from one line of text to the next."""

STYLE = """
  svg { --page: #ffffff; --text: #1c2733; --quiet: #4a5866; --zone: #f1f5f9; --edge: #64748b; --part: #ffffff;
        --safe: #0b6b3a; --open: #a33a00; }
  @media (prefers-color-scheme: dark) {
    svg { --page: #10161d; --text: #e7edf3; --quiet: #b3c0cc; --zone: #1a232d; --edge: #8496a8; --part: #26323f;
          --safe: #5fd39a; --open: #ffab70; } }
  text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: var(--text); }
  .name { font-weight: 600; font-size: 15px; }
  .quiet { fill: var(--quiet); font-size: 12px; }
  .page { fill: var(--page); }
  .zone { fill: var(--zone); stroke: var(--edge); stroke-width: 1.5; stroke-dasharray: 7 4; }
  .part { fill: var(--part); stroke: var(--edge); }
  .safe { stroke: var(--safe); }
  .open { stroke: var(--open); stroke-dasharray: 3 4; }
  .safe, .open { fill: none; stroke-width: 2.2; }
  text.safe { fill: var(--safe); stroke: none; font-weight: 600; }
  text.open { fill: var(--open); stroke: none; font-weight: 600; }
  #to-safe path { fill: var(--safe); }
  #to-open path { fill: var(--open); }
"""


class Zone(NamedTuple):
    """A zone: its place and size in pixels, its name, and the line below it."""

    x: int
    y: int
    width: int
    height: int
    name: str
    below: str


class Part(NamedTuple):
    """Something in a zone: its place and size in pixels, and its lines of text, the first of them the name."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]


class Conduit(NamedTuple):
    """A way between two zones: the corners of its line, and the place and lines of its text, its number first.

    `protected` is whether the product encrypts it, or refuses to use it readable without a person's word.
    """

    corners: tuple[tuple[int, int], ...]
    text: tuple[int, int]
    lines: tuple[str, ...]
    protected: bool = True


ZONES = (
    Zone(20, 50, 230, 400, "Z1 Machines", "one zone a line"),
    Zone(460, 50, 240, 400, "Z2 Edge box", "beside the line"),
    Zone(890, 50, 290, 215, "Z3 Plant server", "broker and store"),
    Zone(890, 300, 290, 340, "Z4 Plant IT and office", "people and their services"),
    Zone(20, 490, 680, 150, "Z5 Maintenance", "who installs, configures and repairs"),
)

PARTS = (
    Part(45, 110, 180, 84, ("Modbus devices", "no identity,", "no protection of their own")),
    Part(45, 214, 180, 66, ("Modbus over TLS", "certificates")),
    Part(45, 300, 180, 66, ("OPC UA servers", "certificates, users")),
    Part(45, 386, 180, 46, ("devices that dial in",)),
    Part(485, 110, 190, 104, ("gateway", "policy, spool, ledger", "can sign its records", "no open port by default")),
    Part(485, 250, 190, 84, ("page", "users, sessions, TLS", "loopback by default")),
    Part(485, 370, 190, 62, ("audit log", "hash chain, signatures")),
    Part(915, 110, 240, 60, ("broker", "rights by lineside acl")),
    Part(915, 190, 110, 60, ("ingest", "checks, stores")),
    Part(1065, 190, 90, 60, ("store", "own tokens")),
    Part(915, 360, 240, 50, ("browsers", "viewer, operator, engineer, admin")),
    Part(915, 425, 240, 50, ("identity provider", "OpenID Connect")),
    Part(915, 490, 240, 50, ("SIEM", "copies of the audit log")),
    Part(915, 555, 240, 66, ("monitoring", "Prometheus behind a proxy,", "or an agent on the box")),
    Part(45, 550, 190, 66, ("signers", "review and sign the", "configuration; keys stay here")),
    Part(265, 550, 190, 66, ("person at the box", "an account of the", "operating system")),
    Part(485, 550, 190, 66, ("supplier", "packages, checksums,", "bill of materials")),
)

CONDUITS = (
    Conduit(
        ((485, 140), (225, 140)),
        (262, 98),
        ("C1 Modbus 502, serial", "readable: a network of", "its own"),
        protected=False,
    ),
    Conduit(((485, 165), (420, 165), (420, 240), (225, 240)), (262, 232), ("C2 Modbus/TLS 802",)),
    Conduit(((485, 185), (434, 185), (434, 330), (225, 330)), (262, 304), ("C3 OPC UA 4840", "signed, encrypted")),
    Conduit(((225, 409), (448, 409), (448, 203), (485, 203)), (262, 401), ("C4 dial-in, if set",), protected=False),
    Conduit(((675, 140), (915, 140)), (712, 98), ("C5 MQTT/TLS 8883", "user or certificate,", "signed if set")),
    Conduit(((970, 190), (970, 170)), (978, 185), ("C6",)),
    Conduit(((1025, 220), (1065, 220)), (1030, 213), ("C7",)),
    Conduit(((675, 265), (870, 265), (870, 160), (915, 160)), (712, 242), ("C8 MQTT/TLS, HTTPS", "broker and store")),
    Conduit(((915, 385), (850, 385), (850, 290), (675, 290)), (712, 284), ("C9 HTTPS: sign-in",)),
    Conduit(((675, 315), (830, 315), (830, 450), (915, 450)), (712, 309), ("C10 HTTPS 443",)),
    Conduit(((675, 400), (730, 400), (730, 515), (915, 515)), (740, 509), ("C11 syslog/TLS 6514",)),
    Conduit(((360, 550), (360, 520), (540, 520), (540, 450)), (370, 513), ("C12 SSH or console",), protected=False),
    Conduit(((620, 550), (620, 450)), (628, 513), ("C13",), protected=False),
)


def text(x: int, y: int, content: str, kind: str = "") -> str:
    """Return a line of text."""
    return f'  <text x="{x}" y="{y}"{f" class={kind!r}" if kind else ""}>{escape(content)}</text>'.replace("'", '"')


def draw() -> str:
    """Return the picture, as an SVG."""
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title about">',
        '  <title id="title">Zones and conduits of a plant with Lineside</title>',
        '  <desc id="about">The table below the picture in docs/security.md has the same content as text.</desc>',
        f"  <style>{STYLE}  </style>",
        "  <defs>",
    ]
    arrow = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="11" markerHeight="11" markerUnits="userSpaceOnUse"'
    lines += [
        f'    <marker id="to-{kind}" {arrow} orient="auto"><path d="M0 0 8 4 0 8z"/></marker>'
        for kind in ("safe", "open")
    ]
    lines += ["  </defs>", f'  <rect class="page" width="{WIDTH}" height="{HEIGHT}"/>']
    lines += [text(20, 28, "Zones and conduits", "name")]
    for kind, x, meaning in (("safe", 400, "protected by the product"), ("open", 660, "protected by the plant")):
        lines += [
            f'  <path class="{kind}" d="M{x} 24 h46" marker-end="url(#to-{kind})"/>',
            text(x + 58, 28, meaning),
        ]
    for zone in ZONES:
        lines += [
            f'  <rect class="zone" x="{zone.x}" y="{zone.y}" width="{zone.width}" height="{zone.height}" rx="8"/>',
            text(zone.x + 14, zone.y + 24, zone.name, "name"),
            text(zone.x + 14, zone.y + 42, zone.below, "quiet"),
        ]
    for part in PARTS:
        lines += [
            f'  <rect class="part" x="{part.x}" y="{part.y}" width="{part.width}" height="{part.height}" rx="5"/>'
        ]
        lines += [
            text(part.x + 12, part.y + 22 + n * LINE, content, "quiet" if n else "")
            for n, content in enumerate(part.lines)
        ]
    for conduit in CONDUITS:
        kind = "safe" if conduit.protected else "open"
        path = " L".join(f"{x} {y}" for x, y in conduit.corners)
        lines += [f'  <path class="{kind}" d="M{path}" marker-end="url(#to-{kind})"/>']
        x, y = conduit.text
        lines += [text(x, y + n * LINE, content, "quiet" if n else kind) for n, content in enumerate(conduit.lines)]
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """Write the picture, or compare it."""
    drawn = draw()
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(drawn, encoding="utf-8")
        return 0
    if PICTURE.read_text(encoding="utf-8") == drawn:
        return 0
    print(f"{PICTURE.relative_to(ROOT)} differs: run tools/zones.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
