"""The contract of a codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.model.record import AnyRecord


class Undecodable(Exception):
    """These bytes are not a record of this codec; the text has the reason."""


class Codec(Protocol):
    """Record <-> bytes. `decode(encode(record)) == record` for every record.

    Encoding happens once, before the spool. A codec has no state and does no I/O.

    `first_bytes` are the possible first bytes of a payload; no other codec has them.
    """

    first_bytes: bytes

    def encode(self, record: AnyRecord) -> bytes:
        """Return the record as it goes over the wire."""
        ...

    def decode(self, payload: bytes) -> AnyRecord:
        """Return the record. Raises `Undecodable` for bytes that are not a record."""
        ...

    def missing_extra(self) -> str:
        """Return the extra of the distribution that this codec needs and that is not installed, or an empty text."""
        ...
