"""Machine types: found, read once, and turned into points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import drivers
from drivers.base import Source
from gateway.settings.document import read_document, right_format
from gateway.settings.explain import usable, validate
from gateway.settings.lines import TemplateSection
from gateway.settings.point import Point
from gateway.settings.problems import ConfigurationError, unknown

if TYPE_CHECKING:
    from drivers.base import Protocol
    from gateway.settings.document import Document, Step
    from gateway.settings.problems import Problem


def bundled_config() -> Path:
    """Return the folder of the configurations that come with Lineside."""
    package = Path(__file__).parent.parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "config"


@dataclass(frozen=True, slots=True)
class Template:
    """A machine type. It is ready to be given to machines where there are no problems."""

    protocol: Protocol
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """A point's keys, and the document to blame for each."""

    keys: dict[str, Any]
    blame: dict[str, tuple[Document, tuple[Step, ...]]]
    document: Document


class Templates:
    """The templates that a factory's file names, each read once.

    They stand in `machines/` beside the file, or in the folder that its key `templates` names; those that
    come with Lineside are found after them.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._documents: list[Document] = []
        self._own_problems: list[Problem] = []
        self._templates: dict[str, Template | None] = {}
        self._written: dict[str, tuple[Protocol, dict[str, _Written]] | None] = {}
        written = document.data.get("templates")
        own = document.file.parent / (written if isinstance(written, str) else "machines")
        self._folders = (own, bundled_config() / "machines")
        if written is not None and not isinstance(written, str):
            document.report(("templates",), "write the folder of the templates")
        elif written is not None and not own.is_dir():
            document.report(("templates",), f"there is no folder {own}")

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong in the templates read so far."""
        return self._own_problems + [problem for document in self._documents for problem in document.problems]

    def get(self, name: str, path: tuple[Step, ...]) -> Template | None:
        """Return a template, or None after reporting why there is none."""
        written = self._read(name, self._document, path, ())
        if name not in self._templates:
            self._templates[name] = None if written is None else _template(*written)
        return self._templates[name]

    def _read(
        self, name: str, asker: Document, path: tuple[Step, ...], chain: tuple[str, ...]
    ) -> tuple[Protocol, dict[str, _Written]] | None:
        """Return protocol and points as written, those of the extended template included."""
        if name in chain:
            asker.report(path, f"extends itself: {' -> '.join((*chain, name))}")
            return None
        if name in self._written:
            return self._written[name]
        file = next((f for folder in self._folders if (f := folder / f"{name}.yaml").is_file()), None)
        if file is None:
            there = {found.stem for folder in self._folders for found in folder.glob("*.yaml")}
            asker.report(path, unknown("template", name, there))
            return None
        self._written[name] = self._load(file, (*chain, name))
        return self._written[name]

    def _load(self, file: Path, chain: tuple[str, ...]) -> tuple[Protocol, dict[str, _Written]] | None:
        try:
            document = read_document(file)
        except ConfigurationError as error:
            self._own_problems += error.problems
            return None
        self._documents.append(document)
        section = None
        if right_format(document):
            # what is right of a wrong section is looked at, so that all is told at once
            section = validate(TemplateSection, document, document.data, ()) or usable(TemplateSection, document.data)
        if section is None:
            return None
        if section.protocol not in drivers.known():
            document.report(("protocol",), unknown("protocol", section.protocol, drivers.known()))
            return None
        protocol = drivers.protocol(section.protocol)
        points: dict[str, _Written] = {}
        if section.extends is not None:
            base = self._read(section.extends, document, ("extends",), chain)
            if base is None:
                return None
            if base[0] is not protocol:
                document.report(("extends",), f"{section.extends} is of protocol {base[0].name}")
                return None
            points |= base[1]
        for name, keys in section.points.items():
            defaults = protocol.source.fitting(section.defaults, keys)
            points[name] = _merge(document, points.get(name), defaults, name, keys)
        return protocol, points


def _merge(
    document: Document, base: _Written | None, defaults: dict[str, Any], name: str, keys: dict[str, Any]
) -> _Written:
    """Lay a point's keys over those it had in the extended template, or over the defaults where it is new."""
    origin: tuple[Document, tuple[Step, ...]] = (document, ("defaults",))
    below = dict.fromkeys(defaults, origin) if base is None else base.blame
    under = defaults if base is None else base.keys
    blame = below | dict.fromkeys(keys, (document, ("points", name)))
    # null takes a default back
    merged = {key: value for key, value in (under | keys).items() if value is not None}
    return _Written(merged, blame, document)


def _template(protocol: Protocol, written: dict[str, _Written]) -> Template:
    """Build a template of the points that are right; for the others there are problems."""
    points: dict[str, Point] = {}
    for name, whole in written.items():
        for one, keys in protocol.source.expand(name, whole.keys).items():
            if one in points or (one != name and one in written):
                whole.document.report(("points", name), f"one of its elements is {one}, and there is another {one}")
                break
            point = _point(protocol, one, keys, whole, ("points", name))
            if point is None:
                break  # what is wrong with one element is wrong with all
            points[one] = point
    return Template(protocol, tuple(points.values()))


def _point(
    protocol: Protocol, name: str, keys: dict[str, Any], written: _Written, path: tuple[Step, ...]
) -> Point | None:
    """Build a point: what the protocol's source knows goes there, the rest is the point's own."""
    own = set(Point.model_fields) - {"name", "source"}
    theirs = set(protocol.source.model_fields)
    strange = sorted(set(written.blame) - own - theirs)
    for key in strange:
        document, above = written.blame[key]
        document.report((*above, key), unknown("key", key, own | theirs))
    source_keys = {k: keys[k] for k in keys if k in theirs}
    source = validate(protocol.source, written.document, source_keys, path, written.blame)
    mine = {"name": name, "source": source} | {k: keys[k] for k in keys if k in own}
    if source is None:
        # the point's own keys are looked at all the same, with a type that says nothing against any of them
        mine = {"type": "int" if "labels" in keys else "float"} | mine | {"source": Source()}
    point = validate(Point, written.document, mine, path, written.blame)
    return point if source is not None and not strange else None
