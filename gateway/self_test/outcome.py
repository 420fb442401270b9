"""The result of a self-test, and its file beside the spool, for `lineside status`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.own_files import read_own
from gateway.common.atomic_file import save_json

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 2**20
"""Bytes of a result."""

MOST_PROBLEMS = 20
"""Problems of one check that are reported."""

_Text = Annotated[str, StringConstraints(max_length=2_000)]


class Result(StrEnum):
    """The result of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"  # it does not apply here, or could not be made


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Outcome(_Model):
    """The result of one check. `problems` name faults, each with a remedy; `notes` are facts.

    `warnings` are of a box that a plant may run so: they do not let the check fail.
    """

    check: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    result: Result
    problems: Annotated[tuple[_Text, ...], Field(max_length=MOST_PROBLEMS + 1)] = ()
    warnings: Annotated[tuple[_Text, ...], Field(max_length=MOST_PROBLEMS + 1)] = ()
    notes: Annotated[tuple[_Text, ...], Field(max_length=MOST_PROBLEMS)] = ()


class Report(_Model):
    """The results of all checks. `time` is in microseconds since the epoch, `seconds` the duration."""

    time: Annotated[int, Field(ge=0, le=253_402_300_800_000_000)]
    seconds: Annotated[float, Field(ge=0, le=86_400)]
    outcomes: Annotated[tuple[Outcome, ...], Field(max_length=50)]

    @property
    def problems(self) -> list[str]:
        """All problems, each with the name of its check before it."""
        return [f"{one.check}: {problem}" for one in self.outcomes for problem in one.problems]

    @property
    def warnings(self) -> list[str]:
        """All warnings, likewise."""
        return [f"{one.check}: {warning}" for one in self.outcomes for warning in one.warnings]


class Unreadable(ValueError):
    """Bytes are not the result of a self-test."""


def self_test_file(folder: Path, gateway: str) -> Path:
    """Return the file of a gateway's last self-test."""
    return folder / f"{gateway}.self-test.json"


def save_report(file: Path, report: Report) -> None:
    """Write the file. Raises `OSError`."""
    save_json(file, report.model_dump(mode="json"), durable=False)


def parse_report(content: bytes) -> Report:
    """Return the result in these bytes. Raises `Unreadable`."""
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        raise Unreadable(f"is not the result of a self-test: {error.error_count()} errors") from None


def read_report(file: Path) -> Report | None:
    """Return the last result; None if there is none, or it can't be read."""
    try:
        return parse_report(read_own(file, LARGEST))
    except (OSError, ValueError):
        return None
