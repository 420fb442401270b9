"""The sections `factory`, `gateway`, `broker` and `ingest`."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from drivers.exposure import ACCEPT, OF_PLANT, is_loopback, readable_text
from drivers.private_key import KeyFile
from drivers.tls import WithTlsFiles, check_pair
from drivers.url import check_host, split_url
from gateway.common.public_keys import PublicKey
from gateway.common.setting_types import Duration, File, Folder, Name, Secret, Section, Size
from gateway.model.part import MAX_WORKERS
from gateway.settings.audit_section import AuditSection
from gateway.settings.commands_section import CommandsSection
from gateway.settings.notify_section import NotifySection

if TYPE_CHECKING:
    from collections.abc import Sequence


class FactorySection(Section):
    """Whose factory this is: the first two levels of every path (ISA-95)."""

    enterprise: Name
    """The first level of every topic and path, as in `acme`."""
    site: Name
    """The second level: the place, as in `north`."""


class WhenFull(StrEnum):
    """The action of a full spool."""

    DROP_OLDEST = "drop_oldest"
    REFUSE_NEWEST = "refuse_newest"


class Sync(StrEnum):
    """The loss that a power cut may cause: nothing, or the commits of the last half minute.

    A kill of the gateway takes nothing that was committed, either way.
    """

    FULL = "full"
    NORMAL = "normal"


class Confirm(StrEnum):
    """The party that confirms a record, so that the spool may delete it."""

    STORE = "store"
    BROKER = "broker"


class ConfirmProof(StrEnum):
    """Whether a confirmation has to prove that its sender has received the records."""

    REQUIRED = "required"
    ACCEPT_UNPROVED = "accept_unproved"


class Order(StrEnum):
    """In what order records leave."""

    FRESH = "fresh"  # new readings at once, the backlog of an outage behind them
    STRICT = "strict"  # those of one machine one after the other


class Publish(StrEnum):
    """The topics of records: one for each machine, or one for the gateway."""

    MACHINE = "machine"
    GATEWAY = "gateway"


class ClockTrust(StrEnum):
    """When the gateway's clock is trusted: once it was set, or only while the kernel calls it synchronised."""

    TRUST = "trust"
    REQUIRE_SYNC = "require_sync"


AUTO = "auto"
"""One worker for each usable processor."""


def _is_workers(written: object) -> object:
    number = type(written) is int and 1 <= written <= MAX_WORKERS
    if not number and written != AUTO:
        raise ValueError(f"write a number of processes from 1 to {MAX_WORKERS}, or {AUTO}")
    return written


Workers = Annotated[
    int | str,
    BeforeValidator(_is_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}, {"const": AUTO}]}),
]
"""A number of worker processes, or `AUTO`."""

SMALLEST_SPOOL = 256 * 2**10
"""Bytes that a spool must at least have: some records of any size fit."""


class SpoolSection(Section):
    """Where records wait until they are confirmed, and how many may wait."""

    folder: Folder = Path("lineside-data")
    """Where records wait until they are confirmed, as in `/var/lib/lineside`."""
    max_size: Size = 2 * 2**30
    """The size that pending records may have, as in `2GiB`."""
    when_full: Annotated[WhenFull, Field(strict=False)] = WhenFull.DROP_OLDEST
    """The action of a full spool; dropped and refused readings are counted, as in `drop_oldest`."""
    sync: Annotated[Sync, Field(strict=False)] = Sync.FULL
    """How durable a record is before it is sent, as in `full`."""

    @field_validator("max_size")
    @classmethod
    def _holds_something(cls, size: int) -> int:
        if size < SMALLEST_SPOOL:
            raise ValueError(f"a spool of {size} bytes holds next to nothing; write 256KiB or more")
        return size


_ENDPOINT = re.compile(r"(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})", re.ASCII)

LOOPBACK = "127.0.0.1"
"""The address to listen at where only a port is written."""


class Endpoint(NamedTuple):
    """An address to listen at."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(written: str) -> Endpoint:
    """Return the endpoint of `127.0.0.1:9464`, `[::1]:9464`, or of a port alone. Raises `ValueError`."""
    match = _ENDPOINT.fullmatch(written)
    if match is None or not 0 < int(match["port"]) < 2**16:
        raise ValueError(f"{written[:100]!r} is not an address; write HOST:PORT, as in '{LOOPBACK}:9464'")
    return Endpoint((match["host"] or LOOPBACK).strip("[]"), int(match["port"]))


def _listen(written: object) -> object:
    if isinstance(written, bool) or not isinstance(written, str | int):
        return written
    return str(parse_endpoint(str(written)))


Listen = Annotated[str, BeforeValidator(_listen), WithJsonSchema({"type": ["string", "integer"]})]
"""An address to listen at: a host and a port, or a port of the loopback interface."""


class MetricsTls(Section):
    """The certificate of the metrics, and the authority of those who may read them."""

    certificate: File
    """The certificate, with those between it and the authority, as in `/etc/lineside/edge-01.pem`."""
    key: File
    """The key of the certificate, as in `/etc/lineside/edge-01.key`."""
    key_password: Secret | None = None
    """The name of the key's password, as in `{secret: metrics_key}`."""
    client_ca: File | None = None
    """The authority whose certificate a client needs, as in `/etc/lineside/prometheus-ca.pem`."""

    @property
    def key_files(self) -> Sequence[KeyFile]:
        return (KeyFile("key", self.key, "key_password", self.key_password),)


class MetricsSection(Section):
    """Metrics and health over HTTP; without `listen` there are none."""

    listen: Listen | None = None
    """The address to serve them at; beyond the loopback interface it needs `tls` with `client_ca` or `token`, or
    `insecure`, as in `127.0.0.1:9464`."""
    tls: MetricsTls | None = None
    """The certificate with which they are served over HTTPS, as in `{certificate: edge-01.pem, key: edge-01.key,
    client_ca: prometheus-ca.pem}`."""
    token: Secret | None = None
    """The name of the token that a request for metrics needs (`Authorization: Bearer`), of 16 characters or more, as
    in `{secret: metrics_token}`."""
    insecure: bool = False
    """Whether everybody who reaches the address may read them, as in `true`."""

    @property
    def exposure(self) -> str:
        if self.endpoint is None or self.endpoint.is_local or self.insecure:
            return ""
        if self.tls is not None and (self.tls.client_ca is not None or self.token is not None):
            return ""
        if self.tls is None and self.token is not None:
            return (
                f"anybody on the way to {self.endpoint} can read the token of the metrics; write tls with "
                f"certificate and key, or listen at 127.0.0.1; {ACCEPT}"
            )
        right = (
            "write tls with certificate, key and client_ca, or listen at 127.0.0.1"
            if self.tls is None
            else "write client_ca into tls, so that only clients with a certificate of that authority do, or token"
        )
        return f"anybody who reaches {self.endpoint} can read the names and states of the machines; {right}; {ACCEPT}"

    @property
    def endpoint(self) -> Endpoint | None:
        """The address to serve them at."""
        return None if self.listen is None else parse_endpoint(self.listen)


class GatewayMetrics(MetricsSection):
    """Metrics and health of the gateway over HTTP; without `listen` there are none."""

    machines: Annotated[int, Field(ge=0, le=20_000)] = 1_000
    """The number of machines that have metrics of their own; all are in the sums, as in `1000`."""
    points: Annotated[int, Field(ge=0, le=100_000)] = 0
    """The number of points that have metrics of their own, as in `500`."""


def _one_or_many(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,) if isinstance(written, str) else written


PublicKeys = Annotated[tuple[PublicKey, ...], BeforeValidator(_one_or_many), Field(min_length=1)]


class GatewaySection(Section):
    """The gateway itself."""

    id: Name
    """The gateway's name, unique in the site; also of its spool, as in `edge-01`."""
    spool: SpoolSection = SpoolSection()
    """Where records wait until they are confirmed, as in `{folder: /var/lib/lineside, max_size: 2GiB}`."""
    codec: str = "json"
    """The encoding of records, as in `json`, or `binary` for smaller records."""
    confirm: Annotated[Confirm, Field(strict=False)] = Confirm.STORE
    """What frees the spool: the store, through ingest, or the broker's acknowledgement, as in `store`."""
    confirm_proof: Annotated[ConfirmProof, Field(strict=False)] = ConfirmProof.REQUIRED
    """Whether ingest has to prove that it has the records that it confirms; `accept_unproved` is for an ingest of an
    earlier version, as in `required`."""
    confirm_key: Secret | None = None
    """A secret of 32 bytes or more that the gateway and ingest share: a client without it can't confirm records that
    it has read, as in `{secret: confirm_key}`."""
    sign_key: Secret | None = None
    """A private key of Ed25519 in PEM with which the gateway signs its records and messages, as in
    `{secret: sign_key}`."""
    ingest_keys: dict[Name, PublicKeys] = {}
    """The public keys of ingests that sign, by the names in their topics, `INGEST-GATEWAY`; other messages in their
    names are ignored, as in `{ingest-server: MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=}`."""
    clock: Annotated[ClockTrust, Field(strict=False)] = ClockTrust.TRUST
    """Whether readings are uncertain while nothing keeps this machine's clock right, as in `require_sync`."""
    order: Annotated[Order, Field(strict=False)] = Order.FRESH
    """The order of sending: new records first, or strictly in order for each machine, as in `fresh`."""
    publish: Annotated[Publish, Field(strict=False)] = Publish.MACHINE
    """Whether each machine has records on its own topic, or all machines have records together, as in `gateway`."""
    max_record: Annotated[Size, Field(ge=1024)] = 64 * 2**10
    """The size from which on readings go into another record, as in `64KiB`."""
    reload_on_change: bool = False
    """Whether the gateway applies changed files of the configuration automatically, as in `true`."""
    workers: Workers = 1
    """The number of processes that read machines, or `auto` for one for each processor, as in `2`."""
    commands: CommandsSection = CommandsSection()
    """Commands over MQTT, such as to acknowledge alarms, as in `{unsigned_alarms: true}`."""
    notify: NotifySection = NotifySection()
    """Notification of alarms by mail, webhook and chat, as in `{targets: {shift: {url: {secret: notify_shift}}},
    rules: [{priorities: [critical], targets: [shift]}]}`."""
    metrics: GatewayMetrics = GatewayMetrics()
    """Metrics for Prometheus over HTTP, as in `{listen: "127.0.0.1:9464"}`."""

    def reveal_confirm_key(self) -> bytes:
        """Return the value of the shared secret, empty if there is none. Raises `MissingSecret`."""
        return self.confirm_key.reveal().encode() if self.confirm_key is not None else b""


class Version(StrEnum):
    """The version of MQTT to speak."""

    V5 = "5"
    V311 = "3.1.1"


class Address(NamedTuple):
    """Where a broker listens."""

    url: str
    host: str
    port: int


_SCHEMES = {
    "tcp": "mqtt", "mqtt+tcp": "mqtt", "http": "mqtt", "": "mqtt",
    "ssl": "mqtts", "tls": "mqtts", "mqtt+ssl": "mqtts", "mqtt+tls": "mqtts", "mqtt+ssl+tcp": "mqtts",
    "https": "mqtts",
}  # fmt: skip
"""The schemes of brokers in other programs -> the scheme."""


def _not_a_broker(url: str) -> str:
    """Return the message for a URL, which has no user, of something else than a broker."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        scheme, rest = "", url.removeprefix("//")
    if scheme.lower() in {"ws", "wss"}:
        return "MQTT over WebSockets is not supported; write mqtts://HOST:8883 or mqtt://HOST:1883"
    found = f"{scheme}:// is not a scheme of brokers" if slashes else "the URL has no scheme"
    likely = _SCHEMES.get(scheme.lower())
    if likely is not None and re.fullmatch(r"[\w.-]+(:\d+)?/?", rest):
        return f"{found}; write {likely}://{rest}"
    return f"{found}; write mqtts://HOST:8883 or mqtt://HOST:1883"


class BrokerSection(WithTlsFiles, Section):
    """The MQTT broker, and the root of all topics."""

    url: str
    """Where the broker is; `mqtts` verifies its certificate, as in `mqtts://broker.example:8883`."""
    insecure: bool = False
    """Whether all messages, and the password, may cross the network as readable text, as in `true`."""
    backup: Annotated[tuple[str, ...], BeforeValidator(_one_or_many)] = ()
    """Brokers that are tried when the first does not answer, as in `mqtts://broker-2.example:8883` or
    `[mqtts://broker-2.example]`."""
    username: str | None = None
    """The user name at the broker, as in `edge-01`."""
    password: Secret | None = None
    """The name of the password, never the password, as in `{secret: broker_password}`."""
    ca: File | None = None
    """The certificate of whom to trust, in place of the system's, as in `/etc/lineside/plant-ca.pem`."""
    crl: File | None = None
    """The revocation lists of these authorities; a certificate in them is refused, as in
    `/etc/lineside/plant-ca.crl.pem`."""
    certificate: File | None = None
    """Our certificate, where the broker asks for one, as in `/etc/lineside/edge-01.pem`."""
    key: File | None = None
    """The key of our certificate, as in `/etc/lineside/edge-01.key`."""
    key_password: Secret | None = None
    """The name of the key's password, as in `{secret: broker_key}`."""
    version: Annotated[Version, Field(strict=False)] = Version.V5
    """The version of MQTT, as in `"3.1.1"`."""
    root: str = "lineside/v1"
    """The levels above all topics, as in `lineside/v1`."""
    keep_alive: Annotated[Duration, Field(ge=1, le=65535)] = 15.0
    """Silence after which the broker asks whether we live, as in `15s`."""

    @field_validator("url", "backup")
    @classmethod
    def _is_broker(cls, urls: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for url in (urls,) if isinstance(urls, str) else urls:
            parts = split_url(url)
            if "@" in url:
                raise ValueError("write username, and password: {secret: NAME}, beside the url and not into it")
            if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
                raise ValueError(_not_a_broker(url))
            check_host(parts.hostname)
            try:
                port = parts.port
            except ValueError:
                port = 0
            if port == 0:
                # the port is not repeated: it may be a password
                raise ValueError("the URL's port is not a number from 1 to 65535; write mqtts://HOST:8883")
        return urls

    @field_validator("root")
    @classmethod
    def _is_topic(cls, root: str) -> str:
        if not all(root.split("/")) or set(root) & set("+#$\0"):
            raise ValueError(f"{root!r} is not a topic prefix; write levels with '/' between, without + # $")
        return root

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.password is not None and self.username is None:
            raise ValueError("a password without a username")
        if len({urlsplit(url).scheme for url in (self.url, *self.backup)}) > 1:
            raise ValueError("url and backup are all mqtts, or all mqtt")
        check_pair(self.certificate, self.key, self.key_password)
        if (self.ca or self.crl or self.certificate) and not self.tls:
            raise ValueError("ca, crl, certificate and key are for mqtts://")
        if self.insecure and self.tls:
            raise ValueError("insecure is for mqtt://, and mqtts:// is secure: leave it out")
        return self

    @property
    def exposure(self) -> str:
        remote = next((address for address in self.addresses if not is_loopback(address.host)), None)
        if self.tls or self.insecure or remote is None:
            return ""
        what = "records" if self.password is None else "the password and all records"
        return readable_text(what, remote.host, f"mqtts://{remote.host}:8883, {OF_PLANT}")

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted, and the broker's certificate verified."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def addresses(self) -> list[Address]:
        """Where the broker listens, in the order in which that is tried."""
        usual = 8883 if self.tls else 1883
        parts = [(url, urlsplit(url)) for url in (self.url, *self.backup)]
        return [Address(url, part.hostname or "", part.port or usual) for url, part in parts]


_PATTERN_LEVEL = re.compile(r"[A-Za-z0-9_.*?-]+")

_PATTERN_LEVELS = (3, 5)
"""Levels of a pattern of machines: without or with the enterprise and the site."""


def _is_machine_pattern(written: object) -> object:
    """Check a pattern of machines. Raises `ValueError`."""
    if isinstance(written, str):
        levels = written.split("/")
        if len(levels) not in _PATTERN_LEVELS or not all(map(_PATTERN_LEVEL.fullmatch, levels)):
            raise ValueError(
                f"{written[:100]!r} is not a pattern of machines; write area/line/machine, where * stands for any "
                "characters of a level, as in 'curing/curing-1/*'"
            )
    return written


MachinePattern = Annotated[
    str,
    BeforeValidator(_is_machine_pattern),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[A-Za-z0-9_.*?-]+(/[A-Za-z0-9_.*?-]+){2}((/[A-Za-z0-9_.*?-]+){2})?$"}
    ),
]
"""Machines: `area/line/machine`, or with enterprise and site before it; `*` and `?` as in file names."""

MachinePatterns = Annotated[tuple[MachinePattern, ...], BeforeValidator(_one_or_many)]


class Signatures(StrEnum):
    """Whether messages in the name of a gateway or ingest with a public key have to be signed."""

    REQUIRED = "required"
    ACCEPTED = "accepted"


class IngestSection(Section):
    """How ingest receives and stores records.

    A batch is written when it has `batch_records`, or when its first record has waited `batch_wait` and all that
    has arrived by then is in it. Those with one `share` take a part of the records each, into the same stores. Only
    who `confirms` frees the gateways' spools.
    """

    id: Name = "ingest"
    """The name of ingest at the broker, as in `ingest`."""
    share: Name | None = None
    """The name of several that take a part of the records each, as in `plant`."""
    confirms: bool = True
    """Whether this ingest confirms stored records, so that gateways delete them from their spools, as in `true`."""
    gateways: dict[Name, MachinePatterns] = {}
    """The machines that each gateway may publish records of, other records are set aside; without it all gateways may
    publish records of all machines, as in `{edge-01: ["curing/curing-1/*"]}`."""
    public_keys: dict[Name, PublicKeys] = {}
    """The public keys of gateways that sign; other records and messages in their names are set aside, as in
    `{edge-01: MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=}`."""
    message_signatures: Annotated[Signatures, Field(strict=False)] = Signatures.REQUIRED
    """Whether states, metadata, reports and alarms of those with public keys have to be signed as well; `accepted`
    believes unsigned messages until all gateways are upgraded, as in `required`."""
    sign_key: Secret | None = None
    """A private key of Ed25519 in PEM with which ingest signs its messages, as in `{secret: ingest_sign_key}`."""
    folder: Folder = Path("lineside-data")
    """The folder of its files: dead letters, and the metadata of machines, as in `/var/lib/lineside`."""
    batch_records: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records that are written together at the most, as in `500`."""
    batch_wait: Duration = 0.005
    """How long the first record of a batch waits for others, as in `5ms`."""
    dead_letters: Size = 64 * 2**20
    """The size of the dead-letter file, as in `64MiB`."""
    metrics: MetricsSection = MetricsSection()
    """Metrics for Prometheus over HTTP, as in `{listen: "127.0.0.1:9465"}`."""
    audit: AuditSection = AuditSection()
    """The audit log of ingest, as in `{begin: true, syslog: "tls://siem.example:6514"}`."""
