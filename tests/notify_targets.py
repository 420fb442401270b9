"""Servers that receive messages about alarms, on the loopback: of mail with SMTP, and of webhooks with HTTP."""

from __future__ import annotations

import json
import ssl
import threading
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from email.message import EmailMessage
    from types import TracebackType

    from aiosmtpd.smtp import SMTP, Envelope, Session
    from fakes.authority import Pair


class MailServer:
    """A mail server with sign-in; with a certificate it offers STARTTLS. `mails` are the accepted mails."""

    def __init__(self, shown: Pair | None = None, port: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.port = port or free_port()
        context = None
        if shown is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*shown)
        self._controller = Controller(
            self, hostname=LOOPBACK, port=self.port, tls_context=context, require_starttls=context is not None,
            authenticator=self._sign_in, auth_require_tls=False,
        )  # fmt: skip

    def _sign_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        del server, session, envelope, mechanism
        return AuthResult(success=data.password == b"pass-word-1", handled=False)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        del server, session
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append(mail)  # type: ignore[arg-type] # by the policy
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()


class Webhook:
    """A web server that receives JSON; `messages` are those received, with the path of each as `path`.

    The path says how it answers: `/redirect` to another path, `/endless` without end, `/hang` never, `/500` with
    that status.
    """

    def __init__(self, shown: Pair | None = None, port: int = 0) -> None:
        self.messages: list[dict[str, Any]] = []
        self.port = port or free_port()
        self._freed = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.messages.append({**content, "path": self.path})
                name = self.path.rpartition("/")[2]
                if name == "hang":
                    hook._freed.wait(120)
                self.send_response({"redirect": 307, "500": 500}.get(name, 200))
                if name == "redirect":
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                try:
                    for _ in range(10**6 if name == "endless" else 0):
                        self.wfile.write(b"x" * 65_536)
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server((LOOPBACK, self.port), Handler)
        if shown is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*shown)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def bodies(self) -> list[str]:
        """Return the texts of the messages so far."""
        return [one["message"] for one in self.messages]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._freed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up, or do not trust the certificate."""
