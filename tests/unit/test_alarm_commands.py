"""Commands of people: signed, for one gateway, for a short time, and carried out once."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from processes import write_factory
from structlog.testing import capture_logs

from gateway.model.command import (
    MAX_STOP_REASON,
    Approval,
    BadCommand,
    Command,
    StopReason,
    Target,
    encode_command,
    parse_command,
    signed,
)
from gateway.publish import commands as commands_module
from gateway.publish.commands import MOST_ENTRIES, Commands, Journal, Result
from gateway.settings.commands_section import CommandsSection, command_warnings
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def command(**keys: Any) -> Command:
    content: dict[str, Any] = {
        "gateway": "edge", "id": "0123456789abcdef", "issued": NOW, "expires": NOW + 30 * SECOND, "user": "anna",
        "action": "acknowledge", "target": Target(machine="e/s/a/l/m", alarm="hot"),
    }  # fmt: skip
    return Command(**(content | keys))


class Receiver:
    def __init__(self, now: int = NOW, **settings: Any) -> None:
        self.done: list[Command] = []
        self.recorded: list[tuple[Command, Result]] = []
        self.more: list[int] = []
        self.now = now
        self.uptime = 0.0
        self.failure: str | None = ""
        section = CommandsSection.model_validate(settings)
        journal = Journal(AsyncExitStack(), lambda *one: self.recorded.append(one), self.more.append)
        self.commands = Commands(
            section, "edge", self._execute, journal, clock=lambda: self.now, monotonic=lambda: self.uptime
        )

    async def _execute(self, one: Command) -> str | None:
        self.done.append(one)
        return self.failure

    def take(self, one: Command) -> tuple[str, str]:
        answer = asyncio.run(self.commands.take("topic", encode_command(one)))
        assert answer is not None
        content = orjson.loads(answer)
        assert content["id"] == one.id
        return content["outcome"], content["text"]


def test_a_signed_command_is_carried_out_once_and_journaled() -> None:
    """The same message again is refused, also with another signature."""
    receiver = Receiver(keys={"room": public(KEY)})
    one = signed(command(), "room", KEY)
    assert receiver.take(one) == ("done", "")
    assert receiver.take(one) == ("refused", "it was carried out before")
    assert [result.outcome for _, result in receiver.recorded] == ["done", "refused"]
    assert len(receiver.done) == 1


@pytest.mark.parametrize("wrong", [-56 * 365 * 86_400, 3600, 365 * 86_400], ids=["in 1970", "an hour", "a year"])
def test_the_clock_may_be_set_right_after_the_start(wrong: int) -> None:
    """All commands were refused, as issued before the start, until the time that the wrong clock had shown."""
    receiver = Receiver(NOW + wrong * SECOND, unsigned_alarms=True)
    receiver.now, receiver.uptime = NOW + 60 * SECOND, 20.0
    assert receiver.take(command(issued=receiver.now, expires=receiver.now + SECOND)) == ("done", "")
    before = command(id="abcdef0123456789", expires=NOW + 100 * SECOND)
    assert receiver.take(before) == ("refused", "it was issued before the gateway started")


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (command(), "it is not signed"),
        (signed(command(), "room", OTHER), "its signature is wrong"),
        (signed(command(), "odd", KEY), "its key is not known here"),
        (signed(command(), "room", KEY).model_copy(update={"user": "ben"}), "its signature is wrong"),
        (signed(command(), "room", KEY).model_copy(update={"signature": "!"}), "its signature is wrong"),
        (signed(command(gateway="other"), "room", KEY), "it is for gateway other"),
        (signed(command(expires=NOW + 301 * SECOND), "room", KEY), "it may be valid for 300 s at most"),
        (signed(command(expires=NOW - 1), "room", KEY), "it may be valid for 300 s at most"),
        (signed(command(issued=NOW - 100 * SECOND, expires=NOW - SECOND), "room", KEY), "it has expired"),
        (signed(command(issued=NOW - 100 * SECOND), "room", KEY), "it was issued before the gateway started"),
        (signed(command(issued=NOW + 60 * SECOND, expires=NOW + 90 * SECOND), "room", KEY),
         "it was issued in the future: compare the clocks"),
        (signed(command(action="shelve"), "room", KEY), "the argument seconds is a number from 1 to 604800"),
        (signed(command(action="shelve", arguments={"seconds": True}), "room", KEY),
         "the argument seconds is a number from 1 to 604800"),
        (signed(command(action="shelve", arguments={"seconds": "long"}), "room", KEY),
         "the argument seconds is a number from 1 to 604800"),
        (signed(command(action="shelve", arguments={"seconds": 2**62}), "room", KEY),
         "the argument seconds is a number from 1 to 604800"),
    ],
)  # fmt: skip
def test_a_command_that_may_not_be_carried_out_is_refused(one: Command, text: str) -> None:
    """And nothing happens."""
    receiver = Receiver(keys={"room": public(KEY)})
    assert receiver.take(one) == ("refused", text)
    assert receiver.done == []


def test_unsigned_commands_are_for_alarms_and_only_if_the_configuration_says_so() -> None:
    """A wrong signature is refused all the same."""
    receiver = Receiver(unsigned_alarms=True, writable={"l/m/p": {"range": [1, 2]}})
    assert receiver.take(command()) == ("done", "")
    write = command(
        id="w" * 16, action="write", target=Target(machine="e/s/a/l/m", point="p"), arguments={"value": 1}
    )
    assert receiver.take(write) == ("refused", "it is not signed")
    assert receiver.take(signed(command(id="s" * 16), "room", KEY)) == ("refused", "its key is not known here")
    assert not CommandsSection().enabled


def test_a_write_is_checked_and_not_carried_out() -> None:
    """The contract of set points: a range, and the consent of others with keys of their own."""
    limits = {"l/m/p": {"range": [10, 20], "approvals": 1}}
    receiver = Receiver(keys={"a": public(KEY), "b": public(OTHER)}, writable=limits)
    number = iter(range(100))

    def write(value: object, approvals: tuple[Approval, ...] = (), point: str = "p") -> str:
        one = command(id=f"{next(number):016d}", action="write", target=Target(machine="e/s/a/l/m", point=point),
                      arguments={"value": value})  # fmt: skip
        made = tuple(
            approval.model_copy(update={"signature": signed(one, "b", OTHER).signature}) for approval in approvals
        )
        return receiver.take(signed(one.model_copy(update={"approvals": made}), "a", KEY))[1]

    ben = Approval(user="ben", key="b", signature="")
    assert write(15, (ben,)) == "this gateway does not write to machines"
    assert write(15) == "it needs the approval of 1 other person(s), with keys of their own"
    assert write(15, (Approval(user="anna", key="b", signature=""),)).startswith("it needs the approval")
    assert write(15, (Approval(user="ben", key="a", signature=""),)).startswith("it needs the approval")
    assert write(21, (ben,)) == "the value is not within 10 to 20"
    assert write("15", (ben,)) == "the argument value is not a number"
    assert write(15, (ben,), "q") == "the point is not writable"
    assert receiver.done == []


def test_ids_are_forgotten_after_their_expiry_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow, and nobody can push ids out to repeat a command."""
    monkeypatch.setattr(commands_module, "MOST_IDS", 3)
    receiver = Receiver(unsigned_alarms=True)
    for number in range(3):
        assert receiver.take(command(id=f"{number:016d}")) == ("done", "")
    assert receiver.take(command(id="x" * 16)) == ("refused", "too many commands")
    receiver.now += 31 * SECOND
    later = command(id="x" * 16, issued=receiver.now, expires=receiver.now + SECOND)
    assert receiver.take(later) == ("done", "")
    assert len(receiver.commands._ids) == 1  # noqa: SLF001 - it must not grow


def test_a_failure_is_answered() -> None:
    """With its reason; so is a command for a machine that the gateway does not have."""
    receiver = Receiver(unsigned_alarms=True)
    receiver.failure = "there is no alarm hot"
    assert receiver.take(command()) == ("failed", "there is no alarm hot")
    receiver.failure = None
    assert receiver.take(command(id="y" * 16))[0] == "failed"


async def test_entries_of_commands_that_are_not_carried_out_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may not fill the audit log; commands that are carried out are always there."""
    monkeypatch.setattr(commands_module, "WINDOW", 0.01)
    receiver = Receiver(unsigned_alarms=True)
    ended = asyncio.Event()
    receiver.commands._journal = receiver.commands._journal._replace(  # noqa: SLF001 - to wait for it
        record_more=lambda number: (receiver.more.append(number), ended.set())
    )
    commands = receiver.commands

    async def flood(number: int) -> None:
        for _ in range(number):
            await commands.take("topic", encode_command(command(gateway="other")))

    async with commands:
        await flood(MOST_ENTRIES + 30)
        await commands.take("topic", encode_command(command()))
        assert [result.outcome for _, result in receiver.recorded] == ["refused"] * MOST_ENTRIES + ["done"]
        async with asyncio.timeout(10):
            await ended.wait()
        assert receiver.more == [30]
        await flood(MOST_ENTRIES + 1)
    assert receiver.more == [30, 1], "the end of the gateway loses none"
    assert len(receiver.recorded) == 2 * MOST_ENTRIES + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Command.model_fields, "odd"]), inner, max_size=12)
    ),
    max_leaves=20,
)


@given(st.binary(max_size=200) | JSON.map(orjson.dumps))
def test_any_payload_is_a_command_or_ignored(payload: bytes) -> None:
    """Anyone may publish anything there."""
    receiver = Receiver(unsigned_alarms=True)
    with capture_logs():
        asyncio.run(receiver.commands.take("topic", payload))
    assert receiver.done == []


def test_a_number_beyond_those_of_machines_is_no_time_of_a_shelf() -> None:
    """JSON has it, and a sender may write it."""
    one = encode_command(command(action="shelve", arguments={"seconds": 60}))
    assert one.count(b":60") == 1
    assert parse_command(one).shelf == 60
    for large in (b"9" * 30, b"9" * 300, b"-1", b"0.5"):
        assert parse_command(one.replace(b":60", b":" + large)).shelf is None


def test_a_command_that_is_too_large_is_not_parsed() -> None:
    """It could cost the gateway its time."""
    with pytest.raises(BadCommand, match="the limit is"):
        parse_command(b" " * 20_000)
    assert parse_command(encode_command(command())) == command()


@pytest.mark.parametrize("written", ["", "abc", "AAAA", b64encode(b"x" * 31).decode()])
def test_a_key_that_is_not_one_is_reported(written: str) -> None:
    """When the configuration is validated."""
    with pytest.raises(ValueError, match=r"is not a public key of Ed25519.*openssl pkey"):
        CommandsSection.model_validate({"keys": {"room": written}})


PEOPLE = {
    "room": {"key": public(KEY), "people": ["anna", "root (ben)"]},
    "page": {"key": public(OTHER), "people": "any"},
}


@pytest.mark.parametrize(
    ("user", "key", "result"),
    [
        ("anna", "room", ("done", "")),
        ("root (ben)", "room", ("done", "")),
        ("Anna", "room", ("refused", "the key room does not speak for Anna")),
        ("carla", "room", ("refused", "the key room does not speak for carla")),
        ("any", "room", ("refused", "the key room does not speak for any")),
        ("carla", "page", ("done", "")),
    ],
)
def test_a_key_speaks_for_its_people_alone(user: str, key: str, result: tuple[str, str]) -> None:
    """A name is a statement of the sender; with the names at the key it is one that was proved."""
    receiver = Receiver(keys=PEOPLE)
    with capture_logs() as logs:
        assert receiver.take(signed(command(user=user), key, {"room": KEY, "page": OTHER}[key])) == result
    [(recorded, outcome)] = receiver.recorded
    assert (recorded.user, recorded.key, outcome) == (user, key, Result(*result))
    assert dict(receiver.commands.counts) == {result[0]: 1}
    assert [entry["event"] for entry in logs] == (["command.refused"] if result[1] else [])
    assert [one.user for one in receiver.done] == ([user] if result[0] == "done" else [])


def test_a_command_of_a_key_without_people_is_in_the_name_of_the_key() -> None:
    """A person with the key can write any name. The answer is for the sender, and has the name that was sent."""
    receiver = Receiver(keys={"room": public(KEY)})
    answer = asyncio.run(receiver.commands.take("topic", encode_command(signed(command(), "room", KEY))))
    assert answer is not None
    assert orjson.loads(answer)["user"] == "anna"
    assert [one.user for one in receiver.done] == ["room (anna)"]
    assert [one.user for one, _ in receiver.recorded] == ["room (anna)"]


def test_an_unsigned_command_borrows_no_key() -> None:
    """Else the audit log would show the key of somebody else beside a name that nothing proves."""
    receiver = Receiver(unsigned_alarms=True, keys=PEOPLE)
    assert receiver.take(command(key="room")) == ("done", "")
    [(recorded, _)] = receiver.recorded
    assert (recorded.user, recorded.key) == ("anna", "")


def test_an_approval_counts_only_for_a_person_of_its_key() -> None:
    keys = {"a": {"key": public(KEY), "people": "anna"}, "b": {"key": public(OTHER), "people": ["ben"]}}
    receiver = Receiver(keys=keys, writable={"l/m/p": {"range": [1, 2], "approvals": 1}})
    write = command(action="write", target=Target(machine="e/s/a/l/m", point="p"), arguments={"value": 1})
    for approver, text in (("carla", "it needs the approval"), ("ben", "this gateway does not write to machines")):
        consent = b64encode(OTHER.sign(write.signed)).decode()
        approval = Approval(user=approver, key="b", signature=consent)
        outcome, why = receiver.take(signed(write, "a", KEY).model_copy(update={"approvals": (approval,)}))
        assert outcome == "refused"
        assert why.startswith(text)


@pytest.mark.parametrize(
    ("people", "message"),
    [(["any", "anna"], "any is for all names"), ([""], "people"), (["a\n"], "people"), (7, "people")],
)
def test_people_that_are_no_names_are_reported(people: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CommandsSection.model_validate({"keys": {"room": {"key": public(KEY), "people": people}}})


def test_a_key_without_people_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "press.yaml").write_text(
        "format: 1\nprotocol: modbus\npoints: {count: {address: holding 0}}\n"
    )
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge", "commands": {"keys": PEOPLE | {"room": public(KEY)}}},
        broker={"url": "mqtt://127.0.0.1"},
        lines={"l": {"area": "a", "machines": {"m": {"template": "press", "connection": "modbus+tcp://127.0.0.1"}}}},
    )
    [problem] = command_warnings(load_factory(config))
    assert problem.path == "gateway.commands.keys.room"
    assert problem.message.startswith("commands are recorded in the name of room")


def reason(**arguments: Any) -> Command:
    """Return a command that gives a reason."""
    usual = {"begin": NOW - 60 * SECOND, "reason": "bladder"}
    return command(action="give_reason", target=Target(machine="e/s/a/l/m"), arguments=usual | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"reason": ""}, {"reason": "  "}, {"reason": "x" * (MAX_STOP_REASON + 1)}, {"reason": 7}, {"begin": "now"},
        {"begin": True}, {"begin": 1.5}, {"comment": 3}, {"seconds": 60},
    ],
)  # fmt: skip
def test_arguments_that_are_no_reason_are_refused(arguments: dict[str, Any]) -> None:
    """And nothing is written."""
    receiver = Receiver(unsigned_alarms=True)
    outcome, text = receiver.take(reason(**arguments))
    assert (outcome, text.startswith("the arguments are begin")) == ("refused", True)
    assert receiver.done == []


def test_a_reason_follows_the_rules_of_commands_for_alarms() -> None:
    """Unsigned only where these are; carried out once, and journaled."""
    unsigned, keyed = Receiver(unsigned_alarms=True), Receiver(keys={"room": public(KEY)})
    assert unsigned.take(reason()) == ("done", "")
    assert keyed.take(reason()) == ("refused", "it is not signed")
    assert keyed.take(signed(reason(), "room", KEY)) == ("done", "")
    assert keyed.take(signed(reason(), "room", KEY)) == ("refused", "it was carried out before")
    assert len(keyed.recorded) == 3
    keyed.failure = None
    text = "this gateway has no such machine with a production"
    assert keyed.take(signed(reason().model_copy(update={"id": "y" * 16}), "room", KEY)) == ("failed", text)


def test_blanks_around_a_reason_are_no_part_of_it() -> None:
    """Two persons mean the same."""
    given = reason(reason=" bladder ", comment=" burst ").stop_reason
    assert given == StopReason(NOW - 60 * SECOND, "bladder", "burst")
