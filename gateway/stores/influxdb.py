"""InfluxDB, and servers with its line protocol such as VictoriaMetrics; `line_protocol.py` writes the lines.

A field of a series at a time has one value, so writing it again changes nothing.
"""

from __future__ import annotations

import gzip
import math
import re
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self
from urllib.parse import urlencode

import structlog
from pydantic import Field, model_validator

from drivers.exposure import OF_PLANT, is_loopback, readable_text
from drivers.extras import require
from drivers.tls import TlsFileError, WithTlsFiles, check_pair, client_context
from drivers.url import check_host, split_url
from gateway.common.setting_types import Duration, File, Secret, Section
from gateway.stores.base import Refusal, Rejected, Store, StoreError, StoreKind, Unavailable
from gateway.stores.influxdb_errors import is_about_rows, refused_lines
from gateway.stores.influxql import InfluxqlReader
from gateway.stores.line_protocol import LineWriter, encode
from gateway.stores.metricsql import MetricsqlReader
from gateway.stores.victoria_metrics import FLUSH_DEFAULT, FLUSH_MARGIN, FUTURE_DEFAULT, read_metrics
from gateway.stores.windows import TooLarge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from influxdb_client import InfluxDBClient

    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.stores.base import MachineScan
    from gateway.stores.buckets import Bucket
    from gateway.stores.line_protocol import Line
    from gateway.stores.series import Series
    from gateway.stores.victoria_metrics import ServerProcess

log = structlog.get_logger(__name__)

NO_CONTENT, TOO_LARGE = 204, 413
"""The only answer to a write that is documented as success, by InfluxDB and VictoriaMetrics; RFC 9110, 15.5.14."""

_ABOUT_ROWS = {400, 422}
_NOT_WATCHED = (
    "it does not serve /metrics: its flags and restarts stay unknown, and readings of the last seconds before it is "
    "killed are lost"
)

MAX_ANSWER, MAX_WORDS = 64 * 2**10, 300
"""Characters of an answer that are looked at, and of its first line that are logged."""

MAX_CONFLICTS = 10_000
"""Fields whose conflicting type is remembered."""

MAX_MACHINES = 20_000
"""Machines whose last scan is remembered."""

IGNORED = "ignored"
"""Why rows are not stored to which the server would answer success."""

_CLOCK_MARGIN = 5.0
"""Seconds by which the server's clock is known."""

_MERGED = "two scans of it lie within one millisecond, which the server merges: make them at least 1 ms apart"

READ_SECONDS = 60.0
"""Seconds to wait for the answer to a query, which computes more than a write does."""

OK = 200

MIN_REFUSED_BODY = 4096
"""Bytes of a single reading from which on it is too large; a server that takes fewer is set up wrongly."""


class Api(StrEnum):
    """The write API: `v2` of InfluxDB 2 and 3 and VictoriaMetrics, `v1` of InfluxDB 1."""

    V1 = "v1"
    V2 = "v2"


class Strings(StrEnum):
    """Where a string goes: `field`, or `label`: a tag beside a 1, for a server that has numbers only."""

    FIELD = "field"
    LABEL = "label"


class InfluxSettings(WithTlsFiles, Section):
    """Where to write: `org`, `bucket` and `token` with v2; `database`, `username` and `password` with v1.

    `strings` is detected from the server unless it is configured.
    """

    url: str
    """Where the server is, as in `http://tsdb:8086`."""
    insecure: bool = False
    """Whether rows, and the token or password, may cross the network as readable text, as in `true`."""
    ca: File | None = None
    """The certificate of whom to trust, in place of the system's, as in `/etc/lineside/plant-ca.pem`."""
    crl: File | None = None
    """The revocation lists of these authorities; a certificate in them is refused, as in
    `/etc/lineside/plant-ca.crl.pem`."""
    certificate: File | None = None
    """Our certificate, where the server asks for one, as in `/etc/lineside/ingest.pem`."""
    key: File | None = None
    """The key of our certificate, as in `/etc/lineside/ingest.key`."""
    key_password: Secret | None = None
    """The name of the key's password, as in `{secret: store_key}`."""
    api: Annotated[Api, Field(strict=False)] = Api.V2
    """The write API: v2 of InfluxDB 2 and 3 and VictoriaMetrics, v1 of InfluxDB 1, as in `v1`."""
    org: str = ""
    """With v2: the organization, as in `plant`."""
    bucket: str = ""
    """With v2: the bucket, as in `telemetry`."""
    token: Secret | None = None
    """With v2: the name of the token, never the token, as in `{secret: influx_token}`."""
    database: str = ""
    """With v1: the database, as in `telemetry`."""
    username: str | None = None
    """With v1: who we are, as in `ingest`."""
    password: Secret | None = None
    """With v1: the name of the password, as in `{secret: influx_password}`."""
    strings: Annotated[Strings | None, Field(strict=False)] = None
    """Where text goes: into a field, or into a label beside a 1, as in `label`."""
    timeout: Duration = 10.0
    """Time to wait for an answer, as in `10s`."""

    @model_validator(mode="after")
    def _fits_api(self) -> Self:
        if self.api is Api.V2 and (not self.bucket or self.database or self.username or self.password):
            raise ValueError("api v2 takes org, bucket and token; write api: v1 for database, username, password")
        if self.api is Api.V1 and (not self.database or self.bucket or self.org or self.token):
            raise ValueError("api v1 takes database, username and password; write api: v2 for org, bucket, token")
        if self.password and not self.username:
            raise ValueError("a password without a username")
        parts = split_url(self.url)
        if "@" in self.url:
            raise ValueError("write the user under username and password (or token), not into the url")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the url is not one of a server; write http://HOST:8086 or https://HOST:8086")
        check_host(parts.hostname)
        check_pair(self.certificate, self.key, self.key_password)
        if (self.ca or self.crl or self.certificate) and not self.tls:
            raise ValueError("ca, crl, certificate and key are for https://")
        if self.insecure and self.tls:
            raise ValueError("insecure is for http://, and https:// is secure: leave it out")
        return self

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted, and the server's certificate verified."""
        return split_url(self.url).scheme == "https"

    @property
    def exposure(self) -> str:
        parts = split_url(self.url)
        host = parts.hostname or ""
        if self.tls or self.insecure or is_loopback(host):
            return ""
        what = "the token and all rows" if self.token else "the password and all rows" if self.password else "rows"
        return readable_text(what, host, f"{parts._replace(scheme='https').geturl()}, {OF_PLANT}")


class _Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def words(self) -> str:
        """The status and the beginning of the first line, without control characters."""
        line = self.text.strip().split("\n", 1)[0][:MAX_WORDS]
        return f"{self.status} {_CONTROL.sub(' ', line)}"


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(slots=True)
class _Write:
    """One write: the rows that it refuses, and how many more requests it may take to find them."""

    refusals: list[Refusal]
    requests_left: int

    def refuse(self, lines: Iterable[Line], message: str, kind: str = "refused") -> None:
        self.refusals += [Refusal(line.record, line.readings, str(line), message, kind) for line in lines]


class InfluxStore(Store):
    """One bucket or database."""

    def __init__(self, settings: InfluxSettings) -> None:
        super().__init__()
        self._settings = settings
        self._client: InfluxDBClient | None = None
        self._is_stale = False
        self._headers: dict[str, str] = {}
        self._writer: LineWriter
        self._is_victoria = False
        self._conflicts: set[str] = set()
        self._retention: float | None = None
        self._future = FUTURE_DEFAULT
        self._server_time: tuple[int, float] | None = None
        self._ignored: dict[str, int] | None = None
        self._last_scans: dict[MachinePath, int] = {}
        self._templates: Collection[str] = ()

    def open(self) -> None:
        # half a second and 40 MB to import: only who writes to it pays for it
        require("influxdb")
        settings = self._settings
        self._connect()
        if settings.api is Api.V2:
            self._path = "/api/v2/write"
            self._target = [("org", settings.org), ("bucket", settings.bucket), ("precision", "us")]
        else:
            self._path = "/write"
            self._target = [("db", settings.database), ("precision", "u")]
        if settings.username is not None:
            password = settings.password.reveal() if settings.password else ""
            # not in the query, where they would be in logs
            self._headers["Authorization"] = "Basic " + b64encode(f"{settings.username}:{password}".encode()).decode()
        # VictoriaMetrics takes strings and stores a 0
        self._is_victoria = settings.strings is Strings.LABEL or self._identifies_as_victoria()
        self._writer = LineWriter(labels=self._is_victoria and settings.strings is not Strings.FIELD)
        self._writer.counts = self.counts

    def _connect(self) -> InfluxDBClient:
        """Make a client, which reads the files of TLS. Raises `Unavailable`."""
        from influxdb_client import InfluxDBClient  # noqa: PLC0415 - as in `open`

        settings = self._settings
        self.close()
        try:
            context = client_context(settings.tls_files, "influxdb") if settings.tls else None
        except TlsFileError as error:
            raise Unavailable(f"{settings.url}: {error}") from None
        self._client = InfluxDBClient(
            settings.url.rstrip("/"),
            token=settings.token.reveal() if settings.token else "",
            org=settings.org,
            timeout=round(settings.timeout * 1000),
            ssl_context=context,
        )
        self._is_stale = False
        return self._client

    def _opened(self) -> InfluxDBClient:
        """Return the client; a failure over TLS leads to a new client, since a file may be renewed."""
        if self._client is None:
            raise Unavailable("not opened")
        return self._connect() if self._is_stale else self._client

    def _identifies_as_victoria(self) -> bool:
        """Return whether the server answers as VictoriaMetrics does."""
        return "X-Server-Hostname" in self._ask("/ping").headers

    def check(self) -> None:
        """Write nothing, so that a wrong token or a missing bucket is found before the first reading."""
        response = self._call("POST", self._path, self._target, gzip.compress(b"\n"))
        # InfluxDB 2 and 3 answer 400 or 422 to an empty write, once they have found the bucket and let us in
        empty = response.status in _ABOUT_ROWS and not response.text.lstrip().startswith("<")
        if response.status != NO_CONTENT and not empty:
            raise Unavailable(f"{self._settings.url}: {response.words}")
        if not self._is_victoria:
            return
        process = self._server_process()
        if process is None:
            self.durable_after = 2 * FLUSH_DEFAULT + FLUSH_MARGIN
            log.warning("store.not_watched", url=self._settings.url, hint=_NOT_WATCHED)
        elif problem := process.misconfiguration():
            raise Unavailable(f"{self._settings.url}: {problem}")
        else:
            self.durable_after = process.durable_after
            self._retention, self._future = process.retention, process.future
            self._ignored = process.ignored
            if hint := process.short_retention:
                log.warning("store.short_retention", url=self._settings.url, hint=hint)

    def instance(self) -> str | None:
        process = self._server_process()
        if process is None:
            return ""
        self._count_ignored(process)
        return None if process.young else process.started

    def _server_process(self) -> ServerProcess | None:
        response = self._ask("/metrics")
        return read_metrics(response.text) if response.status == 200 else None  # noqa: PLR2004 - OK

    def _ask(self, path: str) -> _Response:
        response = self._call("GET", path, [], b"")
        if response.status >= 500:  # noqa: PLR2004 - RFC 9110, 15.6: this is not the server's own word
            raise Unavailable(f"{self._settings.url}: {response.words}")
        return response

    def write(self, batch: Sequence[MachineScan]) -> None:
        if self._is_victoria:
            self._count_merged(batch)
        error = None
        if not self._conflicts and self._keeps_all(batch):
            refusals: list[Refusal] = []
            body = self._writer.body(batch, refusals)
            error = self._post(body) if body else None
            if error is None:
                if refusals:
                    raise Rejected(refusals)
                return
        self._write_lines(batch, error)

    def _write_lines(self, batch: Sequence[MachineScan], error: _Response | None) -> None:
        """Write line by line, to find refused rows; `error` is the response to all lines, if they were sent.

        Raises `Unavailable` or `Rejected`.
        """
        refusals: list[Refusal] = []
        lines = [line for scan in batch for line in self._writer.lines(scan, refusals)]
        write = _Write(refusals, 16 + 8 * len(lines).bit_length())
        kept = self._without_ignored(lines, write)
        if self._conflicts:
            blamed, kept = self._split_conflicts(kept)
            if self._send(blamed, write):
                self._conflicts.clear()  # the fields have our types now
        self._send(kept, write, error if len(kept) == len(lines) else None)
        if write.refusals:
            raise Rejected(write.refusals)

    # -- rows that VictoriaMetrics answers success to, and does not keep --

    def _kept_times(self) -> tuple[float, float]:
        """Return the earliest and the latest time, in microseconds, of a line that the server keeps, by its clock."""
        if not self._is_victoria or self._server_time is None:
            return -math.inf, math.inf
        date, seen = self._server_time
        now = date + round((monotonic() - seen) * 1e6)
        latest = now + round((self._future - _CLOCK_MARGIN) * 1e6)
        earliest = 0 if self._retention is None else now - round((self._retention - _CLOCK_MARGIN) * 1e6)
        return earliest, latest

    def _keeps_all(self, batch: Sequence[MachineScan]) -> bool:
        """Return True if the server keeps lines of all times in a batch."""
        earliest, latest = self._kept_times()
        return all(
            earliest <= entry.scan.time <= latest
            and (not entry.scan.times or all(earliest <= time <= latest for time in entry.scan.times.values()))
            for entry in batch
        )

    def _without_ignored(self, lines: list[Line], write: _Write) -> list[Line]:
        """Refuse lines that are too old or too far ahead for the server, by its own clock."""
        earliest, latest = self._kept_times()
        ahead = [line for line in lines if line.time > latest]
        old = [line for line in lines if line.time < earliest]
        if not ahead and not old:
            return lines
        write.refuse(ahead, f"the server ignores rows {self._future / 86400:g} days ahead of its clock", IGNORED)
        write.refuse(old, f"the server ignores rows older than {(self._retention or 0) / 86400:g} days", IGNORED)
        return [line for line in lines if earliest <= line.time <= latest]

    def _count_ignored(self, process: ServerProcess) -> None:
        """Count rows that the server has ignored since the last look; another client may have written them."""
        before, self._ignored = self._ignored, process.ignored
        if before is None:
            return
        for reason, rows in process.ignored.items():
            more = rows - before.get(reason, 0)
            if more > 0:
                self.counts["rows_ignored"] += more
                log.warning("store.rows_ignored", url=self._settings.url, reason=reason, rows=more)

    def _count_merged(self, batch: Sequence[MachineScan]) -> None:
        """Count scans of a machine within one millisecond, which is the time resolution of the server."""
        last = self._last_scans
        for path, _, scan, _ in batch:
            before = last.get(path, -1)
            if before != scan.time and before // 1000 == scan.time // 1000:
                if not self.counts["scans_merged"]:
                    log.warning("store.scans_merged", url=self._settings.url, machine=str(path), hint=_MERGED)
                self.counts["scans_merged"] += 1
            last[path] = scan.time
        if len(last) > MAX_MACHINES:
            last.clear()

    # -- rows that the server refuses --

    def _split_conflicts(self, lines: list[Line]) -> tuple[list[Line], list[Line]]:
        """Split fields whose type is known to conflict from all others: each kind is one request then."""
        blamed, others = [], []
        for line in lines:
            bad = [field for field in line.fields if field[: field.index("=") + 1] in self._conflicts]
            if bad:
                blamed += [line.only([field]) for field in bad]
                line = line.only([field for field in line.fields if field not in bad])  # noqa: PLW2901 - what is left
            if line.fields:
                others.append(line)
        return blamed, others

    def _send(self, lines: list[Line], write: _Write, error: _Response | None = None) -> bool:
        """Write lines; where the server refuses some, find them. Returns whether it took all at once.

        `error` is the answer to all of the lines, if they were sent before.
        """
        parts = [lines] if lines else []
        first = True
        while parts:
            part = parts.pop()
            error = error or self._post(b"\n".join(map(encode, part)))
            if error is None:
                first = first and not parts
                continue
            first = False
            parts += [rest for rest in self._refused(part, error, write) if rest]
            error = None
        return first and bool(lines)

    def _refused(self, lines: list[Line], error: _Response, write: _Write) -> Iterable[list[Line]]:
        """Refuse the lines that an error is about; returns parts that have to be sent again."""
        if error.status == TOO_LARGE:
            return self._too_large(lines, error.words, write)
        found = refused_lines(lines, error.text[:MAX_ANSWER])
        if found.conflict and len(self._conflicts) < MAX_CONFLICTS:
            self._conflicts.add(found.conflict)
        write.refuse(found.refused, error.words, found.kind)
        if found.refused or found.conflict:
            return found.parts
        if write.requests_left <= 0:
            write.refuse(lines, f"{error.words} (it is one of {len(lines)} rows)")
            return ()
        write.requests_left -= 2
        half = len(lines) // 2
        return lines[:half], lines[half:]

    def _too_large(self, lines: list[Line], message: str, write: _Write) -> Iterable[list[Line]]:
        """Split a request that is too large for the server, or for a proxy on the way."""
        if len(lines) > 1:
            half = len(lines) // 2
            return lines[:half], lines[half:]
        [line] = lines
        if len(line.fields) > 1:
            half = len(line.fields) // 2
            return [line.only(line.fields[:half])], [line.only(line.fields[half:])]
        if len(str(line)) < MIN_REFUSED_BODY:
            raise Unavailable(f"{self._settings.url}: {message}")
        write.refuse(lines, message)
        return ()

    def _post(self, body: bytes) -> _Response | None:
        """Send lines; returns the answer where it is about rows. Raises `Unavailable` for any other but success."""
        response = self._call("POST", self._path, self._target, gzip.compress(body, compresslevel=1))
        if response.status == NO_CONTENT:
            return None
        about_rows = response.status in _ABOUT_ROWS and is_about_rows(response.text[:MAX_ANSWER])
        if about_rows or response.status == TOO_LARGE:
            return response
        raise Unavailable(f"{self._settings.url}: {response.words}")

    def _call(self, method: str, path: str, query: list[tuple[str, str]], body: bytes) -> _Response:
        """Send a request and return the response, whatever its status. Raises `Unavailable` where there is none."""
        from influxdb_client.rest import ApiException  # noqa: PLC0415 - as in `open`
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as in `open`

        client = self._opened()
        headers = dict(self._headers)
        if body:
            headers |= {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip"}
        try:
            _, status, given = client.api_client.call_api(
                path, method, query_params=list(query), header_params=headers, body=body, urlopen_kw={}
            )
        except ApiException as error:
            if not error.status:  # of TLS: there was no response
                self._is_stale = True
                raise Unavailable(f"{self._settings.url}: {error.reason}") from error
            return self._response(error.status, error.headers or {}, error.body)
        except (HTTPError, OSError) as error:
            self._is_stale = self._settings.tls
            raise Unavailable(f"{self._settings.url}: {error.__cause__ or error}") from error
        return self._response(status, given, client.api_client.last_response.data)

    def _response(self, status: int, headers: Mapping[str, str], body: Any) -> _Response:  # noqa: ANN401 - bytes, text or nothing
        with suppress(TypeError, ValueError, KeyError, OverflowError):
            date = parsedate_to_datetime(headers["Date"]).timestamp()  # RFC 9110, 6.6.1
            self._server_time = round(date * 1e6), monotonic()
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        return _Response(status, headers, text)

    # -- reading --

    def open_for_query(self, templates: Collection[str] = ()) -> None:
        self.open()
        self._templates = templates

    @property
    def _reader(self) -> InfluxqlReader | MetricsqlReader:
        return MetricsqlReader(self._read, self._templates) if self._is_victoria else InfluxqlReader(self._query)

    def series(self, pattern: str = "*") -> list[Series]:
        return self._reader.series(pattern)

    def range(
        self, series: Sequence[Series], since: int, until: int, *, newest_first: bool = False
    ) -> Iterator[Reading]:  # fmt: skip
        return self._reader.range(series, since, until, newest_first=newest_first)

    def newest(self, series: Sequence[Series]) -> list[Reading]:
        return self._reader.newest(series)

    def reduced(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool = False
    ) -> Iterator[Bucket]:  # fmt: skip
        return self._reader.reduced(series, since, until, width, good=good)

    def _query(self, query: str, most: int) -> bytes:
        """Return the answer to a query in InfluxQL; InfluxDB 2 and 3 have a database of the name of each bucket."""
        database = self._settings.database or self._settings.bucket
        return self._read("/query", [("db", database), ("epoch", "u"), ("q", query)], most)

    def _read(self, path: str, form: list[tuple[str, str]], most: int) -> bytes:
        """Send a form, and return the answer, of `most` bytes at most. Raises `TooLarge` and `StoreError`."""
        from urllib3 import Timeout  # noqa: PLC0415 - as in `open`
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as in `open`

        client = self._opened()
        url = self._settings.url.rstrip("/")
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "gzip"} | self._headers
        if self._settings.token is not None:
            headers["Authorization"] = f"Token {self._settings.token.reveal()}"
        pool = client.api_client.rest_client.pool_manager
        try:
            response = pool.request(
                "POST", url + path, body=urlencode(form), headers=headers, preload_content=False, redirect=False,
                retries=False, timeout=Timeout(max(self._settings.timeout, READ_SECONDS)),
            )  # fmt: skip
            try:
                parts, size = [], 0
                for part in response.stream(2**16, decode_content=True):
                    size += len(part)
                    if size > (most if response.status == OK else MAX_ANSWER):
                        if response.status == OK:
                            raise TooLarge
                        break
                    parts.append(part)
            finally:
                # the rest of a large answer is not read
                response.close()
        except (HTTPError, OSError) as error:
            self._is_stale = self._settings.tls
            raise Unavailable(f"{url}: {error.__cause__ or error}") from error
        body = b"".join(parts)
        if response.status != OK:
            words = _Response(response.status, {}, body.decode("utf-8", "replace")).words
            raise StoreError(f"{url}: it does not answer queries: {words}")
        return body

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


KIND = StoreKind("influxdb", InfluxSettings, InfluxStore)
