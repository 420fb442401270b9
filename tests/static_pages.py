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
<link rel="stylesheet" href="/static/css/theme.css"><link rel="stylesheet" href="/static/css/page.css">
<link rel="stylesheet" href="/static/css/chart.css"><link rel="stylesheet" href="/static/css/views.css">
<script type="module" src="/static/js/chart/small.js"></script></head>
<body><main id="main" class="panel"></main></body></html>
"""

Answer = tuple[int, str, bytes]
"""The status, the type and the body of an answer."""


@contextmanager
def serve(answers: dict[str, Callable[[str], Answer]] | None = None) -> Iterator[str]:
    """Serve until the end of the block; yields the URL. `answers` has functions of the query by their paths."""
    own = answers or {}

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(STATIC.parent))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path in own:
                self.answer(*own[path](query))
            elif path in {"/", "/dark"}:
                theme = "dark" if path == "/dark" else "light"
                self.answer(200, "text/html; charset=utf-8", PAGE.format(theme=theme).encode())
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
