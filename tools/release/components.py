"""The packages that a gateway consists of, as their wheels describe them: licences, dependencies, files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.parser import Parser
from typing import TYPE_CHECKING
from zipfile import ZipFile

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import Message
    from pathlib import Path

_LICENCE_FILE = re.compile(r"[^/]+\.dist-info/(?:.*/)?(?:licen[cs]e|copying|notice)[^/]*", re.IGNORECASE)

_LONGEST = 100
"""Characters of a licence's name; some packages write the whole text there."""

KNOWN = {
    "aiomqtt": "BSD-3-Clause",
    "aiosqlite": "MIT",
    "asyncua": "LGPL-3.0-or-later",
    "influxdb-client": "MIT",
    "paho-mqtt": "EPL-2.0 OR BSD-3-Clause",
    "pyserial": "BSD-3-Clause",
    "sortedcontainers": "Apache-2.0",
}
"""SPDX expressions of packages whose metadata says it in another form."""


@dataclass
class Component:
    """A package: its name and version, licence, page, direct dependencies, licence texts by file, and wheels."""

    name: str
    version: str
    licence: str
    page: str
    requires: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    wheels: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The package URL (purl) of the component."""
        return f"pkg:pypi/{self.name}@{self.version}"


def components(wheels: Iterable[Path], extras: Iterable[str] = ()) -> list[Component]:
    """Return the components of wheels, by name; several wheels of one version are one component.

    `extras` are those of Lineside that are installed. A dependency that no wheel is for is left out: it is for
    another system.
    """
    found: dict[str, Component] = {}
    for wheel in wheels:
        name, number, *_ = parse_wheel_filename(wheel.name)
        if name in found:
            if wheel.name not in {one.name for one in found[name].wheels}:
                found[name].wheels.append(wheel)
        else:
            found[name] = _read(wheel, str(name), str(number), extras)
    for component in found.values():
        component.requires = [name for name in component.requires if name in found]
    return [found[name] for name in sorted(found)]


def _read(wheel: Path, name: str, version: str, extras: Iterable[str]) -> Component:
    with ZipFile(wheel) as archive:
        names = sorted(archive.namelist())
        metadata = next(one for one in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", one))
        head = Parser().parsestr(archive.read(metadata).decode())
        texts = {
            one.partition("/")[2]: archive.read(one).decode(errors="replace")
            for one in names
            if _LICENCE_FILE.fullmatch(one)
        }
    return Component(name, version, _licence(name, head), _page(head), _requires(head, extras), texts, [wheel])


def _licence(name: str, head: Message) -> str:
    """Return the licence of a package: an SPDX expression if it says one, else its own words."""
    classifiers = [
        one.rpartition(" :: ")[2] for one in head.get_all("Classifier", []) if one.startswith("License ::")
    ]
    written = (head.get("License") or "").strip().splitlines()
    named = written[0] if len(written) == 1 and len(written[0]) <= _LONGEST else ""
    return KNOWN.get(name) or head.get("License-Expression") or named or " OR ".join(classifiers) or "not stated"


def _page(head: Message) -> str:
    pages = dict(one.split(", ", 1) for one in head.get_all("Project-URL", []) if ", " in one)
    wanted = ("homepage", "source", "repository", "source code", "github")
    by_name = {name.lower(): url for name, url in pages.items()}
    return head.get("Home-page") or next((by_name[name] for name in wanted if name in by_name), "")


def _requires(head: Message, extras: Iterable[str]) -> list[str]:
    names = set()
    for line in head.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        environments = [dict(default_environment(), extra=extra) for extra in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(one) for one in environments):
            names.add(canonicalize_name(requirement.name))
    return sorted(names)
