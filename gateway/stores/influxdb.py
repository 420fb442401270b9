"""InfluxDB, and servers with its line protocol such as VictoriaMetrics; `line_protocol.py` writes the lines.

A field of a series at a time has one value, so writing it again changes nothing.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self
from urllib.parse import urlsplit

import structlog
from pydantic import Field, model_validator

from gateway.common.setting_types import Duration, Secret, Section
from gateway.stores.base import Refusal, Rejected, Store, StoreKind, Unavailable
from gateway.stores.line_protocol import LineWriter, escape
from gateway.stores.victoria_metrics import FLUSH_DEFAULT, FLUSH_MARGIN, read_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from influxdb_client import InfluxDBClient

    from gateway.stores.base import MachineScan
    from gateway.stores.line_protocol import Line
    from gateway.stores.victoria_metrics import ServerProcess

log = structlog.get_logger()

_REFUSED = range(400, 500)
_NOT_THE_ROWS = {401, 403, 404, 408, 429}
"""Status codes about the client or the moment, not about rows: the write is retried."""

_EMPTY = {400, 422}
"""Answers of InfluxDB 2 and 3 to an empty write to a bucket that exists and may be written to."""

_NOT_WATCHED = (
    "it does not serve /metrics: its flags and restarts stay unknown, and readings of the last seconds before it is "
    "killed are lost"
)

_CONFLICT = re.compile(r'input field \\?"(?P<field>.+?)\\?" on measurement')
_DROPPED = re.compile(r"dropped=(\d+)")
"""The field whose type conflicts, and the number of lines that were dropped, in a partial write of InfluxDB."""


class Api(StrEnum):
    """The write API: `v2` of InfluxDB 2 and 3 and VictoriaMetrics, `v1` of InfluxDB 1."""

    V1 = "v1"
    V2 = "v2"


class Strings(StrEnum):
    """Where a string goes: `field`, or `label`: a tag beside a 1, for a server that has numbers only."""

    FIELD = "field"
    LABEL = "label"


class InfluxSettings(Section):
    """Where to write: `org`, `bucket` and `token` with v2; `database`, `username` and `password` with v1.

    `strings` follows from what the server says that it is, where it is not written.
    """

    url: str
    """Where the server is, as in `http://tsdb:8086`."""
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
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("write http://HOST:8086 or https://HOST:8086")
        if "@" in parts.netloc:
            raise ValueError("write the user under username and password (or token), not into the url")
        return self


class _Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str


class InfluxStore(Store):
    """One bucket or database."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._client: InfluxDBClient | None = None
        self._headers: dict[str, str] = {}
        self._writer: LineWriter
        self._is_victoria = False

    def open(self) -> None:
        # half a second and 40 MB to import: only who writes to it pays for it
        from influxdb_client import InfluxDBClient  # noqa: PLC0415

        settings = self._settings
        self.close()
        self._client = InfluxDBClient(
            settings.url.rstrip("/"),
            token=settings.token.reveal() if settings.token else "",
            org=settings.org,
            timeout=round(settings.timeout * 1000),
        )
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

    def _identifies_as_victoria(self) -> bool:
        """Return whether the server answers as VictoriaMetrics does."""
        return "X-Server-Hostname" in self._ask("/ping").headers

    def check(self) -> None:
        """Write nothing, so that a wrong token or a missing bucket is found before the first reading."""
        response = self._call("POST", self._path, self._target, gzip.compress(b"\n"))
        if response.status not in range(200, 300) and response.status not in _EMPTY:
            raise Unavailable(f"{self._settings.url}: {response.status} {response.text}")
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
            if hint := process.short_retention:
                log.warning("store.short_retention", url=self._settings.url, hint=hint)

    def instance(self) -> str | None:
        process = self._server_process()
        if process is None:
            return ""
        return None if process.young else process.started

    def _server_process(self) -> ServerProcess | None:
        response = self._ask("/metrics")
        return read_metrics(response.text) if response.status == 200 else None  # noqa: PLR2004 - OK

    def _ask(self, path: str) -> _Response:
        response = self._call("GET", path, [], b"")
        if response.status >= 500:  # noqa: PLR2004 - RFC 9110, 15.6: this is not the server's own word
            raise Unavailable(f"{self._settings.url}: {response.status} {response.text}")
        return response

    def write(self, batch: Sequence[MachineScan]) -> None:
        refusals: list[Refusal] = []
        lines = [line for scan in batch for line in self._writer.lines(scan, refusals)]
        self._write_lines(lines, refusals)
        if refusals:
            raise Rejected(refusals)

    def _write_lines(self, lines: list[Line], refusals: list[Refusal]) -> None:
        """Write lines; where the server refuses some, split them until the refused ones are found."""
        if not lines:
            return
        message = self._post("\n".join(map(str, lines)))
        if message is None:
            return
        dropped = _DROPPED.search(message)
        all_of_them = len(lines) == 1 or (dropped is not None and int(dropped[1]) == len(lines))
        if all_of_them and all(len(line.fields) == 1 for line in lines):
            refusals += [Refusal(line.record, line.readings, str(line), message) for line in lines]
            return
        for part in _split(lines, message):
            self._write_lines(part, refusals)

    def _post(self, text: str) -> str | None:
        """Send lines; return the server's message where it refuses rows. Raises `Unavailable`."""
        response = self._call("POST", self._path, self._target, gzip.compress(text.encode(), compresslevel=1))
        if response.status in range(200, 300):
            return None
        message = f"{response.status} {response.text}"
        if response.status in _REFUSED and response.status not in _NOT_THE_ROWS:
            return message
        raise Unavailable(f"{self._settings.url}: {message}")

    def _call(self, method: str, path: str, query: list[tuple[str, str]], body: bytes) -> _Response:
        """Send a request and return the response, whatever its status. Raises `Unavailable` where there is none."""
        from influxdb_client.rest import ApiException  # noqa: PLC0415 - as in `open`
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as in `open`

        if self._client is None:
            raise Unavailable("not opened")
        headers = dict(self._headers)
        if body:
            headers |= {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip"}
        try:
            _, status, given = self._client.api_client.call_api(
                path, method, query_params=list(query), header_params=headers, body=body, urlopen_kw={}
            )
        except ApiException as error:
            if not error.status:  # of TLS: there was no response
                raise Unavailable(f"{self._settings.url}: {error.reason}") from error
            return _Response(error.status, error.headers or {}, _first_line(error.body))
        except (HTTPError, OSError) as error:
            raise Unavailable(f"{self._settings.url}: {error.__cause__ or error}") from error
        return _Response(status, given, str(self._client.api_client.last_response.data or ""))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _split(lines: list[Line], message: str) -> tuple[list[Line], list[Line]]:
    """Split lines in two: the field that the server names from all others, else in halves."""
    if conflict := _CONFLICT.search(message):
        start = escape(conflict["field"]) + "="
        blamed = [line.only([field]) for line in lines for field in line.fields if field.startswith(start)]
        others = [line.only([f for f in line.fields if not f.startswith(start)]) for line in lines]
        others = [line for line in others if line.fields]
        if blamed and others:
            return blamed, others
    if len(lines) == 1:
        [line] = lines
        half = len(line.fields) // 2
        return [line.only(line.fields[:half])], [line.only(line.fields[half:])]
    half = len(lines) // 2
    return lines[:half], lines[half:]


def _first_line(body: Any) -> str:  # noqa: ANN401 - bytes, text or nothing
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    return text.strip().split("\n", 1)[0][:500]


KIND = StoreKind("influxdb", InfluxSettings, InfluxStore)
