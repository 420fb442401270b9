"""The section `dashboard`: where the page is served, and who may sign in."""

from __future__ import annotations

import re
import zoneinfo
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator

from drivers.exposure import is_loopback
from drivers.private_key import KeyFile
from drivers.tls import TlsFiles
from drivers.url import check_host, split_url
from gateway.common.setting_types import Duration, File, Secret, Section
from gateway.model.text import check_text
from gateway.settings.audit_section import AUDIT, AuditSection
from gateway.settings.problems import CLOSE, Problem, Severity
from gateway.settings.sections import Endpoint, Listen, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.settings.factory import Factory

USERS = "users.yaml"
"""The users' file, in the folder of the spool."""

ALARM_NOTES = "alarm-notes.json"
"""The file of what operators noted of alarms, in the folder of the spool."""

LINK_FILE = re.compile(r"dashboard-\d{1,5}\.link")
"""The file with the link to a page without users, in the folder of the spool; the number is the port of the page."""

SESSIONS_FILE = re.compile(r"dashboard-\d{1,5}\.sessions")
"""The file with the sessions of the link, likewise."""

MOST_KEY_NAME = 128
"""Characters of the name of a key."""

MOST_NAMES = 100
"""Entries of a list of hosts or roles."""

MOST_NOTICE = 4_000
"""Characters of the notice of use."""


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9.])?")


class Language(StrEnum):
    """The languages of the page."""

    ENGLISH = "en"
    GERMAN = "de"
    CHINESE = "zh"


def _time_zone(name: str) -> str:
    """Return an IANA time zone. Raises `ValueError` for a name that this machine does not know."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = get_close_matches(name, sorted(zoneinfo.available_timezones()), n=1, cutoff=CLOSE)
        hint = f"did you mean {close[0]!r}?" if close else "write one such as 'Europe/Berlin' or 'Asia/Shanghai'"
        raise ValueError(f"{name[:100]!r} is not a time zone of the IANA database; {hint}") from None
    return name


def _host(name: str) -> str:
    if not _HOST.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is not a host; write its name alone, as in lineside.example")
    check_host(name)
    return name.rstrip(".").lower()


def _notice(text: str) -> str:
    """Return a notice of use. Raises `ValueError` for characters that would show another text, or none at all."""
    text = text.strip()
    if not text:
        raise ValueError("the notice is empty; write the conditions of use, or remove notice")
    # lines, quotes and backslashes do no harm here: the text is in a page, and in no store
    check_text(text.translate({ord(one): " " for one in '\n"\\'}), MOST_NOTICE)
    return text


def _one_or_many(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,) if isinstance(written, str) else written


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(max_length=MOST_NAMES)]
"""A name, or a list of names."""

ROLE = r"^[a-z][a-z0-9_-]{0,31}$"
"""The pattern of a role's name."""

RoleName = Annotated[str, StringConstraints(pattern=ROLE)]
"""The name of a role of users."""

Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_one_or_many), Field(max_length=MOST_NAMES)
]
"""A host, or a list of hosts."""


class DashboardTls(Section):
    """The certificate of the dashboard."""

    certificate: File
    """The certificate, with those between it and the authority, as in `/etc/lineside/edge-01.pem`."""
    key: File
    """The key of the certificate, as in `/etc/lineside/edge-01.key`."""
    key_password: Secret | None = None
    """The name of the key's password, as in `{secret: dashboard_key}`."""

    @property
    def key_files(self) -> Sequence[KeyFile]:
        return (KeyFile("key", self.key, "key_password", self.key_password),)


class OidcSection(Section):
    """Sign-in by an identity provider (OpenID Connect Core 1.0, authorization code flow with PKCE)."""

    issuer: str
    """The provider: the URL above `/.well-known/openid-configuration`, as in `https://id.example/realms/plant`."""
    client_id: Annotated[str, Field(min_length=1, max_length=255)]
    """The name of the dashboard at the provider, as in `lineside`."""
    client_secret: Secret | None = None
    """The name of the client's secret; a public client has none, as in `{secret: oidc_client}`."""
    role_claim: Annotated[str, Field(min_length=1, max_length=255)] = "roles"
    """The claim of the ID token with the user's roles or groups, as in `realm_access.roles`."""
    roles: Annotated[dict[RoleName, Names], Field(max_length=MOST_NAMES)]
    """Which values of the claim give which role of `lineside users roles`; the role that permits most counts, as in
    `{viewer: [plant-staff], admin: [plant-it]}`."""
    redirect_url: str | None = None
    """The address that the provider returns to, where a proxy is in front, as in
    `https://edge-01.example/login/oidc/callback`."""
    ca: File | None = None
    """The authority of the provider's certificate, in place of the system's, as in `/etc/lineside/plant-ca.pem`."""
    crl: File | None = None
    """The revocation lists of the authorities, in PEM, as in `/etc/lineside/plant-ca.crl.pem`."""

    @property
    def tls_files(self) -> TlsFiles:
        """The files of connections to the provider."""
        return TlsFiles(self.ca, self.crl)

    @model_validator(mode="after")
    def _gives_a_role(self) -> Self:
        if not any(self.roles.values()):
            raise ValueError("roles gives nobody a role; write values of the claim, as in viewer: [plant-staff]")
        return self

    @field_validator("issuer", "redirect_url")
    @classmethod
    def _is_secure(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = split_url(url)
        host = parts.hostname or ""
        if parts.scheme not in {"https", "http"} or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("write a URL without user, query and fragment, as in https://id.example/realms/plant")
        check_host(host)
        if parts.scheme == "http" and not is_loopback(host):
            raise ValueError(f"http:// is for the loopback interface; write https://{host}")
        return url


class LockoutSection(Section):
    """Growing delays after failed attempts to sign in, for a name and for an address (IEC 62443-4-2, CR 1.11)."""

    failures: Annotated[int, Field(ge=1, le=20)] = 5
    """The number of failures that begins the delays, as in `3`."""
    delay: Annotated[Duration, Field(ge=1, le=15 * 60)] = 1.0
    """The first delay; each further failure doubles it, up to 15 minutes, as in `30s`."""
    period: Annotated[Duration, Field(ge=15 * 60, le=7 * 86400)] = 3600.0
    """The time without a failure after which earlier failures are forgotten, as in `24h`."""


class PageCommandsSection(Section):
    """Commands of people on the page to gateways, over MQTT. Without a key, to gateways with `unsigned_alarms`."""

    key: Secret | None = None
    """A private key of Ed25519 in PEM that signs them, as in `{secret: page_key}`."""
    name: Annotated[str, Field(max_length=MOST_KEY_NAME)] = ""
    """The name of the key in `gateway.commands.keys` of the gateways, as in `page`."""
    wait: Annotated[Duration, Field(le=60)] = 10.0
    """How long the page waits for the answer of a gateway, as in `10s`."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.key is not None and not self.name:
            raise ValueError("key needs name, that of the key in gateway.commands.keys, as in name: page")
        if self.key is None and self.name:
            raise ValueError("name is that of a key; write key: {secret: page_key}, too")
        return self


class DashboardSection(Section):
    """The web page of `lineside dashboard`."""

    listen: Listen = "127.0.0.1:8080"
    """The address to serve it at; beyond the loopback interface it needs tls, and users or oidc, as in
    `0.0.0.0:8443`."""
    hosts: Hosts = ()
    """Names that people reach it by, beside this machine's names and addresses, as in `[lineside.example]`."""
    tls: DashboardTls | None = None
    """The certificate and its key, as in `{certificate: /etc/lineside/box.pem, key: /etc/lineside/box.key}`."""
    users: File = Path("lineside-data") / USERS
    """The file of `lineside users`; by default `users.yaml` in the folder of the spool, as in
    `/var/lib/lineside/users.yaml`."""
    password_length: Annotated[int, Field(ge=12, le=128)] = 12
    """The least number of characters of a new password, as in `16`."""
    lockout: LockoutSection = LockoutSection()
    """Delays after failed attempts to sign in, as in `{failures: 3, delay: 30s}`."""
    oidc: OidcSection | None = None
    """Sign-in by an identity provider, as in `{issuer: "https://id.example/realms/plant", client_id: lineside,
    client_secret: {secret: oidc_client}, roles: {viewer: [plant-staff]}}`."""
    notice: Annotated[str, AfterValidator(_notice)] | None = None
    """The conditions of use, in one or more lines, that people read and accept before they sign in, as in `Authorized
    persons only. What you do here is recorded.`"""
    session: Annotated[Duration, Field(ge=60, le=7 * 86400)] = 8 * 3600.0
    """The time after which everybody signs in again, as in `8h`."""
    idle: Annotated[Duration, Field(ge=60, le=7 * 86400)] = 30 * 60.0
    """The time without a request after which a session ends, as in `30m`."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] | None = None
    """The time zone of the page; by default that of this machine, as in `Europe/Berlin`."""
    language: Annotated[Language | None, Field(strict=False)] = None
    """The language of the page; by default that of the browser, as in `de`."""
    commands: PageCommandsSection | None = None
    """Commands of people on the page to gateways, for alarms and reasons of stops; empty for gateways that need no
    signature, as in `{key: {secret: page_key}, name: page}`."""
    audit: AuditSection = AuditSection()
    """The audit log, as in `{max_size: 256MiB, syslog: "tls://siem.example:6514"}`."""

    @property
    def endpoint(self) -> Endpoint:
        """The address to serve it at."""
        return parse_endpoint(self.listen)

    def beside(self, spool: Path) -> DashboardSection:
        """Return the section with the paths that are not written below the folder of the spool."""
        changes: dict[str, object] = {}
        if "users" not in self.model_fields_set:
            changes["users"] = spool / USERS
        if "folder" not in self.audit.model_fields_set:
            changes["audit"] = self.audit.model_copy(update={"folder": spool / AUDIT})
        return self.model_copy(update=changes)


def check_exposure(section: DashboardSection) -> list[str]:
    """Return the settings that are missing before others than this machine may reach the dashboard, one line each."""
    if section.endpoint.is_local:
        return []
    problems = []
    if section.tls is None:
        problems.append(
            f"dashboard.listen: other machines reach {section.endpoint}, and passwords would cross the network as "
            "readable text; write tls: {certificate: FILE, key: FILE} under dashboard, or listen at 127.0.0.1"
        )
    if section.oidc is None and not section.users.exists():
        problems.append(
            f"dashboard.listen: other machines reach {section.endpoint}, and nobody has to sign in; add a user with "
            "lineside users add CONFIG NAME --role admin, write oidc under dashboard, or listen at 127.0.0.1"
        )
    return problems


def dashboard_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield the problems of `check_exposure` as warnings, for `lineside validate`."""
    document = factory.document
    if document is None:
        return
    for message in check_exposure(factory.dashboard):
        path, _, text = message.partition(": ")
        yield Problem(document.file, *document.mark(tuple(path.split("."))), path, text, Severity.WARNING)
