#!/usr/bin/env python3
"""Make a machine-readable advisory (OASIS CSAF 2.0, profile "Security Advisory") of a small YAML file.

tools/advisory.py advisory.yaml --out FOLDER    write FOLDER/ID.json, named as CSAF 2.0, 5.1 asks for
tools/advisory.py advisory.yaml --check         check the YAML alone

docs/supply-chain.md has an example. Exits with 1, and a line for each mistake, if the YAML can't be an advisory.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000, strip_whitespace=True)]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Version = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){1,3}$")]
Constraint = Annotated[str, StringConstraints(pattern=r"^(<|<=|>|>=|=)\d+(\.\d+){1,3}$")]

METRICS = {"AV": "NALP", "AC": "LH", "PR": "NLH", "UI": "NR", "S": "UC", "C": "HLN", "I": "HLN", "A": "HLN"}
"""The base metrics of CVSS 3.1 in their order, with their values."""

WEIGHTS: dict[str, dict[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
}
"""The weights of CVSS 3.1, 7.4; I and A have those of C."""

CHANGED_SCOPE = {"N": 0.85, "L": 0.68, "H": 0.5}
"""The weights of PR where the scope changes."""

SEVERITIES = ((0.0, "NONE"), (3.9, "LOW"), (6.9, "MEDIUM"), (8.9, "HIGH"), (10.0, "CRITICAL"))
"""The highest score of each severity (CVSS 3.1, 5)."""


class Model(BaseModel):
    """Strict, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Publisher(Model):
    """The party that passes Lineside on; `namespace` is its URL."""

    name: Text
    namespace: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    contact: Text


class Revision(Model):
    """A publication of the advisory; the first is its begin."""

    date: Time
    summary: Text


class Weakness(Model):
    """An entry of CWE."""

    id: Annotated[str, StringConstraints(pattern=r"^CWE-[1-9]\d{0,5}$")]
    name: Text


class Advisory(Model):
    """The YAML. `affected` are constraints of versions that hold together, `fixed` the corrected versions."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,60}$")]
    title: Text
    publisher: Publisher
    history: Annotated[list[Revision], Field(min_length=1, max_length=100)]
    cve: Annotated[str, StringConstraints(pattern=r"^CVE-\d{4}-\d{4,}$")] | None = None
    cwe: Weakness | None = None
    description: Text
    affected: Annotated[list[Constraint], Field(min_length=1, max_length=10)]
    fixed: Annotated[list[Version], Field(max_length=10)] = []
    workaround: Text | None = None
    cvss: str | None = None
    credit: Annotated[list[Text], Field(max_length=20)] = []

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.fixed and self.workaround is None:
            raise ValueError("write fixed, or workaround: an advisory says what a plant can do")
        dates = [one.date for one in self.history]
        for date in dates:
            datetime.strptime(date, "%Y-%m-%dT%H:%M:%S%z")
        if dates != sorted(dates):
            raise ValueError("the dates of history are not in their order")
        if self.cvss is not None:
            metrics_of(self.cvss)
        return self


def metrics_of(vector: str) -> dict[str, str]:
    """Return the base metrics of a vector of CVSS 3.1. Raises `ValueError`."""
    head, *parts = vector.split("/")
    pairs = [part.partition(":") for part in parts]
    found = {name: value for name, _, value in pairs}
    in_order = [name for name, _, _ in pairs] == list(METRICS)
    if head != "CVSS:3.1" or not in_order or any(value not in list(METRICS[name]) for name, value in found.items()):
        raise ValueError(
            f"{vector[:100]!r} is not a base vector; write it as in CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
        )
    return found


def base_score(vector: str) -> float:
    """Return the base score of a vector (CVSS 3.1, 7.1). Raises `ValueError`."""
    one = metrics_of(vector)
    changed = one["S"] == "C"
    privileges = (CHANGED_SCOPE if changed else WEIGHTS["PR"])[one["PR"]]
    loss = 1 - math.prod(1 - WEIGHTS["C"][one[name]] for name in "CIA")
    impact = 7.52 * (loss - 0.029) - 3.25 * (loss - 0.02) ** 15 if changed else 6.42 * loss
    exploitability = 8.22 * privileges * math.prod(WEIGHTS[name][one[name]] for name in ("AV", "AC", "UI"))
    if impact <= 0:
        return 0.0
    return _rounded_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10.0))


def _rounded_up(score: float) -> float:
    """Round up to one digit, as Appendix A of CVSS 3.1 does it without an effect of floating point."""
    number = round(score * 100_000)
    return number / 100_000 if number % 10_000 == 0 else (number // 10_000 + 1) / 10


def severity(score: float) -> str:
    """Return the name of a score."""
    return next(name for most, name in SEVERITIES if score <= most)


def csaf(advisory: Advisory) -> dict[str, Any]:
    """Return the advisory as CSAF 2.0."""
    affected = ["LINESIDE-AFFECTED"]
    fixed = [f"LINESIDE-{version}" for version in advisory.fixed]
    return {
        "document": _document(advisory),
        "product_tree": {"branches": [_branch("vendor", advisory.publisher.name, [_product(advisory)])]},
        "vulnerabilities": [_vulnerability(advisory, affected, fixed)],
    }


def _document(advisory: Advisory) -> dict[str, Any]:
    history = advisory.history
    return {
        "category": "csaf_security_advisory",
        "csaf_version": "2.0",
        "lang": "en",
        "title": advisory.title,
        "notes": [{"category": "summary", "text": advisory.description, "title": "Summary"}],
        "publisher": {
            "category": "vendor", "name": advisory.publisher.name, "namespace": advisory.publisher.namespace,
            "contact_details": advisory.publisher.contact,
        },
        "tracking": {
            "id": advisory.id,
            "status": "final",
            "version": str(len(history)),
            "initial_release_date": history[0].date,
            "current_release_date": history[-1].date,
            "revision_history": [
                {"number": str(number), "date": one.date, "summary": one.summary}
                for number, one in enumerate(history, 1)
            ],
        },
    }  # fmt: skip


def _product(advisory: Advisory) -> dict[str, Any]:
    of_range = f"vers:pypi/{'|'.join(advisory.affected)}"
    versions = [
        _leaf("product_version_range", of_range, "LINESIDE-AFFECTED", f"Lineside {' '.join(advisory.affected)}")
    ]
    for version in advisory.fixed:
        leaf = _leaf("product_version", version, f"LINESIDE-{version}", f"Lineside {version}")
        leaf["product"]["product_identification_helper"] = {"purl": f"pkg:pypi/lineside@{version}"}
        versions.append(leaf)
    return _branch("product_name", "Lineside", versions)


def _branch(category: str, name: str, branches: list[dict[str, Any]]) -> dict[str, Any]:
    return {"category": category, "name": name, "branches": branches}


def _leaf(category: str, name: str, product: str, text: str) -> dict[str, Any]:
    return {"category": category, "name": name, "product": {"product_id": product, "name": text}}


def _vulnerability(advisory: Advisory, affected: list[str], fixed: list[str]) -> dict[str, Any]:
    remedies = []
    if fixed:
        text = f"Install Lineside {' or '.join(advisory.fixed)}, or newer. Configuration and spool stay."
        remedies.append({"category": "vendor_fix", "details": text, "product_ids": affected})
    if advisory.workaround is not None:
        remedies.append({"category": "workaround", "details": advisory.workaround, "product_ids": affected})
    found: dict[str, Any] = {
        "title": advisory.title,
        "notes": [{"category": "description", "text": advisory.description}],
        "product_status": {"known_affected": affected} | ({"fixed": fixed} if fixed else {}),
        "remediations": remedies,
    }
    if advisory.cve is not None:
        found["cve"] = advisory.cve
    else:
        found["ids"] = [{"system_name": advisory.publisher.name, "text": advisory.id}]
    if advisory.cwe is not None:
        found["cwe"] = advisory.cwe.model_dump()
    if advisory.cvss is not None:
        score = base_score(advisory.cvss)
        cvss = {"version": "3.1", "vectorString": advisory.cvss, "baseScore": score, "baseSeverity": severity(score)}
        found["scores"] = [{"cvss_v3": cvss, "products": affected}]
    if advisory.credit:
        found["acknowledgments"] = [{"names": advisory.credit}]
    return found


def file_name(advisory: Advisory) -> str:
    """Return the name that CSAF 2.0, 5.1 asks for."""
    return re.sub(r"[^+\-a-z0-9]+", "_", advisory.id.lower()) + ".json"


def read(file: Path) -> Advisory:
    """Return the advisory in a YAML file. Raises `ValueError` with a line for each mistake, or `OSError`."""
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # texts alone, and no objects
        return Advisory.model_validate(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        lines = [f"{file}: {'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}" for one in mistakes]
        raise ValueError("\n".join(lines)) from None


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    try:
        advisory = read(options.file)
        if not options.check:
            target = options.out / file_name(advisory)
            target.write_text(json.dumps(csaf(advisory), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            print(target)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
