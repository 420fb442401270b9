"""The sections `audit` of the page and of ingest: the audit log of a box."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator, model_validator

from drivers.exposure import is_loopback
from drivers.tls import TlsFiles
from drivers.url import check_host, split_url
from gateway.common.setting_types import Duration, File, Folder, Section, Size

AUDIT = "audit"
"""The folder of the audit log, in the folder of the spool or of ingest."""

SMALLEST_AUDIT = 2**20
"""Bytes that the audit log must at least have."""


class AuditFull(StrEnum):
    """The action of a full audit log."""

    REFUSE = "refuse"
    REMOVE_OLDEST = "remove_oldest"


class AuditSection(Section):
    """The audit log: who did what and when, chained and signed."""

    folder: Folder = Path("lineside-data") / AUDIT
    """The folder of its files; by default `audit` in the folder of the spool or of
    ingest, as in `/var/lib/lineside/audit`."""
    begin: bool = False
    """Whether a service begins the log at its start, as in `true`; without it the first command or person that is to
    be recorded does."""
    max_size: Size = 256 * 2**20
    """The size that all its files may have, as in `256MiB`."""
    nearly_full: Annotated[float, Field(ge=0.1, le=0.99)] = 0.8
    """The part of `max_size` from which on a log that removes nothing warns that it is nearly full, as in `0.6`."""
    when_full: Annotated[AuditFull, Field(strict=False)] = AuditFull.REFUSE
    """Whether a full log refuses new entries, or removes its oldest signed file, as in `remove_oldest`."""
    renew_key: Annotated[Duration, Field(ge=3600, le=366 * 86400)] = 86400.0
    """How long a key signs entries, before it names its successor and is destroyed, as in `7d`."""
    syslog: str | None = None
    """A syslog server that gets a copy of each entry (RFC 5424): tls, or tcp and udp to this machine, as in
    `tls://siem.example:6514`."""
    syslog_ca: File | None = None
    """The authority of the syslog server's certificate, in place of the system's, as in
    `/etc/lineside/plant-ca.pem`."""
    syslog_crl: File | None = None
    """The revocation lists of the authorities of that certificate, in PEM, as in `/etc/lineside/plant-ca.crl.pem`."""

    @property
    def syslog_files(self) -> TlsFiles:
        """The files of connections to the syslog server."""
        return TlsFiles(self.syslog_ca, self.syslog_crl)

    @field_serializer("renew_key", when_used="json")
    def _with_its_unit(self, seconds: float) -> str:
        return f"{seconds}s"  # as it is read again, by the process that writes the log of a service

    @field_validator("max_size")
    @classmethod
    def _holds_something(cls, size: int) -> int:
        if size < SMALLEST_AUDIT:
            raise ValueError(f"an audit log of {size} bytes holds next to nothing; write 1MiB or more")
        return size

    @field_validator("syslog")
    @classmethod
    def _is_syslog(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = split_url(url)
        try:
            usable = parts.scheme in {"tls", "tcp", "udp"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.path or parts.query or parts.username is not None:
            raise ValueError(f"{url[:100]!r} is not a syslog server; write tls://HOST:6514")
        check_host(parts.hostname or "")
        if parts.scheme != "tls" and not is_loopback(parts.hostname or ""):
            raise ValueError(f"{parts.scheme}:// is for the loopback interface; write tls://{parts.hostname}:6514")
        return url

    @model_validator(mode="after")
    def _fits(self) -> Self:
        with_files = self.syslog_ca is not None or self.syslog_crl is not None
        if with_files and (self.syslog is None or urlsplit(self.syslog).scheme != "tls"):
            raise ValueError("syslog_ca and syslog_crl are for syslog: tls://HOST:6514")
        return self
