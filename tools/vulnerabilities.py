#!/usr/bin/env python3
"""Compare pinned packages with a folder of known vulnerabilities, without a network.

tools/vulnerabilities.py --database FOLDER                           the packages of requirements-service.txt
tools/vulnerabilities.py --database FOLDER dist/lineside-0.1.0-sbom.cdx.json requirements-dev.txt
tools/vulnerabilities.py --database FOLDER --accept accepted.txt     without those that a person has judged

The folder has one JSON file for each vulnerability in the format of OSV (https://ossf.github.io/osv-schema/), as the
archive of the ecosystem PyPI has them; a zip archive of such files is read as well. A line of the accepted file is an
id, the day until which it is accepted, and the reason, with blanks between them. Exits with 1 if a package has a
vulnerability, and with 2 if the folder can't be used.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent

DEFAULT = ROOT / "requirements-service.txt"

ECOSYSTEM = "PyPI"

LARGEST = 16 * 2**20
"""Bytes of one file of the database."""

OLD_DAYS = 14
"""Days after which the newest entry of a database is so old that the database is out of date."""


class Unusable(Exception):
    """A file can't be used; the text says which and why."""


class Found(NamedTuple):
    """A vulnerability of a package: its id, other ids, its summary, and the versions that mend it."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    summary: str
    fixed: tuple[str, ...]


def packages_of(file: Path) -> dict[str, str]:
    """Return the versions of packages by name, of a requirements file or a bill of materials (CycloneDX, JSON)."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        try:
            entries = json.loads(text)["components"]
            return {canonicalize_name(one["name"]): str(one["version"]) for one in entries}
        except (ValueError, KeyError, TypeError):
            raise Unusable(f"{file}: is not a bill of materials in CycloneDX") from None
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE)
    if not pins:
        raise Unusable(f"{file}: has no line such as name==1.2.3")
    return {canonicalize_name(name): version for name, version in pins}


def entries_of(database: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a database. Raises `Unusable` for one that is empty or damaged."""
    number = 0
    for name, content in _contents(database):
        if len(content) > LARGEST:
            raise Unusable(f"{name}: is larger than {LARGEST:,} bytes")
        try:
            entry = json.loads(content)
        except (ValueError, RecursionError):
            raise Unusable(f"{name}: is not JSON") from None
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise Unusable(f"{name}: is not an entry of OSV: it has no id")
        number += 1
        yield entry
    if not number:
        raise Unusable(f"{database}: has no entries; mirror the archive of the ecosystem {ECOSYSTEM} there")


def _contents(database: Path) -> Iterator[tuple[str, bytes]]:
    if database.is_dir():
        for file in sorted(database.rglob("*.json")):
            yield str(file), file.read_bytes()
        return
    try:
        with ZipFile(database) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".json"):
                    with archive.open(info) as opened:
                        yield f"{database}: {info.filename}", opened.read(LARGEST + 1)
    except (OSError, BadZipFile) as error:
        raise Unusable(f"{database}: is neither a folder nor a zip archive: {error}") from None


def search(packages: dict[str, str], entries: Iterable[dict[str, Any]]) -> tuple[list[Found], str]:
    """Return the vulnerabilities of packages, and the time of the newest entry (RFC 3339)."""
    found: dict[tuple[str, str], Found] = {}
    newest = ""
    for entry in entries:
        newest = max(newest, str(entry.get("modified", "")))
        if entry.get("withdrawn"):
            continue
        for affected in _objects(entry.get("affected")):
            about = affected.get("package")
            if not isinstance(about, dict) or about.get("ecosystem") != ECOSYSTEM:
                continue
            name = canonicalize_name(str(about.get("name", "")))
            version = packages.get(name)
            if version is not None and is_affected(version, affected):
                found[name, entry["id"]] = Found(
                    name, version, entry["id"], tuple(map(str, entry.get("aliases") or ())),
                    str(entry.get("summary") or entry.get("details") or "")[:200].splitlines()[0]
                    if entry.get("summary") or entry.get("details") else "",
                    _fixed(affected),
                )  # fmt: skip
    return sorted(found.values()), newest


def is_affected(version: str, affected: dict[str, Any]) -> bool:
    """Return whether a version is one of those that an entry names, or in one of its ranges (OSV, evaluation).

    A version that no rule of PEP 440 orders counts as affected: a person has to look.
    """
    versions = affected.get("versions")
    if isinstance(versions, list) and version in versions:
        return True
    ranges = [one for one in _objects(affected.get("ranges")) if one.get("type") == "ECOSYSTEM"]
    if not ranges:
        return not versions  # nothing is said about versions: all of them
    try:
        return any(_is_in(Version(version), one) for one in ranges)
    except InvalidVersion:
        return True


def _is_in(version: Version, span: dict[str, Any]) -> bool:
    events: list[tuple[Version, int, str]] = []
    for event in _objects(span.get("events")):
        for order, kind in enumerate(("introduced", "fixed", "last_affected")):
            if kind in event:
                written = str(event[kind])
                events.append((Version("0.dev0" if written == "0" else written), order, kind))
    inside = False
    for at, _, kind in sorted(events):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _fixed(affected: dict[str, Any]) -> tuple[str, ...]:
    events = [event for span in _objects(affected.get("ranges")) for event in _objects(span.get("events"))]
    return tuple(str(event["fixed"]) for event in events if "fixed" in event)


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def accepted(file: Path | None, today: date) -> dict[str, str]:
    """Return the reasons for vulnerabilities that are accepted today, by id.

    An acceptance ends: a defect that is out of reach today may be in reach in a year. Raises `Unusable` for a line
    without a day or a reason.
    """
    found = {}
    lines = [] if file is None else file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, day, *words = [*line.split(), ""]
        try:
            until = date.fromisoformat(day)
        except ValueError:
            raise Unusable(
                f"{file}:{number}: write the day until which {name} is accepted, as in 2027-03-31"
            ) from None
        if not any(words):
            raise Unusable(f"{file}:{number}: write the reason behind the day, why {name} does not matter here")
        if until >= today:
            found[name] = " ".join(words).strip()
        else:
            print(f"{file}:{number}: {name} was accepted until {until}; judge it again", file=sys.stderr)
    return found


def main() -> int:
    """Print the vulnerabilities; return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/vulnerabilities.py", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path, default=[DEFAULT], help="requirements, or a bill of materials")
    parser.add_argument("--database", type=Path, required=True, help="folder or zip archive of OSV entries")
    parser.add_argument("--accept", type=Path, help="ids that a person has judged, each with a day and the reason")
    options = parser.parse_args()
    try:
        packages = {name: version for file in options.files for name, version in packages_of(file).items()}
        judged = accepted(options.accept, datetime.now(UTC).date())
        found, newest = search(packages, entries_of(options.database))
    except (Unusable, OSError, UnicodeDecodeError) as error:
        print(f"vulnerabilities: {error}", file=sys.stderr)
        return 2
    if (days := _age(newest)) > OLD_DAYS:
        print(f"vulnerabilities: the newest entry is {days:.0f} days old; mirror the database again", file=sys.stderr)
    open_ = [one for one in found if not {one.id, *one.aliases} & judged.keys()]
    for one in open_:
        mended = f"; mended in {', '.join(one.fixed)}" if one.fixed else ""
        print(f"{one.package} {one.version}: {' '.join((one.id, *one.aliases))}: {one.summary}{mended}")
    print(f"{len(packages)} packages, {len(open_)} vulnerabilities, {len(found) - len(open_)} accepted")
    return 1 if open_ else 0


def _age(newest: str) -> float:
    """Return the days since the newest entry; 0 if it has no time."""
    try:
        return max(0.0, time.time() - datetime.fromisoformat(newest).timestamp()) / 86_400
    except ValueError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
