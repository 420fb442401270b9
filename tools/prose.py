#!/usr/bin/env python3
"""Check the English of documents, docstrings, comments, messages and commit subjects.

The words come from docs/glossary.md. Every rule names the term to write instead.

    tools/prose.py                   check all rooms; exit 1 if something is found
    tools/prose.py PATH...           check these files and folders
    tools/prose.py --counts          print the number of findings of each room
    tools/prose.py --commits DATE    check the commit subjects since a date, such as 2026-11-30
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent

LEFT_OUT = ("tools/prose.py", "tests/unit/test_prose.py")
"""Files that name what is forbidden: the rules, and the inputs of their tests."""

ROOMS = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "benchmarks", "config", "deploy", "compose.yaml", "tools",
    "drivers/modbus", "drivers/opcua", "drivers",
    "gateway/codecs", "gateway/stores", "gateway/settings", "gateway/model", "gateway/common", "gateway/cli",
    "gateway/check", "gateway/trial", "gateway/demo", "gateway/importers", "gateway",
    "simulators/machines", "simulators/modbus", "simulators/opcua", "simulators", "tests",
)  # fmt: skip
"""All rooms; a room inside another comes before it, and its files count there alone."""

SUBJECT_LENGTH = 72
FEWEST_WORDS = 3
SENTENCE_LENGTH = 40
"""Words in one sentence of a document."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that is not written, and the instruction what to write. `kinds` is empty for all kinds of text."""

    pattern: str
    write: str
    kinds: frozenset[str] = frozenset()

    def found(self, text: str, kind: str) -> Iterator[tuple[int, str]]:
        """Yield the offset and the text of every match."""
        if self.kinds and kind not in self.kinds:
            return
        for match in _compiled(self.pattern).finditer(text):
            yield match.start(), match[0].strip()


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern if pattern.startswith("(?-i:") else f"(?i:{pattern})")


_DOCUMENTS = frozenset({"document"})
_BE = r"(?:is|are|was|were|be)"
_THING = r"(?:this|that|each|every|another|the other|other|new|newer|old|older|present|real|right|wrong|a \w+|same)"
_COMPARED = r"(?:longer|more|less|later|newer|older|larger|smaller|earlier|slower|faster|better|worse|higher)\b"

RULES = (
    # everyday verbs and nouns in place of terms
    Rule(r"\btold\b|\btells?\b(?! apart)|\btelling\b", "report, log, publish, show or say"),
    Rule(r"(?-i:\bheld\b)", "kept, stored, buffered or delayed"),
    Rule(r"\btaken\b", "acquired, read, accepted or used"),
    Rule(r"\b(?:take|takes|took|taking|taken) up\b", "apply, start or read"),
    Rule(r"\b(?:the|its|their|own|a) shares?\b(?! (?:name|the|one)\b)", "window, group or part"),
    Rule(r"\blend(?:s|ing|er)?\b|\blent\b", "lease"),
    Rule(r"\bleftovers?\b", "name the thing that is left, such as retained messages"),
    Rule(r"\battendance\b", "presence"),
    Rule(r"\bbarred\b|\bpardon\w*\b", "topic back-off"),
    Rule(r"\bhopeless\b", "unusable or damaged beyond recovery"),
    Rule(r"\bpoe(?:try|tic)\b|\bfarewell\b", "use the standard term"),
    Rule(r"\bthrown? out\b|\bthrows? (?:\w+ )?out\b", "disconnect"),
    Rule(r"\blets? go(?: of)?\b", "release or stop"),
    Rule(r"\bhangs? on\b", "depends on"),
    Rule(r"\bstands?\b(?! for\b|-)|\bstood\b", "is, is in or remains"),
    Rule(r"\blies? (?:in|at|on|beside|beyond|elsewhere|there|behind)\b", "is in"),
    Rule(r"\banew\b", "again"),
    Rule(r"\bseldom(?:er)?\b", "rarely"),
    Rule(r"\bfor ever\b|\bfor good\b", "permanently, or without limit"),
    Rule(r"\bin silence\b|\bwithout a word\b", "without a message"),
    Rule(r"\bnobody (?:listens|subscribes|is subscribed)\b", "no subscribers"),
    Rule(r"\bwhoever\b|\bwhatsoever\b|\bwhereof\b|\bthereof\b|\btherein\b|\bthereby\b", "name the thing"),
    Rule(r"(?-i:(?:^|[.:;] )Who(?:ever)? (?!is\b|are\b)[a-z]+)(?![^.]*\?)", "name who: a client that, a person who"),
    # pronouns in place of the thing
    Rule(rf"\b{_THING} ones?\b(?! (?:of|or|in)\b)", "name the thing in place of 'one'"),
    Rule(r"\bthe ones?\b(?! (?:hundred|thousand|million)\b)", "name the thing in place of 'one'"),
    Rule(r"\bones\b", "name the things"),
    # copulas
    Rule(rf"(?<!\bthere )\b{_BE} no (?!{_COMPARED})[a-z]+", "is not a"),
    Rule(rf"(?-i:(?<!\bthere )\b{_BE} none\b)", "is not a, or has no"),
    # words that say nothing, and Latin
    Rule(r"\bplease\b|\bsimply\b|\bobviously\b|\bof course\b|\bjust\b", "leave it out"),
    Rule(r"\be\.g\.|\bi\.e\.|\betc\.", "for example, that is, and so on"),
    Rule(r"\bin order to\b", "to"),
    Rule(r"\butili[sz]e", "use"),
    # names
    Rule(r"\bbroker\.(?:nobody_listens|refused|takes_again|not_connected|connected)\b", "mqtt.connected and so on"),
)  # fmt: skip

_MAY_ASK = re.compile(
    r"(?:says?|said|saying|shows?|showed|sees?|kn[eo]ws?|decides?|describes?|determines?|learns?|explains?|prints?|reports?"
    r"|asks?|exactly|defines?|states?|finds?|checks?|chooses?|wonder|compare|lists?|and|or)"
)
"""Words after which `what` begins an indirect question: 'shows what is wrong'."""

_WHAT = re.compile(
    r"(?:(\S+)\s+)?\b([Ww]hat) (?:is|are|was|were|has|had|have|can|can't|does|do|did|will|must|may|comes|came|goes"
    r"|waits?|waited|stays|fits|remains|failed|follows|makes|needs|belongs|changed|changes|differs?|a|an|the|it|its"
    r"|they|he|no|nobody|somebody|other|another|every)\b"
)


def what_as_noun(text: str, kind: str) -> Iterator[tuple[int, str]]:
    """Yield every `what` that is the name of a thing ('what waits') and does not begin a question."""
    if kind == "heading":
        return
    for match in _WHAT.finditer(text):
        sentence_end = re.search(r"[.?!](?:\s|$)", text[match.end() :])
        if sentence_end and sentence_end[0].startswith("?"):
            continue
        before = (match[1] or "").strip("*_\"'()[],:`").lower()
        if _MAY_ASK.fullmatch(before):
            continue
        yield match.start(2), text[match.start(2) : match.end()]


def long_sentences(text: str, kind: str) -> Iterator[tuple[int, str]]:
    """Yield every sentence of a document that has too many words. A colon or semicolon ends none."""
    if kind != "document":
        return
    start = 0
    for sentence in re.split(r"(?<=[.?!])\s+(?=[A-Z\u00b7\[*])", text):
        at = text.index(sentence, start)
        start = at + len(sentence)
        words = len(re.findall(r"\S*\w\S*", sentence))
        if words > SENTENCE_LENGTH:
            yield at, f"{' '.join(sentence.split()[:6])} ... ({words} words)"


FUNCTIONS = (
    (what_as_noun, "name the thing in place of 'what'"),
    (long_sentences, f"at most {SENTENCE_LENGTH} words in a sentence"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One match of a rule."""

    file: str
    line: int
    found: str
    write: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.found!r}: write: {self.write}"


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, table cell, docstring, comment or message: its kind, and its lines with their numbers."""

    kind: str
    lines: Sequence[tuple[int, str]]

    def findings(self, file: str) -> Iterator[Finding]:
        """Yield what every rule finds in the text of the block."""
        text, starts = "", []
        for _, line in self.lines:
            starts.append(len(text))
            text += line.strip() + " "

        if self.kind == "name":
            yield Finding(file, self.lines[0][0], text.strip(), "a name of the glossary")
            return

        def at(offset: int) -> int:
            return self.lines[bisect_right(starts, offset) - 1][0]

        for rule in RULES:
            for offset, found in rule.found(text, self.kind):
                yield Finding(file, at(offset), found, rule.write)
        for function, write in FUNCTIONS:
            for offset, found in function(text, self.kind):
                yield Finding(file, at(offset), found, write)


def _blank(match: re.Match[str]) -> str:
    return "\u00b7" * len(match[0])


def _without_code(text: str) -> str:
    """Return the text with inline code, double-quoted examples and link targets blanked; offsets stay."""
    text = re.sub(r"``[^`]+``|`[^`]*`", _blank, text)
    text = re.sub(r"\"[^\"\n]{1,80}\"", _blank, text)
    text = re.sub(r"(?<=\])\([^)]*\)", _blank, text)
    return re.sub(r"https?://\S+", _blank, text)


_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"(?<!`)`[^`\n]*\n?[^`\n]*`(?!`)")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.) ")


def markdown(source: str) -> Iterator[Block]:
    """Yield the paragraphs, headings and table cells of a Markdown document.

    Code is left out, and so is everything between the comments `prose: off` and `prose: on`.
    """
    text = _FENCE.sub(lambda match: re.sub(r"[^\n]", "", match[0]), source)
    text = _CODE_SPAN.sub(lambda match: re.sub(r"[^\n]", "\u00b7", match[0]), text)
    paragraph: list[tuple[int, str]] = []
    off = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("<!-- prose:"):
            off = "off" in stripped
        skipped = off or not stripped or stripped.startswith("<!--")
        if paragraph and (skipped or stripped[0] in "#|" or _ITEM.match(line)):
            yield Block("document", paragraph)
            paragraph = []
        if skipped:
            continue
        if stripped.startswith("|"):
            yield from (Block("cell", [(number, _without_code(cell))]) for cell in stripped.strip("|").split("|"))
        elif stripped.startswith("#"):
            yield Block("heading", [(number, _without_code(stripped.lstrip("#")))])
        else:
            paragraph.append((number, _without_code(_ITEM.sub("", line))))
    if paragraph:
        yield Block("document", paragraph)


NAMES = re.compile(
    r"(?:^|_)(?:told|tell|tells|lend|lends|lending|lent|leftovers?|attendance|barred|pardon\w*|hopeless|poetry|farewell)(?:_|$)"
)
"""Parts of names in code that the glossary replaces."""

_SENTENCE = re.compile(r"[a-z]{2,} [a-z']{2,} ")
_QUERY = re.compile(r"\s*(?:select|insert|update|delete|create|pragma|drop|with|alter)\b", re.IGNORECASE)


def python(source: str) -> Iterator[Block]:
    """Yield the docstrings, attribute docstrings, comments and messages of a Python file."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):  # a statement comes before its parts, so a docstring before its constant
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                documented.add(id(node.value))
                yield from _paragraphs("docstring", node.lineno, node.value.value)
        elif isinstance(node, ast.Constant):
            text = node.value
            if (
                isinstance(text, str)
                and id(node) not in documented
                and _SENTENCE.search(text)
                and not _QUERY.match(text)
            ):
                yield Block("message", [(node.lineno, _without_code(text))])
        else:
            name = _defined_name(node)
            if name and NAMES.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()):
                yield Block("name", [(node.lineno, name)])
    yield from _comments(
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )


def _defined_name(node: ast.AST) -> str:
    """Return the name that a node defines: a class, function, argument, variable or attribute; empty for none."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return node.attr
    return ""


def _paragraphs(kind: str, first: int, text: str) -> Iterator[Block]:
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), first):
        if not line.strip() or line.startswith("        "):  # drawings and examples are indented
            if lines:
                yield Block(kind, lines)
            lines = []
        else:
            lines.append((number, _without_code(line)))
    if lines:
        yield Block(kind, lines)


def _comments(comments: Iterator[tuple[int, str]]) -> Iterator[Block]:
    """Yield comments; those on lines that follow each other are one."""
    lines: list[tuple[int, str]] = []
    for number, text in comments:
        stripped = re.sub(r"#+!?\s*|(?:noqa|type|pragma|fmt|nosec)\S*:?.*", "", text)
        if lines and number != lines[-1][0] + 1:
            yield Block("comment", lines)
            lines = []
        lines.append((number, _without_code(stripped)))
    if lines:
        yield Block("comment", lines)


def yaml(source: str) -> Iterator[Block]:
    """Yield the comments of a YAML file, unit file or configuration file, and the text of its descriptions."""
    yield from _comments(
        (number, match[1])
        for number, line in enumerate(source.splitlines(), 1)
        if (match := re.search(r"(?:^|\s)(#.*)", line))
    )
    for number, line in enumerate(source.splitlines(), 1):
        for match in re.finditer(r"description: (?:\"([^\"]*)\"|([^,}\"]*))", line):
            yield Block("description", [(number, _without_code(match[1] or match[2]))])


READERS = {
    ".md": markdown, ".py": python, ".yaml": yaml, ".yml": yaml, ".service": yaml, ".conf": yaml, ".toml": yaml,
}  # fmt: skip


def check_file(file: Path) -> list[Finding]:
    """Return the findings of one file, in the order of its lines."""
    shown = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else str(file)
    blocks = READERS[file.suffix](file.read_text(encoding="utf-8"))
    return sorted((found for block in blocks for found in block.findings(shown)), key=lambda found: found.line)


def files_below(path: Path) -> list[Path]:
    """Return the files below a path that can be read, without generated folders and `LEFT_OUT`."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    folders, names = {"node_modules", "__pycache__", "prose", ".peers"}, {ROOT / name for name in LEFT_OUT}
    return [file for file in files if file.suffix in READERS and file not in names and not folders & set(file.parts)]


def room_of(file: Path) -> str:
    """Return the room that a file belongs to, the innermost where rooms are nested; empty for none."""
    shown = file.relative_to(ROOT).as_posix()
    return max((room for room in ROOMS if shown == room or shown.startswith(f"{room}/")), key=len, default="")


def check_rooms() -> dict[str, list[Finding]]:
    """Return the findings of every room."""
    rooms: dict[str, list[Finding]] = {room: [] for room in ROOMS}
    for top in dict.fromkeys(room.split("/", maxsplit=1)[0] for room in ROOMS):
        for file in files_below(ROOT / top):
            rooms[room_of(file)] += check_file(file)
    return rooms


def check_subjects(subjects: Sequence[str]) -> list[Finding]:
    """Return what is wrong with commit subjects: their length, their end, or a verb that is not imperative."""
    found = []
    for subject in subjects:
        if len(subject) > SUBJECT_LENGTH:
            found.append(Finding("commit", 1, subject, f"at most {SUBJECT_LENGTH} characters, not {len(subject)}"))
        if subject.endswith("."):
            found.append(Finding("commit", 1, subject, "no full stop at the end"))
        if len(subject.split()) < FEWEST_WORDS:
            found.append(Finding("commit", 1, subject, "a subject that names the change"))
        first = subject.split(" ", maxsplit=1)[0]
        if re.fullmatch(r"[A-Z][a-z]+(?:ed|ing)", first) and first not in {
            "Embed",
            "Feed",
            "Need",
            "Seed",
            "Speed",
            "Bring",
            "Ring",
            "String",
        }:
            found.append(Finding("commit", 1, subject, "begin with an imperative verb"))
    return found


def subjects_of(since: str) -> list[str]:
    """Return the commit subjects since a date, without merges. Outside of a git checkout there are none."""
    command = ["git", "-C", str(ROOT), "log", "--no-merges", "--format=%s", f"--since={since}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print("not a git checkout: commit subjects are not checked", file=sys.stderr)
    return result.stdout.splitlines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--counts", action="store_true", help="the number of findings of each room")
    parser.add_argument("--commits", metavar="DATE", help="check the commit subjects since this date")
    options = parser.parse_args(arguments)
    if options.commits:
        found = check_subjects(subjects_of(options.commits))
    elif options.paths:
        found = [
            finding for path in options.paths for file in files_below(path.resolve()) for finding in check_file(file)
        ]
    else:
        rooms = check_rooms()
        if options.counts:
            for room, findings in rooms.items():
                print(f"{len(findings):6} {room}")
            for write, count in Counter(f.write for all_found in rooms.values() for f in all_found).most_common():
                print(f"{count:6} {write}")
            return 0
        found = [finding for findings in rooms.values() for finding in findings]
    for finding in found:
        print(finding)
    if found:
        print(f"{len(found)} findings; docs/glossary.md has the terms", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
