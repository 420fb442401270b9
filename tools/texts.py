#!/usr/bin/env python3
"""Collect the texts of the page, and keep the catalogues of its languages complete.

tools/texts.py            add texts that are new to the catalogues, without a translation
tools/texts.py --check    exit 1 if a text is in no catalogue, has no translation, or one with other placeholders
tools/texts.py --prune    also remove texts that nothing uses any more

Texts are in the page's modules as t("..."), tn("...", "...", count) and mark("..."), and in Python as _("...").
An error for readers whose text is written without _ is a problem: it would be English for everybody.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "gateway" / "dashboard"

PLURAL_FORMS = {"de": "nplurals=2; plural=(n != 1);", "zh": "nplurals=1; plural=0;"}
"""The plural forms of each language (Unicode CLDR), as gettext writes them."""

_STRING = r'"((?:[^"\\\n]|\\.)*)"'

_CALL = re.compile(rf"(?<![\w.$])(?:(t|mark)\(\s*{_STRING}|(tn)\(\s*{_STRING}\s*,\s*{_STRING})")

_UNREADABLE = re.compile(r"(?<![\w.$])(?:t|tn|mark)\(\s*[`']")
"""A call whose text is a template or in single quotes."""

ERRORS = frozenset({"ReaderError", "HTTPException"})
"""The base classes of errors whose text is for readers; a class that is derived from one is found by its name."""

ANSWERS = frozenset({"error", "Response", "PlainTextResponse", "HTMLResponse", "JSONResponse"})
"""Functions and classes that answer a request; a text in their arguments is for readers."""

ERROR_KEYS = frozenset({"error", "problem", "problems"})
"""Keys of JSON whose text is for readers."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass
class Text:
    """A text of the page, its form for other numbers than one, and the files that have it."""

    text: str
    plural: str = ""
    files: set[str] = field(default_factory=set)


class Problems(Exception):
    """The texts can't be collected; each line names a file and a text."""


def calls_of_script(source: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a script, each with its plural. Raises `ValueError` for a text in other quotes."""
    if found := _UNREADABLE.search(source):
        line = source.count("\n", 0, found.start()) + 1
        raise ValueError(f'{line}: write the text in double quotes, as in t("...")')
    for match in _CALL.finditer(source):
        kind, one, counted, single, many = match.groups()
        if kind:
            yield _unquoted(one), ""
        elif counted:
            yield _unquoted(single), _unquoted(many)


def _unquoted(text: str) -> str:
    return str(json.loads(f'"{text}"'))


def calls_of_python(source: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a Python module. Raises `ValueError` for a text that is not written in the call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node.func) == "_" and node.args:
            argument = node.args[0]
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                raise ValueError(f'{node.lineno}: write the text in the call, as in _("...")')
            yield argument.value, ""


def errors_of(sources: Iterable[str]) -> frozenset[str]:
    """Return the names of all classes of errors whose text is for readers."""
    bases = {
        node.name: {_name(base) for base in node.bases}
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }
    found = set(ERRORS)
    while more := {name for name, own in bases.items() if name not in found and own & found}:
        found |= more
    return frozenset(found)


def untranslated(source: str, errors: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines of a Python module with a text for readers that is not in the catalogues, and the text."""
    tree = ast.parse(source)
    own = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in errors]
    inside = {id(call) for node in own for call in ast.walk(node) if _is_super_init(call)}
    for node in ast.walk(tree):
        places: list[ast.expr] = []
        if isinstance(node, ast.Call) and (_is_for_readers(node.func, errors) or id(node) in inside):
            places = node.args
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            places = [one for key, one in pairs if isinstance(key, ast.Constant) and key.value in ERROR_KEYS]
        for place in places:
            if _is_english(place):
                yield place.lineno, ast.unparse(place)


def _is_for_readers(called: ast.expr, errors: frozenset[str]) -> bool:
    """Return whether a call makes an error or an answer for readers; `log.error` does not."""
    return _name(called) in errors or (isinstance(called, ast.Name) and called.id in ANSWERS)


def _is_super_init(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__"


def _is_english(node: ast.expr) -> bool:
    """Return whether an expression is a text as it is written, or is put together of texts and values."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, str) and value != ""
        case ast.BinOp(left=one, right=other) | ast.IfExp(body=one, orelse=other):
            return _is_english(one) or _is_english(other)
        case ast.Call(func=ast.Attribute(value=text, attr="format" | "join")):
            return _is_english(text)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _name(node.func) == "str")


def _name(node: ast.expr) -> str:
    """Return the last part of a name: that of `module.name` is `name`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def collect(page: Path = PAGE) -> dict[str, Text]:
    """Return the texts of the page by their English text. Raises `Problems`."""
    found: dict[str, Text] = {}
    problems = []
    errors = errors_of(file.read_text(encoding="utf-8") for file in page.glob("**/*.py"))
    for file in sorted([*page.glob("static/js/**/*.js"), *page.glob("**/*.py")]):
        name = file.relative_to(page).as_posix()
        source = file.read_text(encoding="utf-8")
        try:
            calls = list(calls_of_script(source) if file.suffix == ".js" else calls_of_python(source))
        except (ValueError, SyntaxError) as error:
            problems.append(f"{name}:{error}")
            continue
        if file.suffix == ".py":
            problems += [
                f'{name}:{line}: a reader sees {written}; write it as _("...")'
                for line, written in untranslated(source, errors)
            ]
        for text, plural in calls:
            known = found.setdefault(text, Text(text, plural))
            known.files.add(name)
            if known.plural != plural:
                problems.append(f"{name}: {text!r} is used with and without a plural, or with two; write one of them")
    if problems:
        raise Problems("\n".join(problems))
    return found


def update(catalogue: polib.POFile, texts: dict[str, Text], *, prune: bool = False) -> None:
    """Add new texts to a catalogue, and sort it; translations are kept, also of texts that nothing uses now."""
    known = {entry.msgid: entry for entry in catalogue}
    for text in texts.values():
        entry = known.get(text.text)
        if entry is None:
            entry = known[text.text] = polib.POEntry(msgid=text.text)
            catalogue.append(entry)
        _fit(entry, text.plural, _forms_of(catalogue))
        entry.occurrences = [(name, "") for name in sorted(text.files)]
        entry.obsolete = 0
    for entry in list(catalogue):
        if entry.msgid not in texts:
            entry.occurrences = []
            if prune:
                catalogue.remove(entry)
    catalogue.sort(key=lambda entry: (entry.msgid.casefold(), entry.msgid))


def _fit(entry: polib.POEntry, plural: str, forms: int) -> None:
    """Give an entry the plural of its text; a translation moves to the forms, and back."""
    if plural and entry.msgid_plural != plural:
        entry.msgid_plural = plural
        entry.msgstr_plural = {
            at: entry.msgstr_plural.get(at, entry.msgstr if forms == 1 else "") for at in range(forms)
        }
        entry.msgstr = ""
    elif not plural and entry.msgid_plural:
        entry.msgstr = entry.msgstr_plural.get(max(entry.msgstr_plural, default=0), "")
        entry.msgid_plural, entry.msgstr_plural = "", {}


def _forms_of(catalogue: polib.POFile) -> int:
    found = re.search(r"nplurals=(\d+)", catalogue.metadata.get("Plural-Forms", ""))
    return int(found[1]) if found else 1


def problems_of(catalogue: polib.POFile, texts: dict[str, Text]) -> Iterator[str]:
    """Yield the problems of a catalogue; texts that nothing uses may be in it."""
    known = {entry.msgid: entry for entry in catalogue}
    for text in texts.values():
        entry = known.get(text.text)
        if entry is None:
            yield f"{text.text!r} ({', '.join(sorted(text.files))}) is missing; run tools/texts.py and translate it"
        elif entry.msgid_plural != text.plural:
            yield f"{text.text!r} needs the plural {text.plural!r}; run tools/texts.py"
    for entry in catalogue:
        if entry.fuzzy:
            yield f"{entry.msgid!r} is marked fuzzy; check its translation and remove the mark"
        yield from _problems_of_entry(entry, _forms_of(catalogue))


def _problems_of_entry(entry: polib.POEntry, forms: int) -> Iterator[str]:
    wanted = set(_PLACEHOLDER.findall(f"{entry.msgid} {entry.msgid_plural}"))
    translated = [entry.msgstr_plural.get(at, "") for at in range(forms)] if entry.msgid_plural else [entry.msgstr]
    for at, translation in enumerate(translated):
        if not translation:
            yield f"{entry.msgid!r} has no translation"
            continue
        found = set(_PLACEHOLDER.findall(translation))
        optional = {"count"} if entry.msgid_plural and forms > 1 and at == 0 else set()
        if not wanted - optional <= found <= wanted:
            yield f"{entry.msgid!r} has the placeholders {sorted(wanted)}, its translation {sorted(found)}"


def _catalogues() -> Iterable[tuple[str, polib.POFile, Path]]:
    for language, plural_forms in PLURAL_FORMS.items():
        file = PAGE / "texts" / f"{language}.po"
        catalogue = polib.pofile(str(file), wrapwidth=0) if file.exists() else polib.POFile(wrapwidth=0)
        catalogue.metadata = {
            "Content-Type": "text/plain; charset=UTF-8", "Content-Transfer-Encoding": "8bit", "Language": language,
            "Plural-Forms": plural_forms,
        }  # fmt: skip
        yield language, catalogue, file


def main() -> int:
    """Update or check the catalogues."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check alone, and write nothing")
    parser.add_argument("--prune", action="store_true", help="remove texts that nothing uses any more")
    options = parser.parse_args()
    try:
        texts = collect()
    except Problems as problems:
        print(problems, file=sys.stderr)
        return 1
    wrong = 0
    for language, catalogue, file in _catalogues():
        if not options.check:
            update(catalogue, texts, prune=options.prune)
            catalogue.save(str(file))
        for problem in problems_of(catalogue, texts):
            print(f"{language}.po: {problem}")
            wrong += 1
    return 1 if wrong and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
