"""Retained messages of alarms: none stays at the broker after its alarm, whatever happens to the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.publish.retained_messages import RetainedMessages

if TYPE_CHECKING:
    from pathlib import Path


async def publish(messages: RetainedMessages, broker: dict[str, bytes], batch: dict[str, bytes]) -> None:
    await messages.remember(batch)
    for topic, payload in batch.items():
        if payload:
            broker[topic] = payload
        else:
            broker.pop(topic, None)
    await messages.delivered(batch)


async def test_a_message_is_cleared_after_a_kill(tmp_path: Path) -> None:
    """The topic is on disk before the message is published."""
    file, broker = tmp_path / "retained.json", dict[str, bytes]()
    first = RetainedMessages(file)
    await first.begin()
    first.set("m/alarm/a", b"1")
    first.set("m/alarm/b", b"2")
    await publish(first, broker, first.all())
    assert broker == {"m/alarm/a": b"1", "m/alarm/b": b"2"}
    again = RetainedMessages(file)
    await again.begin()
    again.set("m/alarm/b", b"3")
    await publish(again, broker, again.all())
    assert broker == {"m/alarm/b": b"3"}
    third = RetainedMessages(file)
    await third.begin()
    assert third.all() == {"m/alarm/b": b""}


async def test_changes_are_collected_and_the_last_counts(tmp_path: Path) -> None:
    """A flood publishes each topic once."""
    messages, broker = RetainedMessages(tmp_path / "retained.json"), dict[str, bytes]()
    for number in range(100):
        messages.set("m/alarm/a", b"%d" % number)
    messages.set("n/alarm/b", b"1")
    changed = await messages.take_changed()
    assert changed == {"m/alarm/a": b"99", "n/alarm/b": b"1"}
    await publish(messages, broker, changed)
    messages.drop("n/alarm/")
    await publish(messages, broker, await messages.take_changed())
    assert broker == {"m/alarm/a": b"99"}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"topics": 5}', b'{"topics": [5]}'])
async def test_a_damaged_file_is_logged(tmp_path: Path, content: bytes) -> None:
    """The gateway starts all the same."""
    (tmp_path / "retained.json").write_bytes(content)
    messages = RetainedMessages(tmp_path / "retained.json")
    with capture_logs() as logs:
        await messages.begin()
    assert [one["event"] for one in logs] == ["retained_messages.unreadable"]
    assert messages.all() == {}
