"""Commands of the page to gateways: who takes them, how they are signed, their outcome; and alarms of gateways."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiomqtt import MqttError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dashboard_plant import PRESS, FedPlant, plants
from hypothesis import given
from hypothesis import strategies as st
from live_plant import machine_path, message, write_live_plant

from gateway.acl.accounts import Action as Right
from gateway.acl.accounts import accounts_of
from gateway.dashboard.actions import Actors
from gateway.dashboard.alarms.notes import Note
from gateway.dashboard.alarms.noting import Noting
from gateway.dashboard.alarms.requests import NoteRequest
from gateway.dashboard.commanding import AT_ONCE, Became
from gateway.dashboard.feeds.alarms import AlarmsFeed
from gateway.dashboard.feeds.machine import MachineFeed
from gateway.dashboard.feeds.overview import OverviewFeed
from gateway.dashboard.plants import Plants
from gateway.model.command import Order, Target, is_signed, parse_command
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics
from gateway.settings.commands_section import CommandsSection
from gateway.settings.dashboard_section import PageCommandsSection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.settings.factory import Factory

MACHINE = machine_path("curing/curing-1/press-01")
KEY = Ed25519PrivateKey.generate()
PUBLIC = b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
ACKNOWLEDGE = Order("acknowledge", Target(machine=str(MACHINE), alarm="few"), {}, "seen")


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return write_live_plant(tmp_path, {"curing/curing-1/press-01": ("modbus", {"count": {"address": "holding 0"}})})


def taking(factory: Factory, **commands: Any) -> Factory:
    """Return a factory whose gateway takes commands."""
    section = CommandsSection.model_validate(commands)
    return replace(factory, gateway=factory.gateway.model_copy(update={"commands": section}))


def page_key(folder: Path, content: bytes | None = None) -> PageCommandsSection:
    file = folder / "page.pem"
    file.write_bytes(content or KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    return PageCommandsSection.model_validate({"key": {"file": str(file)}, "name": "page", "wait": "10s"})


class Line:
    """A connection to a broker that notes the messages that are sent; `reply` answers each command."""

    def __init__(self, of: Plants, reply: Callable[[bytes], bytes | None], reason: int = 0) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self._plant, self._reply, self._reason = of.plants[0], reply, reason
        of.listeners[0].send = self._send  # type: ignore[method-assign] # there is no broker

    def _send(self, topic: str, payload: bytes, sent: Callable[[int], None]) -> None:
        self.sent.append((topic, payload))
        sent(self._reason)
        answer = self._reply(payload)
        if answer is not None:
            self._plant.take(ReceivedMessage(topic.replace("/command", "/answer"), answer))


def answer(outcome: str, text: str = "") -> Callable[[bytes], bytes]:
    """Return a function that answers a command."""
    return lambda payload: json.dumps({"id": parse_command(payload).id, "outcome": outcome, "text": text}).encode()


def sent(of: Plants) -> tuple[Became, str]:
    outcome = asyncio.run(of.commander.send("anna", MACHINE, ACKNOWLEDGE))
    return outcome.became, str(outcome.text)


@pytest.mark.parametrize(
    ("gateway", "page", "may"),
    [
        ({}, "key", False), ({}, "none", False), ({"unsigned_alarms": True}, "none", False),
        ({"unsigned_alarms": True}, "empty", True), ({"keys": {"page": PUBLIC}}, "empty", False),
        ({"keys": {"page": PUBLIC}}, "key", True), ({"keys": {"other": PUBLIC}}, "key", False),
    ],
)  # fmt: skip
def test_the_page_commands_only_what_both_sides_configure(
    factory: Factory, tmp_path: Path, gateway: dict[str, Any], page: str, *, may: bool
) -> None:
    """Else it keeps notes of its own, and gives no reason."""
    section = {"key": page_key(tmp_path), "none": None, "empty": PageCommandsSection()}[page]
    found = Plants([taking(factory, **gateway)], commands=section)
    assert found.may_command(MACHINE) is may
    assert not found.may_command(PRESS._replace(machine="other"))
    if not may:
        assert sent(found)[0] is Became.NOT_SENT


def test_a_command_is_signed_and_its_answer_returned(factory: Factory, tmp_path: Path) -> None:
    """The gateway sees the person, and the page shows the text of the gateway."""
    found = Plants([taking(factory, keys={"page": PUBLIC})], commands=page_key(tmp_path))
    line = Line(found, answer("failed", "the alarm is normal\x1b[31m"))
    assert sent(found) == (Became.FAILED, "the alarm is normal [31m")
    [(topic, payload)] = line.sent
    command = parse_command(payload)
    assert topic == "lineside/v1/acme/north/_gateways/edge-01/command"
    assert (command.user, command.reason, command.target.alarm) == ("anna", "seen", "few")
    assert is_signed(command, command.signature, KEY.public_key())


def test_any_other_message_to_it_is_no_outcome(factory: Factory) -> None:
    """Anybody may publish on the topic; a command without an answer is said to have none."""
    found = Plants(
        [taking(factory, unsigned_alarms=True)], commands=PageCommandsSection.model_validate({"wait": "50ms"})
    )
    for wrong in (b"", b"[]", b"{" * 9_000, b'{"id": "x", "outcome": "done"}', b"\xff" * 20_000, b'{"outcome": 1}'):
        Line(found, lambda _, wrong=wrong: wrong)
        assert sent(found) == (Became.NO_ANSWER, "")


@pytest.mark.parametrize("answers", [True, False])
def test_many_commands_at_once_do_not_flood_a_gateway(factory: Factory, *, answers: bool) -> None:
    """Its queue is bounded, and a command beyond it would get no answer; nobody waits long for a silent gateway."""
    section = PageCommandsSection.model_validate({"wait": "60s" if answers else "200ms"})
    found = Plants([taking(factory, unsigned_alarms=True)], commands=section)
    waiting: list[bytes] = []
    most = 0

    def reply(payload: bytes) -> None:
        nonlocal most
        waiting.append(payload)
        most = max(most, len(waiting))
        if answers:
            asyncio.get_running_loop().call_soon(give)

    def give() -> None:
        found.plants[0].answered(answer("done")(waiting.pop(0)))

    async def all_() -> list[Became]:
        outcomes = await asyncio.gather(*(found.commander.send("anna", MACHINE, ACKNOWLEDGE) for _ in range(200)))
        return [one.became for one in outcomes]

    line = Line(found, reply)
    became = asyncio.run(all_())
    if answers:
        assert set(became) == {Became.DONE}
        assert most <= AT_ONCE
    else:
        assert (became.count(Became.NO_ANSWER), became.count(Became.NOT_SENT)) == (
            len(line.sent),
            200 - len(line.sent),
        )
        assert AT_ONCE <= len(line.sent) <= 2 * AT_ONCE


def test_what_the_broker_refuses_was_not_sent(factory: Factory) -> None:
    """The right to publish is missing, or there is no connection."""
    found = Plants(
        [taking(factory, unsigned_alarms=True)], commands=PageCommandsSection.model_validate({"wait": "5s"})
    )
    became, text = None, ""
    Line(found, lambda _: None, reason=0x87)
    became, text = sent(found)
    assert (became, "denies publishing on lineside/v1" in text) == (Became.NOT_SENT, True)
    fresh = Plants([taking(factory, unsigned_alarms=True)], commands=PageCommandsSection())
    assert sent(fresh) == (Became.NOT_SENT, "the broker is not connected")
    with pytest.raises(MqttError):
        fresh.listeners[0].send("topic", b"", lambda _: None)


def test_a_key_that_is_not_one_is_said_at_the_start(factory: Factory, tmp_path: Path) -> None:
    """Not at the first click of an operator."""
    with pytest.raises(ValueError, match="is not a private key of Ed25519 in PEM"):
        Plants([factory], commands=page_key(tmp_path, b"no key"))
    for wrong in ({"name": "page"}, {"key": {"secret": "page_key"}}, {"wait": "2m"}):
        with pytest.raises(ValueError, match=r"key|wait"):
            PageCommandsSection.model_validate(wrong)


def test_the_page_has_the_right_to_command_only_if_that_is_configured(factory: Factory) -> None:
    """A page under foreign control must not acknowledge alarms where nobody wants that."""
    topic = Topics("lineside/v1").gateway("acme", "north", "edge-01", "command")
    for commands, may in ((None, False), (PageCommandsSection(), True)):
        dashboard = factory.dashboard.model_copy(update={"commands": commands})
        found = accounts_of([replace(taking(factory, unsigned_alarms=True), dashboard=dashboard)])
        page = next(one for one in found if one.user == "page")
        assert page.may(Right.PUBLISH, topic) is may
        assert page.may(Right.SUBSCRIBE, topic.replace("/command", "/answer")) is may
        assert not page.may(Right.PUBLISH, topic.replace("/command", "/state"))


# -- alarms of gateways --


def retained(state: str = "unacknowledged", **changes: Any) -> dict[str, Any]:
    """Return the retained message of an alarm, as a gateway publishes it."""
    standing = state not in {"shelved", "suppressed", "out_of_service"}
    return {
        "id": "1", "type": "low", "source": "count", "condition": "few", "severity": 700, "message": "Only 3 parts",
        "active": standing, "acknowledged": state != "unacknowledged", "condition_id": "lineside:few",
        "branch_id": None, "alarm": "few", "state": state, "priority": "high", "since": 7, "changed": 8, "who": "",
        "reason": "", "until": None,
    } | changes  # fmt: skip


def rows(feed: AlarmsFeed, **arguments: Any) -> list[dict[str, Any]]:
    feed.choose(arguments)
    feed._sent = {}  # noqa: SLF001 - all rows again
    found = feed.changes() or {}
    return list(found.get("rows", ()))


def test_the_state_of_an_alarm_is_that_of_the_retained_message() -> None:
    """Its events may come again later; a shelved alarm is found under those that are shelved."""
    fed = FedPlant()
    fed.state("online")
    fed.hear(f"{PRESS}/alarm/few", retained(), retain=True)
    feed = AlarmsFeed(plants(fed))
    [row] = rows(feed)
    assert (row["gateway"]["state"], row["since"], row["command"]) == ("unacknowledged", 7, False)
    fed.take(message(PRESS, 8, "event", alarms=json.dumps(retained())))
    assert len(rows(feed)) == 1
    shelved = retained("shelved", who="anna", until=99, reason="<b>\x00")
    fed.hear(f"{PRESS}/alarm/few", shelved, retain=True)
    assert rows(feed) == []
    [row] = rows(feed, shelved=True)
    assert row["gateway"] == {"state": "shelved", "who": "anna", "at": 8, "reason": "<b>", "until": 99}
    fed.hear(f"{PRESS}/alarm/few", b"", retain=True)
    assert rows(feed, shelved=True) == rows(feed) == []
    fed.subscriptions_denied(["lineside/v1/acme/north/+/+/+/alarm/+"])
    assert len(rows(feed)) == 1, "the event is all that is known then"


def badges(of: Plants) -> tuple[list[int], str, list[str]]:
    """Return the alarms by priority and the text on the tile of the machine, and the alarms of its view."""
    [row] = (OverviewFeed(of).changes() or {})["machines"]
    machine = MachineFeed(of)
    machine.choose({"path": str(PRESS)})
    state = (machine.changes() or {})["state"]
    assert state.get("alarms") == row.get("alarms")
    return row.get("alarms", [0, 0, 0, 0]), row.get("alarm", ""), [one["name"] for one in state["standing"]]


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        ("unacknowledged", True), ("acknowledged", True), ("returned_unacknowledged", True),
        ("latched_unacknowledged", True), ("latched", True), ("shelved", False), ("suppressed", False),
        ("out_of_service", False),
    ],
)  # fmt: skip
def test_the_badge_of_a_machine_counts_what_its_gateway_retains(state: str, *, counts: bool) -> None:
    """At once after a start of the page, without an event; an event of before does not bring an alarm back."""
    fed = FedPlant()
    fed.state("online")
    found = plants(fed)
    fed.take(message(PRESS, 7, "event", alarms=json.dumps(retained())))
    assert badges(found) == ([0, 0, 0, 0], "", []), "the retained message has not come yet"
    ended = state in {"returned_unacknowledged", "latched_unacknowledged", "latched"}
    content = retained(state, active=not ended and counts, acknowledged="unacknowledged" not in state)
    fed.hear(f"{PRESS}/alarm/few", content, retain=True)
    expected = ([0, 1, 0, 0], "Only 3 parts", ["few"]) if counts else ([0, 0, 0, 0], "", [])
    assert badges(found) == expected
    fed.take(message(PRESS, 8, "event", alarms=json.dumps(retained())))
    assert badges(found) == expected
    fed.hear(f"{PRESS}/alarm/few", b"", retain=True)
    assert badges(found) == ([0, 0, 0, 0], "", [])


def test_the_badge_adds_alarms_of_the_device_and_leaves_out_those_that_are_shelved_on_the_page() -> None:
    """As the view of alarms does, also when the time of the shelf is over."""
    fed = FedPlant()
    fed.state("online")
    found = plants(fed)
    fed.hear(f"{PRESS}/alarm/few", retained(), retain=True)
    device = retained(condition="Level", condition_id="ns=2;s=Level", severity=900, message="Level is high")
    fed.take(message(PRESS, 9, "event", alarms=json.dumps(device)))
    assert badges(found) == ([1, 1, 0, 0], "Level is high", ["Level", "few"])
    [alarm] = fed.alarms
    note = Note(kind="shelved", path=str(PRESS), key=alarm.key, who="a", at=1, comment="", until=2**60)
    found.notes.set(note)
    assert badges(found) == ([0, 1, 0, 0], "Only 3 parts", ["few"])
    found.notes.set(note.model_copy(update={"until": 1}))
    assert badges(found)[0] == [1, 1, 0, 0]
    feed = AlarmsFeed(found)
    feed.choose({})
    assert (feed.changes() or {})["summary"]["priorities"] == [1, 1, 0, 0]


def test_a_latched_alarm_stands_until_it_is_reset() -> None:
    """It has ended and is acknowledged, so its event alone says nothing."""
    fed = FedPlant()
    fed.state("online")
    fed.hear(f"{PRESS}/alarm/few", retained("latched", active=False, acknowledged=True), retain=True)
    [row] = rows(AlarmsFeed(plants(fed)))
    assert (row["gateway"]["state"], row["active"], row["acknowledged"]) == ("latched", False, True)


def note_request(action: str, key: str) -> NoteRequest:
    alarms = [{"path": str(MACHINE), "key": key}]
    return NoteRequest.model_validate_json(
        json.dumps({"action": action, "alarms": alarms, "comment": "valve closed"})
    )


def test_an_alarm_is_reset_by_a_command_of_its_gateway_alone(factory: Factory) -> None:
    """A note can't reset anything: the answer says that nothing was sent, and nothing is changed."""
    recorded: list[tuple[Any, ...]] = []
    actors = Actors(lambda *_: "anna", lambda *said: recorded.append(said))
    for commands, became in ((PageCommandsSection(), "done"), (None, "not_sent")):
        found = Plants([taking(factory, unsigned_alarms=True)], commands=commands)
        line = Line(found, answer("done"))
        content = retained("latched", active=False, acknowledged=True)
        found.plants[0].take(
            ReceivedMessage(f"lineside/v1/{MACHINE}/alarm/few", json.dumps(content).encode(), retain=True)
        )
        [alarm] = found.plants[0].gateway_alarms
        answered = asyncio.run(Noting(found, actors).apply("anna", note_request("reset", alarm.alarm.key)))
        [outcome] = answered["commands"]
        assert (outcome["outcome"], outcome["name"], answered["changed"]) == (became, "few", 0)
        assert found.notes.of(alarm.alarm, 2) is None
        if commands is None:
            assert (line.sent, "takes a command" in str(outcome["text"])) == ([], True)
            continue
        [(_, payload)] = line.sent
        command = parse_command(payload)
        assert (command.action, command.target.alarm, command.user) == ("reset", "few", "anna")
        assert (command.reason, command.arguments) == ("valve closed", {})
    [(who, action, object_, before, after)] = recorded
    assert (who, action, object_) == ("anna", "alarm.reset", f"{MACHINE} count few")
    assert (before, after["action"], after["outcome"]) == ({"state": "latched"}, "reset", "done")


def test_without_commands_a_note_counts_for_an_alarm_of_a_gateway_too(factory: Factory) -> None:
    """As for each alarm that no gateway takes a command for; with commands the gateway alone decides."""
    for commands, noted in ((None, True), (PageCommandsSection(), False)):
        found = Plants([taking(factory, unsigned_alarms=True)], commands=commands)
        found.plants[0].take(
            ReceivedMessage(f"lineside/v1/{MACHINE}/alarm/few", json.dumps(retained()).encode(), retain=True)
        )
        [alarm] = found.plants[0].gateway_alarms
        found.notes.set(
            Note(kind="shelved", path=str(MACHINE), key=alarm.alarm.key, who="anna", at=1, comment="", until=2**52)
        )
        feed = AlarmsFeed(found)
        assert len(rows(feed, shelved=True)) == noted
        assert len(rows(feed)) == (not noted)


def test_after_a_lost_connection_only_what_is_retained_counts() -> None:
    """An alarm may have become normal meanwhile, and nothing says so."""
    fed = FedPlant()
    fed.hear(f"{PRESS}/alarm/few", retained(), retain=True)
    fed.gateway_alarms.clear()
    assert (list(fed.gateway_alarms), fed.ignored) == ([], 0)


@given(
    st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*retained(), "odd"]), inner),
        max_leaves=20,
    ).map(lambda one: json.dumps(one).encode())
)
def test_any_payload_is_an_alarm_or_ignored(payload: bytes) -> None:
    """Anyone with the right to publish there may send anything."""
    fed = FedPlant()
    fed.hear(f"{PRESS}/alarm/few", payload, retain=True)
    assert len(list(fed.gateway_alarms)) + fed.ignored <= 1


def test_messages_that_are_too_large_or_too_many_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of the page is bounded."""
    monkeypatch.setattr("gateway.dashboard.live.gateway_alarms.MOST", 2)
    fed = FedPlant()
    fed.hear(f"{PRESS}/alarm/few", retained(message="x" * 20_000), retain=True)
    assert fed.ignored == 1
    fed.hear(f"{PRESS}/alarm/{'x' * 300}", retained(), retain=True)
    assert fed.ignored == 2
    for number in range(4):
        name = f"a{number}"
        fed.hear(f"{PRESS}/alarm/{name}", retained(alarm=name, condition_id=f"lineside:{name}"), retain=True)
    assert (len(list(fed.gateway_alarms)), fed.gateway_alarms.dropped) == (2, 2)
    fed.gateway_alarms.clear()
    for number in range(4):
        fed.hear(f"{PRESS}/alarm/a{number}", retained(), retain=True)
    assert fed.gateway_alarms.dropped == 4, "topics are bounded, too, if all name one condition"
