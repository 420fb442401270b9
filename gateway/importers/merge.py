"""Machines and templates of an import, merged into a factory that is there.

The text of the factory is changed where machines are added or replaced, and nowhere else: comments and the order of
keys stay. The result is loaded from a copy, and compared with the factory before, before any file is replaced.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.atomic_file import replace_file
from gateway.importers.build import Template, key_of
from gateway.importers.found import Options, free_name
from gateway.importers.yaml_text import Value, YamlText
from gateway.settings.document import read_document, read_text
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.serialize import dump, least
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.importers.build import Built
    from gateway.importers.build import Machine as NewMachine
    from gateway.settings.factory import Factory, Machine


class Choice(NamedTuple):
    """What happens to conflicts: `replace` the old with the new, `keep` the old, or neither: they are listed."""

    replace: bool = False
    keep: bool = False


@dataclass(slots=True)
class Merged:
    """The result of a merge: the texts of files that change or are new, and what became of each machine."""

    factory: Factory
    texts: dict[Path, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(file: Path, whole: Built, choice: Choice) -> Merged:
    """Return the changes of a factory by an import; with conflicts nothing of it may be written.

    Raises `ConfigurationError` if the factory is not valid before or after, and `ValueError` if its text can't be
    changed, or a machine would change that is not in the import.
    """
    return _Merge(file, whole, choice).merged()


def write(merged: Merged) -> None:
    """Write the files of a merge: templates first, the factory's main file last. Raises `OSError`."""
    main = merged.factory.file.resolve()
    for file in sorted(merged.texts, key=lambda one: one == main):
        mode = file.stat().st_mode if file.exists() else None
        replace_file(file, [merged.texts[file].encode()])
        if mode is not None:
            file.chmod(mode)


class _Merge:
    """One merge."""

    def __init__(self, file: Path, whole: Built, choice: Choice) -> None:
        self._factory = load_factory(file)
        self._whole = whole
        self._choice = choice
        self._merged = Merged(self._factory)
        self._there = {(one.path.line, one.path.machine): one for one in self._factory.machines}
        self._files = {one.path.line: one.place.document.file for one in self._factory.machines if one.place}
        self._areas = {one.path.line: one.path.area for one in self._factory.machines}
        self._texts: dict[Path, YamlText] = {}
        self._folder = file.parent / str(self._factory.written.get("templates", "machines"))
        self._templates: dict[str, tuple[Template, Path]] = {}
        self._changed: set[tuple[str, str]] = set()

    def merged(self) -> Merged:
        """Return the result."""
        machines = [machine for machine in self._whole.machines if self._is_wanted(machine)]
        names = self._named(machines)
        if self._merged.conflicts:
            return self._merged
        for machine in machines:
            machine.template = names[machine.template]
            self._write(machine)
            self._note_area(machine)
        self._merged.texts |= {file.resolve(): text.text for file, text in self._texts.items()}
        self._check()
        return self._merged

    def _is_wanted(self, machine: NewMachine) -> bool:
        """Return whether a machine is to be written; adds it to the result."""
        shown = f"{machine.line}/{machine.name}"
        old = self._there.get((machine.line, machine.name))
        if old is None:
            self._merged.added.append(shown)
            return True
        difference = _difference(old, machine)
        if not difference:
            self._merged.unchanged.append(shown)
        elif self._choice.keep:
            self._merged.kept.append(shown)
        elif old.place is None or old.path.machine != old.place.path[-1]:
            self._merged.conflicts.append(
                f"{shown} is one of the range {old.place.path[-1] if old.place else ''}: {difference}"
            )
        elif self._choice.replace:
            self._merged.replaced.append(shown)
            self._changed.add((machine.line, machine.name))
            return True
        else:
            self._merged.conflicts.append(f"{shown} is there: {difference}")
        return False

    def _named(self, machines: Sequence[NewMachine]) -> dict[str, str]:
        """Return the names that the templates of machines have in the factory; new files are added to the result."""
        own, bundled = _templates(self._folder), _templates(bundled_config() / "machines")
        known = bundled | own
        names: dict[str, str] = {}
        for name in dict.fromkeys(machine.template for machine in machines):
            template = self._whole.templates[name]
            points = read_text(template.text)["points"]  # as they are read again: labels have other keys
            same = [one for one, (there, _) in known.items() if there == Template(template.protocol, points)]
            if same:
                names[name] = name if name in same else same[0]
                continue
            chosen = name
            if name in known:
                users = sorted(key for key, one in self._there.items() if one.template == name)
                others = [key for key in users if key not in self._changed]
                if name in own and not (self._choice.replace or self._choice.keep) and users:
                    self._merged.conflicts.append(
                        f"template {name} is there with other points, for {_few([machine for _, machine in users])}"
                    )
                is_ours = name in own and name not in names.values()
                if not (is_ours and self._choice.replace and not others):
                    chosen = _free(name, known)
            names[name] = chosen
            file = self._folder / f"{chosen}.yaml"
            known[chosen] = own[chosen] = (Template(template.protocol, points), file)
            self._merged.texts[file.resolve()] = template.text
        return names

    def _write(self, machine: NewMachine) -> None:
        """Change the text of a file: add a machine, or replace it."""
        file = self._files.get(machine.line, self._factory.file)
        text = self._texts.get(file)
        if text is None:
            text = self._texts[file] = YamlText(file)
        machines = ("lines", machine.line, "machines")
        if (machine.line, machine.name) in self._changed:
            text.replace((*machines, machine.name), machine.name, machine.entry)
            return
        if machine.line in self._files:
            text.add(machines, key_of(machine.name), machine.entry)
            return
        entries: Value = {key_of(machine.name): machine.entry}
        line: Value = {"area": dump(machine.area, flow=True), "machines": entries}
        if self._factory.written.get("lines"):
            text.add(("lines",), key_of(machine.line), line)
        else:  # its lines are in other files
            text.add((), "lines", {key_of(machine.line): line})
        text.apply()
        self._files[machine.line] = file

    def _note_area(self, machine: NewMachine) -> None:
        """Note that a line is in another area than the import says; the default of an import says nothing."""
        there = self._areas.get(machine.line, machine.area)
        note = f"line {machine.line}: is in the area {there} there, not in {machine.area}"
        if there != machine.area != Options().area and note not in self._merged.notes:
            self._merged.notes.append(note)

    def _check(self) -> None:
        """Raise if the factory with the changes is not valid, or another machine would change with it."""
        with tempfile.TemporaryDirectory(prefix="lineside-import-") as made:
            after = load_factory(self._copy(Path(made)))
        now = {(one.path.line, one.path.machine): one for one in after.machines}
        new = {(machine.line, machine.name): machine for machine in self._whole.machines}
        for key, old in self._there.items():
            if key not in self._changed and now.get(key) != old:
                raise ValueError(f"the machine {'/'.join(key)} would change, and it is not in the import")
        if strange := now.keys() - self._there.keys() - new.keys():
            raise ValueError(f"the machine {'/'.join(min(strange))} would be added, and it is not in the import")
        for key in [*self._changed, *(new.keys() - self._there.keys())]:
            if key not in now or _difference(now[key], new[key]):
                raise ValueError(f"the machine {'/'.join(key)} would not be as it was imported")

    def _copy(self, folder: Path) -> Path:
        """Copy the files of the factory with the changes; returns its main file there."""
        home = self._factory.file.resolve().parent
        templates = self._folder.resolve()
        texts = dict(self._merged.texts)
        for file in self._factory.files:
            if file.resolve() not in texts and not file.resolve().is_relative_to(bundled_config().resolve()):
                texts[file.resolve()] = file.read_bytes().decode()
        main = self._factory.file.resolve()
        if not templates.is_relative_to(home):
            text = YamlText(main, texts[main])
            text.replace(("templates",), "templates", "machines-of-the-factory")
            text.apply()
            texts[main] = text.text
        for file, content in texts.items():
            if file.is_relative_to(home):
                copy = folder / file.relative_to(home)
            else:
                copy = folder / "machines-of-the-factory" / file.relative_to(templates)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(content, encoding="utf-8", newline="")
        return folder / main.relative_to(home)


def _templates(folder: Path) -> dict[str, tuple[Template | None, Path]]:
    """Return the templates of a folder; None for one that has more than points, which no import makes."""
    found: dict[str, tuple[Template | None, Path]] = {}
    for file in sorted(folder.glob("*.yaml")):
        template = None
        try:
            data = read_document(file).data
        except ConfigurationError:
            data = None
        if (
            isinstance(data, dict)
            and set(data) == {"format", "protocol", "points"}
            and isinstance(data["points"], dict)
        ):
            template = Template(str(data["protocol"]), data["points"])
        found[file.stem] = template, file
    return found


def _free(name: str, known: dict[str, tuple[Template | None, Path]]) -> str:
    number, free = 1, free_name(name)
    while free in known:
        number += 1
        free = f"{free_name(name)}-{number}"
    return free


def _difference(old: Machine, new: NewMachine) -> str:
    """Return how a machine differs from one that is imported, nothing if it is the same."""
    parts = []
    before = {point.name: least(point) for point in old.points}
    if added := new.least.keys() - before.keys():
        parts.append(f"it has no point {_few(sorted(added))}")
    if gone := before.keys() - new.least.keys():
        parts.append(f"it has the point {_few(sorted(gone))}, which the import has not")
    if changed := [name for name in new.least.keys() & before.keys() if before[name] != new.least[name]]:
        parts.append(f"its point {_few(sorted(changed))} differs")
    if old.connection != new.connection:
        parts.append("its connection differs")
    return ", ".join(parts)


def _few(names: Sequence[str]) -> str:
    shown = 3
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
