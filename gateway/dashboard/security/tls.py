"""The certificate of the page, for its server, renewed while it runs; each renewal is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from gateway.common.server_certificate import Renewal, ServerCertificate, ServerFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings.dashboard_section import DashboardTls

log = structlog.get_logger(__name__)


class Certificate(ServerCertificate):
    """The certificate and key of `dashboard.tls`, as they are in the files.

    `on_renewal` is called when new files are used, and when they can't be. Raises `OSError` that names the file if
    the first certificate and its key can't be used, and `MissingSecret`.
    """

    def __init__(self, tls: DashboardTls, on_renewal: Callable[[Renewal], None] = lambda _: None) -> None:
        files = ServerFiles("dashboard.tls", tls.certificate, tls.key, tls.key_password)

        def renewed(found: Renewal) -> None:
            _log(found)
            on_renewal(found)

        super().__init__(files, renewed)

    def options(self) -> dict[str, Any]:
        """Return the arguments of the server for TLS."""
        return {"ssl_context_factory": lambda *_: self.context}


def _log(found: Renewal) -> None:
    if found.problem:
        hint = "the certificate from before stays in use; correct the files"
        log.warning("dashboard.certificate_refused", certificate=found.file, error=found.problem, hint=hint)
    else:
        log.info("dashboard.certificate_renewed", certificate=found.file, serial=found.serial)
