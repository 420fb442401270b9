"""The process that delivers one message: it reads a `Delivery` from standard input, and prints an `Answer`.

Apprise loads all of its services at its first use (a second of processor time, 60 MB), reads the answer of a
server as a whole, and has no limit of time for all of it. So it is in a process of its own, which has limits of time
and of memory, and which ends after one message. Nothing but this file imports it.

Redirects are never followed: they would carry the message, and perhaps secrets, to a host that nobody has allowed.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import signal
import ssl
import sys
from typing import Any

from drivers.exposure import is_loopback
from gateway.notify.delivery import Answer, Delivery, Outcome
from gateway.settings.host_patterns import HostPattern

LONGEST = 40
"""Seconds after which the process ends in any case."""

SOCKET = 10.0
"""Seconds that a server has to accept a connection, and for each part of its answer."""

MEMORY = 256 * 2**20
"""Bytes of data: a server that answers without end costs no more."""

_SIGNS = (
    (Outcome.NOT_TRUSTED, r"certificate.verify.failed|hostname mismatch|doesn't match|not valid for"),
    (Outcome.SIGN_IN, r"SMTPAuthenticationError|\((535|534|530),|Verification Failed|error=40[13]\b"),
    (Outcome.UNKNOWN_HOST, r"name or service not known|NameResolutionError|name resolution|No address associated"),
    (Outcome.NO_TLS, r"STARTTLS extension not supported|WRONG_VERSION_NUMBER|record layer failure"),
    (Outcome.TIMED_OUT, r"timed out|timeout"),
    (Outcome.REFUSED, r"error=\d{3}\b|was refused|\(\d{3}, b"),
    (Outcome.NO_CONNECTION, r"refused|unreachable|connection|No route"),
)
"""Signs in the log of Apprise, in the order in which they count."""

_READABLE_MODES = frozenset({"insecure", "none"})
"""The modes of mail and XMPP without TLS."""

_STATUS = re.compile(r"(?:error=|\()(\d{3})\b")


class _Log(logging.Handler):
    """Keeps the messages of Apprise that say why something failed. They are never shown: they may have secrets."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        # other messages at debug repeat the content of the alarm, or what the server has answered
        if record.levelno >= logging.WARNING or message.startswith("Socket Exception"):
            self.text = f"{self.text}\n{message}"[-16_000:]


def answer_of(text: str) -> Answer:
    """Return the reason of a failure out of the log of Apprise."""
    for outcome, sign in _SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            has_status = outcome in {Outcome.REFUSED, Outcome.SIGN_IN}
            status = _STATUS.search(text) if has_status else None
            return Answer(outcome=outcome, status=int(status[1]) if status else 0)
    return Answer(outcome=Outcome.FAILED)


def deliver(delivery: Delivery) -> Answer:
    """Deliver a message."""
    try:
        import apprise  # noqa: PLC0415 - see above
    except ImportError:
        return Answer(outcome=Outcome.NO_LIBRARY)
    log = _Log()
    library = logging.getLogger("apprise")
    library.setLevel(logging.DEBUG)
    library.propagate = False
    library.addHandler(log)
    asset = apprise.AppriseAsset(
        app_id="Lineside", app_desc="Lineside", app_url="", async_mode=False, http_redirects=False,
        interpret_emojis=False, storage_mode="memory",
    )  # fmt: skip
    service: Any = apprise.Apprise.instantiate(delivery.url, asset=asset, suppress_exceptions=True)
    if service is None or not service.enabled:
        return Answer(outcome=Outcome.WRONG_URL)
    if refused := _refused(service, delivery):
        return Answer(outcome=refused)
    service.redirects = False  # also if the URL says otherwise
    service.socket_connect_timeout = service.socket_read_timeout = SOCKET
    service.overflow_mode = apprise.OverflowMode.TRUNCATE
    kind = apprise.NotifyType(delivery.kind)
    if service.notify(
        body=delivery.body, title=delivery.title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
    ):
        return Answer(outcome=Outcome.DELIVERED)
    return answer_of(log.text)


def _refused(service: Any, delivery: Delivery) -> Outcome | None:  # noqa: ANN401 - of Apprise
    """Return why a service is not used, None if it may be."""
    named = ["{host}" in template for template in service.templates]
    server = getattr(service, "smtp_host", None) or (service.host if any(named) else None)
    mode = getattr(service, "secure_mode", None)
    secure = mode not in _READABLE_MODES if mode is not None else bool(service.secure) or service.protocol is None
    # a service that may have an address of its own is named by its scheme, else any name of a topic would be a host
    url = f"{service.schema}://{service.schema}"
    if server and all(named):
        host = f"[{server}]" if ":" in server else server
        url = f"{service.schema}://{host}:{service.port or (443 if secure else 80)}"
    if any(not any(HostPattern.parse(one).matches(url) for one in patterns) for patterns in delivery.allowed):
        return Outcome.NOT_ALLOWED
    if server and not is_loopback(server) and not delivery.insecure and not secure:
        return Outcome.READABLE
    if not service.verify_certificate and not delivery.insecure:
        return Outcome.NOT_VERIFIED
    return None


def _trust_the_system() -> None:
    """Let requests trust whom this machine trusts, as all of Lineside does, in place of a list of its own."""
    paths = ssl.get_default_verify_paths()
    if found := paths.cafile or paths.capath:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", found)


def main() -> None:
    """Deliver the message on standard input, and print the answer."""
    signal.alarm(LONGEST)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the URL is in memory
    logging.getLogger().addHandler(logging.NullHandler())
    _trust_the_system()
    try:
        answer = deliver(Delivery.model_validate_json(sys.stdin.buffer.read()))
    except MemoryError:
        answer = Answer(outcome=Outcome.TOO_LARGE)
    sys.stdout.buffer.write(answer.model_dump_json().encode())


if __name__ == "__main__":
    main()
