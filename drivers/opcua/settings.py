"""What a user writes about OPC UA: a connection, and which node a point is."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, InstanceOf

from drivers.base import Source
from drivers.opcua.security_settings import SecureConnection


class Node(NamedTuple):
    """A node id (Part 6, 5.3.1.10) whose namespace is a URI, an index, or the connection's own (None)."""

    namespace: str | int | None
    identifier: str

    def __str__(self) -> str:
        if self.namespace is None:
            return self.identifier
        return f"{'ns' if isinstance(self.namespace, int) else 'nsu'}={self.namespace};{self.identifier}"


def _node(written: object) -> object:
    """Turn `nsu=urn:press;s=Drum.Speed`, `ns=2;i=17` or `s=Drum.Speed` into a `Node`."""
    if not isinstance(written, str):
        return written
    match = re.fullmatch(r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>\d+);)?(?P<id>[sigb]=.+)", written.strip())
    if not match or (match["id"].startswith("i=") and not match["id"][2:].isdigit()):
        raise ValueError(
            f"{written!r} is no node id; write 'nsu=URI;s=NAME', 'ns=INDEX;i=NUMBER', or 's=NAME' in the "
            "namespace that the connection names"
        )
    namespace = int(match["index"]) if match["index"] else match["uri"]
    return Node(namespace, match["id"])


class Mode(StrEnum):
    """How a point is acquired."""

    SUBSCRIBE = "subscribe"
    POLL = "poll"


class OpcUaSource(Source):
    """Which node one point is, and whether the server sends it or is asked for it."""

    node: Annotated[InstanceOf[Node], BeforeValidator(_node)]
    mode: Annotated[Mode, Field(strict=False)] = Mode.SUBSCRIBE

    @property
    def pushed(self) -> bool:
        return self.mode is Mode.SUBSCRIBE


def _seconds(written: object) -> object:
    """Turn the text of a URL's query (`1.5`) into seconds."""
    return float(written) if isinstance(written, str) else written


class OpcUaConnection(SecureConnection):
    """An OPC UA server, and the namespace of the machine in it.

    `namespace`  URI that nodes without a namespace belong to: one server can hold many machines of a type
    `timeout`    seconds to wait for a connection, or for one answer
    `keep_alive` seconds of silence after which the server says that it lives; three times that is death
    """

    schemes: ClassVar[tuple[str, ...]] = ("opc.tcp",)

    url: str
    namespace: str | None = None
    timeout: Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=60)] = 4.0
    keep_alive: Annotated[float, BeforeValidator(_seconds), Field(ge=1, le=60)] = 5.0

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        parts = urlsplit(url)
        if not parts.hostname or "@" in parts.netloc:
            # the url is not repeated: a password may stand in it
            raise ValueError("write opc.tcp://HOST:4840, without a user in it")
        if parts.port == 0:  # a port that is no number, or too large, raises as it is read
            raise ValueError("Port out of range 1-65535")
        return cls.model_validate(options | {"url": parts._replace(query="", fragment="").geturl()})

    def shared(self) -> OpcUaConnection:
        return self.model_copy(update={"namespace": None})

    def __str__(self) -> str:
        return self.url
