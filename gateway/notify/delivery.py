"""One message on its way: the input and the answer of the process that delivers it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

LARGEST = 64 * 2**10
"""Bytes of an answer."""


class Outcome(StrEnum):
    """What became of a message. No outcome has any part of the URL, which may be a secret as a whole."""

    DELIVERED = "delivered"
    TIMED_OUT = "timed_out"
    NO_CONNECTION = "no_connection"
    UNKNOWN_HOST = "unknown_host"
    REFUSED = "refused"
    SIGN_IN = "sign_in"
    NOT_TRUSTED = "not_trusted"
    NO_TLS = "no_tls"
    TOO_LARGE = "too_large"
    FAILED = "failed"
    # the target can't be used until a person changes something
    WRONG_URL = "wrong_url"
    NO_SECRET = "no_secret"  # noqa: S105 - the secret is missing
    READABLE = "readable"
    NOT_VERIFIED = "not_verified"
    NOT_ALLOWED = "not_allowed"
    NO_LIBRARY = "no_library"


TEXTS = {
    Outcome.DELIVERED: "delivered",
    Outcome.TIMED_OUT: "the server did not answer in time",
    Outcome.NO_CONNECTION: "there is no connection to the server",
    Outcome.UNKNOWN_HOST: "the name of the server is not known",
    Outcome.REFUSED: "the server refused the message",
    Outcome.SIGN_IN: "the server refused user or password",
    Outcome.NOT_TRUSTED: "the certificate of the server is not trusted",
    Outcome.NO_TLS: "the server offers no TLS",
    Outcome.TOO_LARGE: "the server's answer is too large",
    Outcome.FAILED: "the message was not delivered",
    Outcome.WRONG_URL: "the secret is not a URL of Apprise",
    Outcome.NO_SECRET: "the secret with the URL can't be read",
    Outcome.READABLE: "the URL sends readable text over the network",
    Outcome.NOT_VERIFIED: "the URL turns the verification of certificates off",
    Outcome.NOT_ALLOWED: "the policy of this machine does not allow the host of the URL",
    Outcome.NO_LIBRARY: "the extra notify is not installed",
}
"""The outcomes for people."""

HINTS = {
    Outcome.SIGN_IN: "correct user and password in the secret",
    Outcome.NOT_TRUSTED: "name the plant's authority with ca: FILE, or correct the certificate",
    Outcome.NO_TLS: "use the port with TLS, or mode=ssl in the URL",
    Outcome.WRONG_URL: "write a URL of Apprise into the secret, as in jsons://HOST/PATH or mailtos://USER:PASS@HOST",
    Outcome.NO_SECRET: "put the URL into a file with the name of the secret in /run/secrets",
    Outcome.READABLE: "use a URL with TLS, as in jsons:// or mailtos://, or write insecure: true",
    Outcome.NOT_VERIFIED: "remove verify=no and name the plant's authority with ca: FILE, or write insecure: true",
    Outcome.NOT_ALLOWED: "add the host to hosts.notify of the policy, or use an allowed host",
    Outcome.NO_LIBRARY: "install the extra notify",
}
"""What would be right."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Delivery(_Model):
    """A message and its target, for the process that delivers it.

    `allowed` are lists of patterns of hosts, of each of which one has to match. `kind` is a type of Apprise: `info`,
    `warning` or `failure`.
    """

    url: str
    title: str
    body: str
    kind: str
    insecure: bool = False
    allowed: list[list[str]] = []


class Answer(_Model):
    """What became of it. `status` is the code of HTTP or SMTP with which a server refused, 0 without one."""

    outcome: Annotated[Outcome, Field(strict=False)]
    status: Annotated[int, Field(ge=0, le=999)] = 0

    @property
    def delivered(self) -> bool:
        return self.outcome is Outcome.DELIVERED

    @property
    def text(self) -> str:
        """The outcome for people, in one line."""
        return TEXTS[self.outcome] + (f" ({self.status})" if self.status else "")

    @property
    def hint(self) -> str:
        """What would be right, empty where nobody knows."""
        return HINTS.get(self.outcome, "")


def parse_answer(content: bytes) -> Answer:
    """Return the answer in these bytes: `FAILED` for anything else, as of a process that was killed."""
    try:
        return Answer.model_validate_json(content[:LARGEST])
    except ValidationError:
        return Answer(outcome=Outcome.FAILED)
