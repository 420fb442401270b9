"""A command of a person to a gateway, over MQTT: signed, for one gateway, for a short time, and carried out once.

The signature is Ed25519 (RFC 8032) over `SIGNED` and the JSON of the command with sorted keys and without blanks, and
without `signature`, `key` and `approvals`. An approval is the signature of a second person over the same bytes.
"""

from __future__ import annotations

import secrets
import time
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gateway.model.path import MachinePath
from gateway.model.text import MAX_NAME, MAX_TEXT, check_text, clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNED = b"lineside command 1\n"
"""The beginning of the bytes that are signed: a signature is for nothing else."""

MAX_COMMAND = 16 * 2**10
"""Bytes of a command."""

MAX_ARGUMENTS, MAX_APPROVALS = 16, 4

SIGNATURE_BYTES = 64

ALARM_ACTIONS = (
    "acknowledge", "reset", "shelve", "unshelve", "remove_from_service", "return_to_service",
)  # fmt: skip

LONGEST_SHELF = 7 * 86_400.0
"""Seconds for which an alarm can be shelved."""

GIVE_REASON: Final = "give_reason"
"""The action that gives the reason of a stop, in its arguments."""

MAX_STOP_REASON = 100
"""Characters of the reason of a stop."""


class BadCommand(ValueError):
    """A payload is not a command. The text is short, and repeats nothing of the payload."""


def _text(written: str) -> str:
    return check_text(written, MAX_TEXT)


def _machine(written: str) -> str:
    if len(check_text(written, 5 * MAX_NAME).split("/")) != len(MachinePath._fields):
        raise ValueError("is not enterprise/site/area/line/machine")
    return written


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_text)]
Text = Annotated[str, AfterValidator(_text)]
Microseconds = Annotated[int, Field(ge=0, le=253_402_300_800_000_000)]
Argument = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(allow_inf_nan=False)] | Text


Action = Literal[
    "acknowledge", "reset", "shelve", "unshelve", "remove_from_service", "return_to_service", "give_reason", "write"
]
"""The effect of a command: one of `ALARM_ACTIONS`, `GIVE_REASON`, or `write`."""


class StopReason(NamedTuple):
    """The reason of a stop of a machine. `begin` of the stop is in microseconds since the epoch, UTC."""

    begin: int
    reason: str
    comment: str = ""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Target(_Part):
    """The machine of a command, and the alarm or the point there."""

    machine: Annotated[str, AfterValidator(_machine)]
    alarm: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_text)] = ""
    point: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_text)] = ""

    @property
    def path(self) -> MachinePath:
        """The machine."""
        return MachinePath(*self.machine.split("/"))


class Approval(_Part):
    """The consent of a second person: the name, the key, and its signature over the same bytes, in base64."""

    user: Name
    key: Name
    signature: Annotated[str, Field(max_length=100)]


class Command(_Part):
    """One command.

    `id` is drawn at random, and never used again. `issued` and `expires` are in microseconds since the epoch, UTC.
    `action` is one of `ALARM_ACTIONS`, `GIVE_REASON`, or `write`. `key` is the name of the key of
    `signature` at the gateway.
    """

    v: Literal[1] = 1
    gateway: Name
    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{16,64}$")]
    issued: Microseconds
    expires: Microseconds
    user: Name
    reason: Text = ""
    action: Action
    target: Target
    arguments: Annotated[dict[Name, Argument], Field(max_length=MAX_ARGUMENTS)] = {}
    key: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_text)] = ""
    signature: Annotated[str, Field(max_length=100)] = ""
    approvals: Annotated[tuple[Approval, ...], Field(max_length=MAX_APPROVALS)] = ()

    @property
    def signed(self) -> bytes:
        """The bytes that are signed."""
        content = self.model_dump(exclude={"key", "signature", "approvals"})
        return SIGNED + orjson.dumps(content, option=orjson.OPT_SORT_KEYS)

    @property
    def shelf(self) -> float | None:
        """The seconds of a shelf; None if there are none, or not so many as there can be."""
        seconds = self.arguments.get("seconds")
        if self.action != "shelve" or isinstance(seconds, bool) or not isinstance(seconds, int | float):
            return None
        return float(seconds) if 1 <= seconds <= LONGEST_SHELF else None

    @property
    def stop_reason(self) -> StopReason | None:
        """The reason of a stop, without blanks around it; None if the arguments are not those of such an action."""
        begin, reason, comment = (self.arguments.get(name, "") for name in StopReason._fields)
        if self.action != GIVE_REASON or not self.arguments.keys() <= set(StopReason._fields):
            return None
        if isinstance(begin, bool) or not isinstance(begin, int) or not isinstance(reason, str):
            return None
        if not isinstance(comment, str) or not 1 <= len(reason.strip()) <= MAX_STOP_REASON:
            return None
        return StopReason(begin, reason.strip(), comment.strip())

    @property
    def is_of_alarm(self) -> bool:
        """Whether it is about an alarm."""
        return self.action in ALARM_ACTIONS

    @property
    def spares_machine(self) -> bool:
        """Whether it changes nothing at the machine."""
        return self.is_of_alarm or self.action == GIVE_REASON


class Order(NamedTuple):
    """The wish of a person at the gateway of a machine; `reason` says why, for the journal."""

    action: Action
    target: Target
    arguments: Mapping[str, Argument]
    reason: str = ""


def new_command(gateway: str, user: str, order: Order, valid: float) -> Command:
    """Return the command of a user for a gateway, issued now and valid for some seconds."""
    now = time.time_ns() // 1000
    return Command(
        gateway=gateway, id=secrets.token_urlsafe(18), issued=now, expires=now + round(valid * 1e6),
        user=clean_text(user, MAX_NAME), reason=clean_text(order.reason, MAX_TEXT), action=order.action,
        target=order.target, arguments=dict(order.arguments),
    )  # fmt: skip


def parse_command(payload: bytes) -> Command:
    """Return the command of a payload. Raises `BadCommand`."""
    if len(payload) > MAX_COMMAND:
        raise BadCommand(f"has {len(payload):,} bytes; the limit is {MAX_COMMAND:,}")
    try:
        command = Command.model_validate_json(payload)
    except (ValidationError, RecursionError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"][:1])) if isinstance(error, ValidationError) else ""
        known = where if where in Command.model_fields else ""
        raise BadCommand(f"is not a command: {known or 'its form'} is wrong") from None
    if command.is_of_alarm != bool(command.target.alarm):
        raise BadCommand("is not a command: target names the alarm of an action on alarms, and no other")
    return command


def signed(command: Command, key: str, private: Ed25519PrivateKey) -> Command:
    """Return a command with the signature of a key, which has this name at the gateway."""
    signature = b64encode(private.sign(command.signed)).decode()
    return command.model_copy(update={"key": key, "signature": signature})


def is_signed(command: Command, signature: str, public: Ed25519PublicKey) -> bool:
    """Return whether a signature in base64 is that of a key over a command."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only gateways with keys need it

    try:
        public.verify(b64decode(signature, validate=True), command.signed)
    except (InvalidSignature, NotBase64, TypeError, ValueError):
        return False
    return True


def encode_command(command: Command) -> bytes:
    """Return the payload of a command."""
    return orjson.dumps(command.model_dump())


def encode_answer(command: Command, outcome: str, text: str, at: int) -> bytes:
    """Return the answer to a command: `done`, `refused`, or `failed`, and why; `at` is in microseconds, UTC."""
    content: dict[str, Any] = {
        "v": 1, "id": command.id, "gateway": command.gateway, "time": at, "outcome": outcome, "text": text,
        "user": command.user, "action": command.action, "target": command.target.model_dump(exclude_defaults=True),
    }  # fmt: skip
    return orjson.dumps(content)
