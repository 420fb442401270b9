"""Messages about alarms: their content, a flood, and hostile texts."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.alarm_notice import AlarmNotice, NotifyStep
from gateway.notify.delivery import Answer, Outcome, parse_answer
from gateway.notify.message import MAX_LINE, MAX_TITLE, message_of, plain
from gateway.notify.outbox import Outbox
from gateway.notify.send import answer_of
from gateway.settings.alarm_set import Priority

SINCE = 1_764_000_000_000_000


def notice(number: int = 0, priority: Priority = Priority.HIGH, after: float = 0.0, **texts: Any) -> AlarmNotice:
    texts = {"message": "Mould is at 181.2 Cel", "consequence": "Scrap", "response": "Cool it"} | texts
    step = NotifyStep(after, "shift")
    machine = texts.pop("machine", "acme/north/curing/curing-1/press-01")
    return AlarmNotice(machine, f"hot-{number}", SINCE + number, step, priority, "process", **texts)


def test_a_message_has_all_that_an_operator_needs() -> None:
    """Where, what, how urgent, since when, and what to do."""
    found = message_of([notice(after=600)], 0, "edge-01", UTC)
    assert found.title == "High: press-01 hot-0: Mould is at 181.2 Cel"
    assert found.body.splitlines() == [
        "HIGH: acme/north/curing/curing-1/press-01",
        "Alarm: hot-0 (process)",
        "Since: 2025-11-24 16:00:00+00:00, not acknowledged for 10m",
        "Text: Mould is at 181.2 Cel",
        "Consequence: Scrap",
        "Response: Cool it",
        "",
        "Gateway edge-01",
    ]
    assert found.kind == "failure"
    assert message_of([notice(priority=Priority.LOW)], 0, "edge-01").kind == "warning"


@pytest.mark.parametrize("since", [253_402_300_799_999_999, 2**62, -(2**62)])
def test_a_time_that_no_calendar_has_keeps_no_alarm_back(since: int) -> None:
    """Servers send the end of the year 9999: it ended each attempt of the target, with the alarms of all machines."""
    wrong, right = notice()._replace(since=since), notice(1)
    body = message_of([wrong, right], 0, "edge-01", timezone(timedelta(hours=8))).body
    assert "Since: unknown, the time of the reading is wrong" in body
    assert "Since: 2025-11-25 00:00:00+08:00" in body


def test_a_flood_is_one_message_with_the_most_important_first() -> None:
    """It says how many alarms there are, and stays short."""
    low = [notice(i, Priority.LOW) for i in range(494)]
    found = message_of([*low, *(notice(900 + i, Priority.CRITICAL) for i in range(6))], 3, "edge-01", UTC)
    assert found.title == "503 alarms (6 critical, 494 low): press-01 hot-900"
    assert found.body.startswith("500 alarms: 6 critical, 494 low.\n\nCRITICAL: ")
    assert found.body.count("CRITICAL") == 5
    assert "critical: acme/north/curing/curing-1/press-01 hot-905" in found.body
    assert "and 475 more" in found.body
    assert "3 further alarms of lower priority had no room" in found.body
    assert len(found.body) < 8_000


HOSTILE = (
    "a\r\nBcc: x@evil.example\r\n\r\n\x1b[31m\u202e<b>bold</b> <!channel> @everyone <@U1> \u2028\ud800\0 ] (http://x)"
)


def test_hostile_texts_are_one_harmless_line() -> None:
    """A device decides on no header, no colour of a terminal, no direction of text, and wakes no whole channel."""
    found = message_of([notice(message=HOSTILE, machine="a/b/c/d/e")], 0, "edge-01", UTC)
    for text in (found.title, *found.body.splitlines()):
        assert text.isprintable()
        assert not any(sign in text for sign in ("<b", "</b", "<!", "@everyone", "<@", "\n"))
    assert "Text: a Bcc: x@ evil.example [31m < b>bold" in found.body
    found.body.encode()


@given(st.text())
def test_any_text_becomes_one_line(text: str) -> None:
    """Whatever a device sends."""
    assert len(found := plain(text)) <= MAX_LINE
    assert found.isprintable()
    assert len(message_of([notice(message=text)], 0, "g").title) <= MAX_TITLE


def test_a_full_outbox_drops_the_oldest_of_the_lowest_priority() -> None:
    """The most important alarms stay, whatever their number."""
    box = Outbox(room=3)
    assert box.put(notice(1, Priority.LOW), 1.0) is None
    assert box.put(notice(2, Priority.LOW), 2.0) is None
    assert box.put(notice(3, Priority.CRITICAL), 3.0) is None
    dropped = box.put(notice(4, Priority.CRITICAL), 4.0)
    assert dropped is not None
    assert dropped.alarm == "hot-1"
    dropped = box.put(notice(5, Priority.LOW), 5.0)
    assert dropped is not None
    assert dropped.alarm == "hot-2"
    assert sorted(one.notice.alarm for one in box.take()) == ["hot-3", "hot-4", "hot-5"]
    assert box.left_out == 2
    dropped = box.put(notice(6, Priority.MEDIUM), 6.0)  # all others are on their way
    assert dropped is not None
    assert dropped.alarm == "hot-6"
    box.sent(2)
    assert (len(box), box.left_out) == (0, 1)


def test_an_alarm_waits_once_also_while_it_is_sent() -> None:
    """After a reload the alarms are handed over again."""
    box = Outbox()
    box.put(notice(1), 1.0)
    box.put(notice(1), 2.0)
    assert len(box.take()) == 1
    box.put(notice(1), 3.0)
    assert not box.change.is_set()
    assert box.give_back(0.0) == []
    assert [one.since for one in box.take()] == [1.0]


def test_alarms_that_have_waited_too_long_are_given_up() -> None:
    """The others wait on, the older first."""
    box = Outbox()
    for number in (1, 2, 3):
        box.put(notice(number), float(number))
    box.take()
    box.put(notice(4), 4.0)
    assert [one.alarm for one in box.give_back(1.5)] == ["hot-1"]
    assert box.change.is_set()
    assert [one.notice.alarm for one in box.take()] == ["hot-2", "hot-3", "hot-4"]


def test_an_escalation_that_waits_is_withdrawn_and_a_first_message_is_not() -> None:
    """An alarm of the night that returned is still worth a message; waking the manager for it is not."""
    box = Outbox()
    box.put(notice(1), 1.0)
    box.put(notice(1, after=600), 1.0)
    for one in (notice(1), notice(1, after=600), notice(2, after=600)):
        box.withdraw(one)
    assert [one.notice.step.after for one in box.take()] == [0.0]


def test_alarms_of_a_removed_machine_are_forgotten() -> None:
    """Another worker may read it now, and has its alarms."""
    box = Outbox()
    box.put(notice(1), 1.0)
    box.put(notice(2, machine="a/b/c/d/e"), 1.0)
    box.forget(notice().machine)
    assert [one.notice.alarm for one in box.take()] == ["hot-2"]


@pytest.mark.parametrize(
    ("text", "outcome", "status"),
    [
        (
            "Socket Exception: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed",
            "not_trusted",
            0,
        ),
        ("Failed to send JSON POST notification: Verification Failed., error=401.", "sign_in", 401),
        ("Socket Exception: (535, b'5.7.8 Authentication credentials invalid')", "sign_in", 535),
        ("Failed to send JSON POST notification: Page not found., error=404.", "refused", 404),
        ("Socket Exception: Failed to establish: [Errno -2] Name or service not known", "unknown_host", 0),
        ("Socket Exception: HTTPConnectionPool(host='h'): Read timed out. (read timeout=10)", "timed_out", 0),
        ("Socket Exception: [Errno 111] Connection refused", "no_connection", 0),
        ("Socket Exception: STARTTLS extension not supported by server.", "no_tls", 0),
        ("", "failed", 0),
    ],
)
def test_failures_of_the_library_have_a_text_of_ours(text: str, outcome: str, status: int) -> None:
    """Its own texts may contain parts of the URL."""
    assert answer_of(text) == Answer(outcome=Outcome(outcome), status=status)


@given(st.binary(max_size=200))
def test_any_output_of_the_process_is_an_answer(content: bytes) -> None:
    """It may have been killed in the middle."""
    assert parse_answer(content).outcome is Outcome.FAILED
