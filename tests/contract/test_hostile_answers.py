"""A server behind a store's URL may answer a query with anything: it is one line of text, and little memory."""

from __future__ import annotations

import json
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from gateway.model.path import MachinePath
from gateway.stores import influxql, metricsql, store_kind, windows
from gateway.stores.base import StoreError
from gateway.stores.series import Series, SeriesId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.stores.base import Store

LIMIT = 2**20

PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")
LABELS = dict(zip(MachinePath._fields, PRESS, strict=True))
INFLUX = Series(SeriesId(PRESS, "pressure", ""), "float", key=(influxql._Field("press", "pressure", "float"),))  # noqa: SLF001 - as the reader makes it
VICTORIA = Series(SeriesId(PRESS, "pressure", ""), "float", key=metricsql._Key(("press_pressure",)))  # noqa: SLF001 - as the reader makes it


class Server:
    """Answers every query with the same status and body; `endless` repeats the body until the client closes."""

    def __init__(self, *, victoria: bool, status: int, body: bytes, endless: bool) -> None:
        self.victoria, self.status, self.body, self.endless = victoria, status, body, endless
        self.sent = 0
        self.closed = threading.Event()


@contextmanager
def served(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            if server.victoria:
                self.send_header("X-Server-Hostname", "tsdb")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(server.status)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(server.body)
                    server.sent += len(server.body)
                    if not server.endless:
                        return
            except OSError:
                server.closed.set()

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))  # the rest before it sees that it shall end
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


READS: dict[str, Callable[[Store, Series], Any]] = {
    "series": lambda store, _: store.series(),
    "range": lambda store, series: list(store.range([series], 10**15, 10**15 + 10**6)),
    "newest": lambda store, series: store.newest([series]),
    "reduced": lambda store, series: list(store.reduced([series], 10**15, 10**15 + 10**9, 10**6)),
}


@pytest.fixture(params=["influxdb", "victoria_metrics"])
def victoria(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "victoria_metrics")


@contextmanager
def opened(server: Server) -> Iterator[Store]:
    with served(server) as url:
        kind = store_kind("influxdb")
        store = kind.make(kind.settings.model_validate({"url": url, "bucket": "telemetry"}))
        store.open_for_query()
        with closing(store):
            yield store


@pytest.mark.parametrize("read", READS)
def test_an_answer_without_end_is_closed(victoria: bool, read: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - a fixture
    for module in (influxql, metricsql, windows):
        monkeypatch.setattr(module, "MAX_WINDOW", LIMIT)
    for module in (influxql, metricsql):
        monkeypatch.setattr(module, "MAX_SERIES", LIMIT)
    server = Server(victoria=victoria, status=200, body=b" " * 2**16, endless=True)
    with opened(server) as store, pytest.raises(StoreError, match=r"too many|too large"):
        READS[read](store, VICTORIA if victoria else INFLUX)
    assert server.closed.wait(60)


BODIES = {
    "nothing": b"", "a login page": b"<html>log in</html>", "not text": b"\xff\xfe\x00",
    "another shape": b'{"data": 7}',
    "deep": b"[" * 100_000, "a large number": b'{"results":[{"series":[{"columns":["time"],"values":[[1e999]]}]}]}',
    "other shapes": json.dumps({
        "results": [{"series": [{"name": 1, "columns": ["time"], "values": [[1, 2, 3]]}]}],
        "data": {"result": [{"metric": LABELS, "values": [["x", "y"]]}]},
    }).encode(),
    "a text in place of numbers": json.dumps({
        "results": [{"series": [{
            "name": "press", "tags": LABELS, "columns": ["time", "pressure"], "values": [["yesterday", "x"]],
        }]}],
        "metric": {"__name__": "press_pressure"} | LABELS, "values": ["x"], "timestamps": ["y"],
    }).encode(),
}  # fmt: skip


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("body", BODIES)
def test_an_answer_of_another_shape_is_one_line(
    victoria: bool, body: str, read: str  # noqa: FBT001 - a fixture
) -> None:  # fmt: skip
    """A proxy, or another program at the port."""
    server = Server(victoria=victoria, status=200, body=BODIES[body], endless=False)
    with opened(server) as store:
        error = ""
        try:
            READS[read](store, VICTORIA if victoria else INFLUX)
        except StoreError as raised:
            error = str(raised)
    assert "\n" not in error
    assert len(error) < 1000


@pytest.mark.parametrize("status", [401, 404, 500, 302])
def test_a_refusal_is_one_line_with_the_server_s_words(victoria: bool, status: int) -> None:  # noqa: FBT001 - a fixture
    server = Server(victoria=victoria, status=status, body=b"no right to read\nmore", endless=False)
    text = f"it does not answer queries: {status} no right to read$"
    with opened(server) as store, pytest.raises(StoreError, match=text):
        store.series()
