"""The endpoint of a service: `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
import hmac
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog

from drivers.secret import MissingSecret
from gateway.common.listening import bind_in_thread
from gateway.common.server_certificate import Renewal, ServerCertificate, ServerFiles
from gateway.common.state_log import StateLog
from gateway.metrics.health import Pulse, alive, ready
from gateway.metrics.http_server import HttpServer, Request, Response

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from concurrent.futures import Future

    from drivers.secret import Secret
    from gateway.metrics.exposition import Exposition
    from gateway.metrics.health import Checks, Verdict
    from gateway.metrics.samples import MetricsPart
    from gateway.settings.sections import Endpoint, MetricsTls

log = structlog.get_logger()

LISTEN_AGAIN = 5.0
"""Seconds until a port that is in use is tried again."""

COLLECT_SECONDS = 8.0
"""Seconds that the service has to return its values: less than the usual time-out of a scrape, 10 s."""

SHORTEST_TOKEN = 16
"""Characters of a token at the least."""

COST = 0.05
"""The part of a processor that all requests for metrics may need: a text that took 10 ms is used again for 0.2 s."""

JSON, TEXT = "application/json", "text/plain; charset=utf-8"

INDEX = b"/metrics  for Prometheus\n/healthz  200 while the service is alive\n/readyz   200 while it is ready\n"


class Sources(NamedTuple):
    """The functions that an endpoint asks; the service's event loop runs them.

    `parts`    returns the samples of all processes of the service
    `checks`   returns the needs of the service, see `Checks`
    `pulses`   signs of life beside that of the event loop, by name, asked for from the thread of the endpoint
    `silence`  returns the seconds of silence of other processes of the service, by name
    """

    parts: Callable[[], Coroutine[Any, Any, Sequence[MetricsPart]]]
    checks: Callable[[], Coroutine[Any, Any, Checks]]
    pulses: Mapping[str, Callable[[], Future[Any]]] = {}
    silence: Callable[[], Coroutine[Any, Any, Mapping[str, float]]] | None = None


class _Text(NamedTuple):
    """A text for clients with this type; it is used again until `due`, a monotonic time."""

    content_type: str
    body: bytes
    due: float


class MetricsEndpoint:
    """Listens at an address and answers, until its task is cancelled. It never ends the service.

    Requests are read, and texts are made, in a thread of its own; only the counters are read in the event loop.
    """

    def __init__(
        self,
        address: Endpoint,
        sources: Sources,
        key: str,
        tls: MetricsTls | None = None,
        token: Secret | None = None,
    ) -> None:
        """Prepare; `key` is the section of the configuration, as in `gateway.metrics`."""
        self._token = token
        self._expected = ""
        self._address = address
        self._tls = tls
        self._sources = sources
        self._key = key
        self._state = StateLog(log, "metrics.unstable", listen=str(address))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pulses: dict[str, Pulse] = {}
        self._collecting: Future[Sequence[MetricsPart]] | None = None
        self._text: _Text | None = None
        self._exposition: Exposition | None = None
        self._logged = False

    async def run(self) -> None:
        """Serve until cancelled. A port in use is logged once, and tried again."""
        self._loop = asyncio.get_running_loop()
        self._pulses = {"event_loop": Pulse(lambda: self._submit(_nothing()))}
        self._pulses |= {name: Pulse(ask) for name, ask in self._sources.pulses.items()}
        if self._token is not None:
            self._expected = await self._reveal(self._token)
        certificate = None if self._tls is None else await self._certificate(self._tls)
        server = HttpServer(await self._listen(), self._handle, None if certificate is None else certificate.context)
        server.start()
        try:
            await asyncio.to_thread(server.wait)
            if certificate is not None:
                await certificate.watch()
            await asyncio.Event().wait()
        finally:
            server.stop()

    async def _reveal(self, token: Secret) -> str:
        """Return the token, as soon as it can be used: without it nobody may read the metrics."""
        while True:
            try:
                found = await asyncio.to_thread(token.reveal)
            except MissingSecret as error:
                problem = str(error)
            else:
                if len(found) >= SHORTEST_TOKEN:
                    return found
                problem = f"the token has {len(found)} characters, and needs {SHORTEST_TOKEN}"
            hint = f"correct the secret of {self._key}.token, as in: openssl rand -base64 24"
            self._state.enter("metrics.not_listening", error=problem, hint=hint)
            await asyncio.sleep(LISTEN_AGAIN)

    async def _certificate(self, tls: MetricsTls) -> ServerCertificate:
        """Return the certificate, as soon as its files can be used."""
        files = ServerFiles(f"{self._key}.tls", tls.certificate, tls.key, tls.key_password, tls.client_ca)
        while True:
            try:
                return await asyncio.to_thread(ServerCertificate, files, _log_renewal)
            except (OSError, MissingSecret) as error:
                hint = f"correct the files of {self._key}.tls"
                self._state.enter("metrics.not_listening", error=str(error), hint=hint)
                await asyncio.sleep(LISTEN_AGAIN)

    async def _listen(self) -> socket.socket:
        while True:
            try:
                found = await bind_in_thread(self._address)
            except OSError as error:
                hint = f"free the port, or write another address into {self._key}.listen"
                self._state.enter("metrics.not_listening", error=error.strerror or str(error), hint=hint)
                await asyncio.sleep(LISTEN_AGAIN)
            else:
                self._state.enter("metrics.listening", healthy=True)
                return found

    # -- in the thread of the server --

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except TimeoutError:
            return _failed(f"the service did not answer within {COLLECT_SECONDS:g} s")
        except Exception as error:
            if not self._logged:  # once: a scrape may come every second
                log.exception("metrics.failed", path=request.path)
            self._logged = True
            return _failed(type(error).__name__)

    async def _answer(self, request: Request) -> Response:
        match request.path:
            case "/metrics":
                if not self._permits(request.authorization):
                    return Response(HTTPStatus.UNAUTHORIZED, TEXT, b"send the token: Authorization: Bearer TOKEN\n")
                return await self._metrics(request.accept)
            case "/healthz":
                return _as_json(alive(await self._silence()))
            case "/readyz":
                return _as_json(ready(await self._ask(self._sources.checks())))
            case "/":
                return Response(HTTPStatus.OK, TEXT, INDEX)
        return Response(HTTPStatus.NOT_FOUND, TEXT, b"there are /metrics, /healthz and /readyz\n")

    def _permits(self, authorization: str) -> bool:
        """Return whether a request has the token (RFC 6750, clause 2.1), in a time that says nothing of it."""
        if self._token is None:
            return True
        scheme, _, written = authorization.partition(" ")
        # a header is Latin-1, and a token may be any text
        same = hmac.compare_digest(written.strip().encode("latin-1", "replace"), self._expected.encode())
        return same and scheme.lower() == "bearer"

    async def _silence(self) -> dict[str, float]:
        names = list(self._pulses)
        seconds = await asyncio.gather(*(pulse.silence() for pulse in self._pulses.values()))
        found = dict(zip(names, seconds, strict=True))
        if self._sources.silence is not None and not found["event_loop"]:
            found |= await self._ask(self._sources.silence())
        return found

    async def _metrics(self, accept: str) -> Response:
        from gateway.metrics import exposition  # noqa: PLC0415 - it needs an extra

        form = exposition.chosen(accept)
        if self._exposition is None:
            self._exposition = exposition.Exposition()
        if self._text is None or self._text.content_type != form.content_type or time.monotonic() >= self._text.due:
            began = time.thread_time()
            parts = await self._collect()
            body = await self._exposition.encode(parts, form)
            collected = sum(part.samples.total("lineside_scrape_collect_seconds") for part in parts)
            cost = time.thread_time() - began + collected
            self._text = _Text(form.content_type, body, time.monotonic() + cost / COST)
        return Response(HTTPStatus.OK, form.content_type, self._text.body)

    async def _collect(self) -> Sequence[MetricsPart]:
        """Return the values of now. Requests that come before the service has answered wait for the same answer."""
        if self._collecting is None or self._collecting.done():
            self._collecting = self._submit(self._sources.parts())
        collecting = self._collecting
        async with asyncio.timeout(COLLECT_SECONDS):
            return await asyncio.shield(asyncio.wrap_future(collecting))

    async def _ask(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        asked = self._submit(work)
        try:
            async with asyncio.timeout(COLLECT_SECONDS):
                return await asyncio.wrap_future(asked)
        finally:
            asked.cancel()

    def _submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run work in the event loop of the service."""
        assert self._loop is not None  # noqa: S101 - set before the thread begins
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _log_renewal(found: Renewal) -> None:
    if found.problem:
        hint = "the certificate from before stays in use; correct the files"
        log.warning("metrics.certificate_refused", certificate=found.file, error=found.problem, hint=hint)
    else:
        log.info("metrics.certificate_renewed", certificate=found.file, serial=found.serial)


async def _nothing() -> None:
    """Have a turn."""


def _as_json(verdict: Verdict) -> Response:
    status = HTTPStatus.OK if verdict.good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, JSON, orjson.dumps(verdict.content, option=orjson.OPT_APPEND_NEWLINE))


def _failed(reason: str) -> Response:
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{reason}\n".encode())
