"""A server of the dashboard's static files and of pages for tests, with the dashboard's content security policy."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATIC = Path(__file__).parents[1] / "gateway" / "dashboard" / "static"

OWN = Path(__file__).parent / "browser"
"""The modules of the tests, served below /tests/."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

PAGE = """<!doctype html>
<html lang="en" data-theme="{theme}">
<head><meta charset="utf-8"><title>Test</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/test.css"><link rel="stylesheet" href="/css/chart.css">
<script type="module" src="/js/chart/small.js"></script></head>
<body><main id="main"></main></body></html>
"""

STYLE = """
:root {
  color-scheme: light; --surface: #f4f5f6; --text: #22282e; --text-muted: #66707a; --grid: #dcdfe3;
  --band-normal: rgb(90 140 170 / 14%); --band-normal-strong: #a9bfcb; --quality-bad: #c0261c;
  --quality-uncertain: #9a6700; --font: "DejaVu Sans", sans-serif;
  --series-1: #2b6f96; --series-2: #a85a1f; --series-3: #4c7d36; --series-4: #7d529c; --series-5: #a1405f;
  --series-6: #667415; --series-7: #26837d; --series-8: #6f6158;
}
:root[data-theme="dark"] {
  color-scheme: dark; --surface: #1d2125; --text: #dfe3e7; --text-muted: #97a0a8; --grid: #343a41;
  --band-normal: rgb(120 170 200 / 14%); --band-normal-strong: #4a6373; --quality-bad: #ff6b5e;
  --quality-uncertain: #e0a93a;
  --series-1: #6fb3d9; --series-2: #e09a5f; --series-3: #8dc274; --series-4: #bf98dd; --series-5: #e38aa4;
  --series-6: #b6c45a; --series-7: #63c2bb; --series-8: #b3a398;
}
body { margin: 16px; background: var(--surface); color: var(--text); font: 14px var(--font); }
"""

Answer = tuple[int, str, bytes]
"""The status, the type and the body of an answer."""


@contextmanager
def serve(answers: dict[str, Callable[[str], Answer]] | None = None) -> Iterator[str]:
    """Serve until the end of the block; yields the URL. `answers` has functions of the query by their paths."""
    own = answers or {}

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(STATIC))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path in own:
                self.answer(*own[path](query))
            elif path in {"/", "/dark"}:
                theme = "dark" if path == "/dark" else "light"
                self.answer(200, "text/html; charset=utf-8", PAGE.format(theme=theme).encode())
            elif path == "/test.css":
                self.answer(200, "text/css", STYLE.encode())
            elif path.startswith("/tests/") and path.endswith(".js"):
                self.answer(200, "text/javascript", (OWN / Path(path).name).read_bytes())
            else:
                super().do_GET()

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
