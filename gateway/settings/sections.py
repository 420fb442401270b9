"""The sections `factory`, `gateway`, `broker` and `ingest`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.settings.types import Duration, Folder, Name, Secret, Section, Size


class FactorySection(Section):
    """Whose factory this is: the first two levels of every path (ISA-95)."""

    enterprise: Name
    site: Name


class WhenFull(StrEnum):
    """What a full spool does."""

    DROP_OLDEST = "drop_oldest"
    REFUSE_NEWEST = "refuse_newest"


class Confirm(StrEnum):
    """Who says that a record has arrived, so that the spool may forget it."""

    STORE = "store"
    BROKER = "broker"


class Order(StrEnum):
    """In what order records leave."""

    FRESH = "fresh"  # new readings at once, what an outage left behind them
    STRICT = "strict"  # those of one machine one after the other


class ClockTrust(StrEnum):
    """When the gateway's clock is trusted: once it was set, or only while the kernel calls it synchronised."""

    TRUST = "trust"
    REQUIRE_SYNC = "require_sync"


class SpoolSection(Section):
    """Where records wait until they are confirmed, and how many may wait."""

    folder: Folder = Path("lineside-data")
    max_size: Size = 2 * 2**30
    when_full: Annotated[WhenFull, Field(strict=False)] = WhenFull.DROP_OLDEST


class GatewaySection(Section):
    """The gateway itself."""

    id: Name
    spool: SpoolSection = SpoolSection()
    codec: str = "json"
    confirm: Annotated[Confirm, Field(strict=False)] = Confirm.STORE
    clock: Annotated[ClockTrust, Field(strict=False)] = ClockTrust.TRUST
    order: Annotated[Order, Field(strict=False)] = Order.FRESH
    max_record: Annotated[Size, Field(ge=1024)] = 64 * 2**10


class Version(StrEnum):
    """The version of MQTT to speak."""

    V5 = "5"
    V311 = "3.1.1"


class BrokerSection(Section):
    """The MQTT broker, and the root of all topics."""

    url: str
    username: str | None = None
    password: Secret | None = None
    version: Annotated[Version, Field(strict=False)] = Version.V5
    root: str = "lineside/v1"
    keep_alive: Duration = 30.0

    @field_validator("url")
    @classmethod
    def _is_broker(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(f"{parts.scheme or 'this'} is no broker; write mqtts://HOST:8883 or mqtt://HOST:1883")
        if "@" in parts.netloc:
            raise ValueError("write the user under username and password, not into the url")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            # what is written there is not repeated: it may be a password
            raise ValueError("the url's port is no number from 1 to 65535; write mqtts://HOST:8883")
        return url

    @field_validator("root")
    @classmethod
    def _is_topic(cls, root: str) -> str:
        if not all(root.split("/")) or set(root) & set("+#$\0"):
            raise ValueError(f"{root!r} is no start of a topic; write levels with '/' between, without + # $")
        return root

    @model_validator(mode="after")
    def _user_goes_first(self) -> Self:
        if self.password is not None and self.username is None:
            raise ValueError("a password without a username")
        return self

    @property
    def host(self) -> str:
        """The broker's host name."""
        return urlsplit(self.url).hostname or ""

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted, and the broker's certificate verified."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def port(self) -> int:
        """The broker's port."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)


class IngestSection(Section):
    """How records are taken off the broker.

    A batch is written when it has `batch_records`, or when its first record has waited `batch_wait` and all that
    has arrived by then is in it.
    """

    id: Name = "ingest"
    folder: Folder = Path("lineside-data")
    batch_records: Annotated[int, Field(ge=1, le=10_000)] = 500
    batch_wait: Duration = 0.005
    dead_letters: Size = 64 * 2**20
