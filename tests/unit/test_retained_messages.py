"""Retained messages of alarms: none stays at the broker after its alarm, whatever happens to the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.publish.retained_messages import RetainedMessages, read_topics

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


async def test_messages_of_a_machine_that_moves_are_left_to_its_new_worker(tmp_path: Path) -> None:
    """The former worker clears none of them, also after a restart; the new worker clears the rest."""
    broker, files = dict[str, bytes](), (tmp_path / "1.json", tmp_path / "2.json")
    first, second = map(RetainedMessages, files)
    for name in ("a", "b"):
        first.set(f"m/alarm/{name}", b"1")
    await publish(first, broker, first.all())
    first.set("m/alarm/a", b"2")  # and it moves before this is published
    first.leave(["m/alarm/"])
    first.drop("m/alarm/")
    second.inherit(read_topics(files[0]), ["m/alarm/"])
    second.set("m/alarm/a", b"2")
    second.clear_unwanted()
    await publish(second, broker, await second.take_changed())
    assert await first.take_changed() == {}
    restarted = RetainedMessages(files[0])
    restarted.leave(["m/alarm/"])
    await restarted.begin()
    assert restarted.all() == {}
    assert broker == {"m/alarm/a": b"2"}
    again = RetainedMessages(files[0])
    await again.begin()
    again.clear_unwanted()
    assert await again.take_changed() == {"m/alarm/a": b"", "m/alarm/b": b""}, "it is gone from all workers"


async def test_a_worker_is_idle_when_the_broker_has_all_messages(tmp_path: Path) -> None:
    """A machine goes to another worker only then: an old message must not follow a newer message."""
    messages, broker = RetainedMessages(tmp_path / "retained.json"), dict[str, bytes]()
    assert messages.idle.is_set()
    messages.set("m/alarm/a", b"1")
    batch = messages.all()
    assert not messages.idle.is_set()
    await publish(messages, broker, batch)
    assert messages.idle.is_set()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"topics": 5}', b'{"topics": [5]}'])
async def test_a_damaged_file_is_logged(tmp_path: Path, content: bytes) -> None:
    """The gateway starts all the same."""
    (tmp_path / "retained.json").write_bytes(content)
    messages = RetainedMessages(tmp_path / "retained.json")
    with capture_logs() as logs:
        await messages.begin()
    assert [one["event"] for one in logs] == ["retained_messages.unreadable"]
    assert messages.all() == {}
