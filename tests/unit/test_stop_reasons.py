"""Reasons that people give for stops: the rules of a machine, and the events that they become."""

from __future__ import annotations

import pytest
from production import DAY, KEYS, SECOND, Plant, built

from gateway.model.command import StopReason
from gateway.pipeline.production import OLDEST_STOP


def test_a_given_reason_is_an_event_of_the_machine() -> None:
    """With who, and a time of its own: a later reason replaces it."""
    plant = Plant()
    plant.run(6 * 3600, 6 * 3600 + 10, 6)
    begin = DAY + 6 * 3600 * SECOND
    assert plant.calculation.give_reason(StopReason(begin, "glove", "left"), "anna") == ""
    assert plant.stops == [{"begin": begin, "reason": "glove", "comment": "left", "by": "anna"}]


def test_a_time_that_no_report_would_find_is_refused() -> None:
    """The report looks for reasons eight days after a shift."""
    plant = Plant()
    plant.now = DAY
    for begin, text in ((DAY, "in the future"), (DAY + 1, "in the future"), (DAY - OLDEST_STOP - 1, "7 days ago")):
        assert text in plant.calculation.give_reason(StopReason(begin, "glove"), "anna")
    assert plant.calculation.give_reason(StopReason(DAY - OLDEST_STOP, "glove"), "anna") == ""
    assert len(plant.stops) == 1


def test_with_a_list_only_its_reasons_are_taken() -> None:
    """The answer names those there are, and stays short."""
    reasons = [f"reason {n}" for n in range(50)]
    plant = Plant(KEYS | {"reasons": reasons})
    plant.now = DAY
    problem = plant.calculation.give_reason(StopReason(DAY - 1, "gremlins"), "anna")
    assert problem.startswith("the reason is not one of reason 0, reason 1")
    assert (problem.endswith("reason 9 ..."), plant.stops) == (True, [])
    assert plant.calculation.give_reason(StopReason(DAY - 1, "reason 49"), "anna") == ""


@pytest.mark.parametrize(
    ("reasons", "message"),
    [(["a", "a"], "'a' is there twice"), (["x" * 101], "1 to 100 characters"), ([""], "1 to 100 characters"),
     ("bladder", "reasons")],
)  # fmt: skip
def test_a_wrong_list_of_reasons_is_reported(reasons: object, message: str) -> None:
    """When the configuration is validated."""
    found, problems = built(**KEYS | {"reasons": reasons})
    assert found is None
    assert message in problems
