"""Who is notified of an alarm, and when: under a clock of the test, over restarts, and with every way to stop it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from alarmed import AlarmBench
from derived import MACHINE
from points import register

from gateway.settings.alarm_set import Priority
from gateway.settings.notify_section import Limits, NotifySection, worker_share

X = register("x", "float32", unit="bar")

TARGETS = {name: {"url": {"secret": name}} for name in ("shift", "manager")}

RULES = NotifySection.model_validate({
    "targets": TARGETS,
    "rules": [
        {"priorities": ["critical", "high"], "targets": ["shift"]},
        {"priorities": "critical", "after": "10m", "targets": ["manager"]},
    ],
})  # fmt: skip

HOT: dict[str, Any] = {"point": "x", "high": 10, "priority": "critical", "message": "At {x}", "response": "Cool it"}


def bench(rules: NotifySection | None = RULES, begin: float = 0.0, **keys: Any) -> AlarmBench:
    return AlarmBench([X], rules=rules, begin=begin, hot=HOT | keys)


def restarted(before: AlarmBench, after: float, rules: NotifySection = RULES) -> AlarmBench:
    """Return the alarms of a gateway that starts some seconds later with the saved states."""
    again = bench(rules, before.seconds + after)
    assert again.alarms.load(before.alarms.save()) == ([], [])
    return again


def test_an_alarm_is_sent_at_once_and_escalated_once() -> None:
    """The second step comes at its time without any reading, and neither comes again."""
    one = bench()
    one.take(0, 11.0)
    [notice] = one.notices
    assert (notice.machine, notice.message, notice.response) == (MACHINE, "At 11 bar", "Cool it")
    assert one.notified() == ["shift hot"]
    one.wait(599.8)
    assert one.notified() == []
    one.wait(600.2)
    assert one.notified() == ["manager hot"]
    one.wait(2000)
    assert one.notified() == []


@pytest.mark.parametrize("action", ["acknowledge", "shelve", "remove_from_service"])
def test_a_person_stops_the_escalation(action: str) -> None:
    """Somebody knows: nobody else is woken."""
    one = bench()
    one.take(0, 11.0)
    one.wait(300)
    assert one.alarms.command(action, "hot", "anna", "known", 3600.0) == ""
    one.wait(1000)
    assert one.notified() == ["shift hot"]
    assert one.withdrawn == ["shift hot"]


def test_an_alarm_that_returns_or_is_suppressed_is_not_escalated() -> None:
    """There is nothing to act on any more; the next annunciation begins again."""
    one = bench()
    one.take(0, 11.0)
    one.take(100, 9.0)
    one.wait(700)
    assert one.notified() == ["shift hot"]
    one.take(800, 11.0)
    one.wait(1399.8)
    assert one.notified() == ["shift hot"]
    one.wait(1400.2)
    assert one.notified() == ["manager hot"]
    other = bench(suppress_when="x > 20.0")
    other.take(0, 11.0)
    other.take(100, 21.0)
    other.wait(700)
    assert other.notified() == ["shift hot"]


def test_a_latched_alarm_is_escalated() -> None:
    """It stays until a person has acknowledged it, also when its condition has ended."""
    one = bench(latch=True)
    one.take(0, 11.0)
    one.take(100, 9.0)
    one.wait(601)
    assert one.notified() == ["shift hot", "manager hot"]


def test_a_restart_sends_nothing_again_and_forgets_no_escalation() -> None:
    """Settled steps are kept with the states of alarms; the time goes on while the gateway is down."""
    one = bench()
    one.take(0, 11.0)
    one.alarms.settle(one.notices[0])
    again = restarted(one, 300)
    assert again.notified() == []
    again.wait(599.8)
    assert again.notified() == []
    again.wait(600.2)
    assert again.notified() == ["manager hot"]
    later = restarted(one, 7200)
    assert later.notified() == ["manager hot"]


def test_a_message_that_was_not_delivered_is_sent_after_a_restart() -> None:
    """Nobody got it: the line to the mail server was cut, or the gateway was killed."""
    one = bench()
    one.take(0, 11.0)
    assert restarted(one, 5).notified() == ["shift hot"]


def test_an_acknowledged_alarm_is_not_sent_after_a_restart() -> None:
    """Somebody knows."""
    one = bench()
    one.take(0, 11.0)
    one.alarms.command("acknowledge", "hot", "anna", "")
    again = restarted(one, 5)
    again.wait(again.seconds + 700)
    assert again.notified() == []


def test_a_late_answer_does_not_settle_a_newer_annunciation() -> None:
    """The alarm has returned and come back while the first message was on its way."""
    one = bench()
    one.take(0, 11.0)
    first = one.notices[0]
    one.take(1, 9.0)
    one.take(2, 11.0)
    one.alarms.settle(first)
    one.notified()
    assert restarted(one, 1).notified() == ["shift hot"]


def test_states_of_an_earlier_version_are_read() -> None:
    """They have no settled steps."""
    one = bench(None)
    one.take(0, 11.0)
    saved = orjson.loads(one.alarms.save())
    saved["alarms"]["hot"].pop()
    again = bench(begin=5)
    assert again.alarms.load(orjson.dumps(saved)) == ([], [])
    assert again.notified() == ["shift hot"]


@pytest.mark.parametrize("steps", [None, 5, {"a": 1}, "text", [[1]]])
def test_damaged_steps_cost_no_more_than_the_alarm(steps: Any) -> None:
    """The file of states may contain anything."""
    one = bench()
    one.take(0, 11.0)
    saved = orjson.loads(one.alarms.save())
    saved["alarms"]["hot"][-1] = steps
    again = bench(begin=5)
    other, damaged = again.alarms.load(orjson.dumps(saved))
    assert other == []
    assert damaged in ([], ["hot"])


def test_rules_choose_by_priority_machine_and_class() -> None:
    """A target that several rules name for one time is notified once."""
    rules = NotifySection.model_validate({
        "targets": TARGETS,
        "rules": [
            {"machines": "l/*", "classes": "saf*", "targets": "shift"},
            {"machines": ["other", "machine"], "priorities": ["high"], "targets": ["shift", "manager"]},
        ],
    })  # fmt: skip
    steps = {
        (priority, category): [str(step) for step in rules.steps(MACHINE, priority, category)]
        for priority in (Priority.HIGH, Priority.LOW)
        for category in ("safety", "process")
    }
    assert steps == {
        (2, "safety"): ["0s manager", "0s shift"], (2, "process"): ["0s manager", "0s shift"],
        (4, "safety"): ["0s shift"], (4, "process"): [],
    }  # fmt: skip
    assert rules.steps("e/s/a/k/n", Priority.HIGH, "safety") == ()


def test_workers_share_the_number_of_messages() -> None:
    """Each has its own machines and knows nothing of the others; one message each is the least."""
    section = NotifySection.model_validate({"at_most": {"messages": 20, "per": "10m"}})
    assert Limits.of(section).messages == 20
    assert Limits.of(section, 3).messages == 6
    assert Limits.of(section, 64).messages == 1
    assert worker_share(4) == 4
    assert worker_share("auto") >= 1
