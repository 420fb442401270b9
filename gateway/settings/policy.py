"""The policy of a machine: the limits of configurations there. It belongs to root, they belong to engineers.

    format: 1
    gateways: [edge-01]
    hosts:
      broker: ["mqtts://broker.example:8883"]
      stores: ["https://tsdb.example"]
      devices: [10.20.0.0/16]
    secrets:
      broker_password: broker
      influx_token: {for: stores, hosts: ["https://tsdb.example"]}
    secret_folders: [/run/secrets]
    signers:
      anna: MCowBQYDK2VwAyEA...
    software: required

Somebody who can change the configuration, and not the policy, can't send a secret to another server (IEC 62443-4-2,
CR 3.4 and CR 4.1).
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from gateway.common.public_keys import PublicKey  # noqa: TC001 - pydantic looks it up
from gateway.common.setting_types import LONGEST_NAME, Name, Section
from gateway.settings.destinations import HOST_USES, Use, connections, destinations
from gateway.settings.document import parse_document
from gateway.settings.factory import Place
from gateway.settings.host_patterns import Patterns  # noqa: TC001 - pydantic looks it up
from gateway.settings.problems import ConfigurationError, Problem, unknown
from gateway.settings.root_files import Unprotected, read_root_text
from gateway.settings.unauthenticated import protocol_without_authentication
from gateway.settings.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivers.secret import Secret
    from gateway.settings.destinations import Destination
    from gateway.settings.factory import Factory

FILE = Path("/etc/lineside/policy.yaml")
"""The policy of this machine, unless the environment names another."""

VARIABLE = "LINESIDE_POLICY"
"""The environment variable with the path of the policy; that of a service is set by root."""

MOST_ENTRIES = 1_000
"""Gateways, secrets, folders or signers."""

MOST_SHOWN = 5
"""Patterns in a message."""

_GATEWAY = re.compile(rf"[A-Za-z0-9*?][A-Za-z0-9_.*?-]{{0,{LONGEST_NAME - 1}}}")


class Untrusted(ConfigurationError):
    """The policy or the signature refuses a configuration that has no other error; or the policy can't be used."""


class Hosts(Section):
    """The hosts that a configuration may name, by their use; a kind without a pattern may name none."""

    broker: Patterns = ()
    """The brokers, as in `mqtts://broker.example:8883`."""
    stores: Patterns = ()
    """The servers of stores, as in `https://tsdb.example`."""
    devices: Patterns = ()
    """The devices, and those that dial in, as in `10.20.0.0/16`."""
    syslog: Patterns = ()
    """The syslog servers, as in `siem.example`."""
    identity_provider: Patterns = ()
    """The identity providers, as in `id.example`."""
    notify: Patterns = ()
    """The servers of notification, with the schemes of Apprise, as in `mailtos://mail.example`."""


SignedTime = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""The time of a signature in UTC, as in `2026-12-01T06:00:00Z`: texts sort as times do."""


def _uses(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,) if isinstance(written, str) else written


class SecretUse(Section):
    """The use of a secret."""

    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)

    uses: Annotated[tuple[Annotated[Use, Field(strict=False)], ...], BeforeValidator(_uses)] = Field(
        alias="for", min_length=1
    )
    """The parts of a configuration that may use it, as in `broker` or `[broker, stores]`."""
    hosts: Patterns = ()
    """The hosts that it may be sent to, if they are fewer than those of its part, as in `https://tsdb.example`."""


def _use(written: object) -> object:
    return {"for": written} if isinstance(written, str | list) else written


def _folder(written: object) -> object:
    if not isinstance(written, str):
        return written
    if not written.startswith("/") or os.path.normpath(written) == "/":
        raise ValueError(f"{written[:100]!r} is not a folder for secrets; write an absolute path, as in /run/secrets")
    return Path(os.path.normpath(written))


def _gateway(written: object) -> object:
    if isinstance(written, str) and not _GATEWAY.fullmatch(written):
        raise ValueError(
            f"{written[:100]!r} is not a pattern of gateways; write the id of a gateway, as in edge-01, or a pattern,"
            " as in 'press-*'"
        )
    return written


class PolicyFile(Section):
    """The content of the file. A section that is not there allows everything that it is about."""

    format: Literal[1]
    """The format of the file, as in `1`."""
    gateways: (
        Annotated[
            tuple[Annotated[str, BeforeValidator(_gateway)], ...],
            BeforeValidator(_uses),
            Field(max_length=MOST_ENTRIES),
        ]
        | None
    ) = None
    """The ids that the gateway of a configuration may have, with `*` and `?`, as in `[edge-01]`."""
    hosts: Hosts | None = None
    """The hosts that a configuration may name, as in `{broker: broker.example}`."""
    unauthenticated_protocols: Literal["accept", "refuse"] = "accept"
    """Whether machines may be read by protocols in which no device proves its identity, such as plain Modbus, as
    in `refuse`."""
    fieldbus_networks: Patterns | None = None
    """The only networks or hosts in which they may be read so, as in `[10.20.0.0/16]`."""
    secrets: (
        Annotated[dict[str, Annotated[SecretUse, BeforeValidator(_use)]], Field(max_length=MOST_ENTRIES)] | None
    ) = None
    """What each secret is for, by its name or the path of its file; others may not be used, as in
    `{broker_password: broker}`."""
    secret_folders: (
        Annotated[tuple[Annotated[Path, BeforeValidator(_folder)], ...], BeforeValidator(_uses)] | None
    ) = None
    """The folders that the files of `{file: PATH}` must be in, as in `[/run/secrets]`."""
    signers: Annotated[dict[Name, PublicKey], Field(max_length=MOST_ENTRIES)] | None = None
    """The public keys of those who may sign a configuration; with it, services refuse other configurations, as in
    `{anna: MCowBQYDK2VwAyEA...}`."""

    older_signatures: Literal["refuse", "accept"] = "refuse"
    """What to do with a configuration that was signed before the newest that this machine has accepted, as in
    `accept`."""
    signed_since: SignedTime | None = None
    """The time before which no signature counts, as in `2026-12-01T06:00:00Z`."""
    software: Literal["report", "required"] = "report"
    """What to do with changed software: `report` names it, and with `required` services refuse to start, as in
    `required`."""
    release_keys: Annotated[dict[Name, PublicKey], Field(max_length=MOST_ENTRIES)] | None = None
    """The public keys of those whose releases this machine accepts, in place of those in /etc/lineside/release.pub,
    as in `{builder: MCowBQYDK2VwAyEA...}`."""

    signature_folder: Annotated[Path, BeforeValidator(_folder)] | None = None
    """The folder in which services remember the newest signature that they have accepted, as in
    `/var/lib/lineside`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fieldbus_networks is not None and self.unauthenticated_protocols == "refuse":
            raise ValueError("fieldbus_networks allows protocols that unauthenticated_protocols refuses; write one")
        return self


_HINT = f"put the policy there, or remove the environment variable {VARIABLE}"


def policy_path() -> Path:
    """Return the path of the policy of this machine."""
    return Path(os.environ.get(VARIABLE) or FILE)


def read_policy() -> Policy | None:
    """Return the policy of this machine, None without one. Raises `Untrusted` for a policy that can't be used."""
    file = policy_path()
    if not os.environ.get(VARIABLE) and _is_missing(file):
        return None
    try:
        content = read_root_text(file, "the policy", _HINT)
    except Unprotected as error:
        raise Untrusted([Problem(error.path, 1, 1, "", error.reason)]) from None
    try:
        document = parse_document(content, file)
        found = validate(PolicyFile, document, document.data, ())
    except ConfigurationError as error:
        raise Untrusted(error.problems) from None
    if found is None:
        raise Untrusted(document.problems)
    return Policy(file, found)


def _is_missing(file: Path) -> bool:
    """Return whether there is no policy. A folder that this user may not look into may have one."""
    try:
        file.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


class Policy:
    """A policy, and the checks of a configuration by it."""

    def __init__(self, file: Path, content: PolicyFile) -> None:
        self.file = file
        self._content = content

    @property
    def signers(self) -> dict[str, str] | None:
        """The public keys of those who may sign, by their names; None if nothing has to be signed."""
        return self._content.signers

    @property
    def accepts_older(self) -> bool:
        """Whether a configuration may be older than the newest that this machine has accepted."""
        return self._content.older_signatures == "accept"

    @property
    def signed_since(self) -> str | None:
        """The time before which no signature counts."""
        return self._content.signed_since

    @property
    def signature_folder(self) -> Path | None:
        """The folder in which services remember signatures, None for their own."""
        return self._content.signature_folder

    @property
    def requires_software(self) -> bool:
        """Whether services refuse to start with software that was changed, or that nobody vouches for."""
        return self._content.software == "required"

    @property
    def release_keys(self) -> dict[str, str] | None:
        """The public keys of those whose releases this machine accepts, by their names; None if a file has them."""
        return self._content.release_keys

    @property
    def binds_secrets(self) -> bool:
        """Whether the policy says what each secret is for."""
        return self._content.secrets is not None

    def hosts_of_secret(self, use: Literal["notify"], secret: Secret) -> list[list[str]]:
        """Return lists of patterns, of each of which one has to match a URL that is a secret itself."""
        found = [] if self._content.hosts is None else [getattr(self._content.hosts, use)]
        named = self._use_of(secret)
        if named is not None and named.hosts:
            found.append(named.hosts)
        return [[_shown(pattern) for pattern in patterns] for patterns in found]

    def check(self, factory: Factory) -> list[Problem]:
        """Return the parts of a configuration that the policy does not allow."""
        of_parts = (problem for one in destinations(factory) for problem in self._problems(one))
        return [*self._problems_of_gateway(factory), *of_parts, *self._problems_of_devices(factory)]

    def _problems_of_devices(self, factory: Factory) -> Iterator[Problem]:
        """Yield a problem for each connection without authentication that is refused, or outside of its networks."""
        refused, networks = self._content.unauthenticated_protocols == "refuse", self._content.fieldbus_networks
        if not refused and networks is None:
            return
        for connection, place in connections(factory):
            protocol = protocol_without_authentication(connection)
            if protocol and refused:
                message = (
                    f"{protocol} proves neither an identity nor integrity, and unauthenticated_protocols refuses it"
                )
                yield self._problem(place, (), f"{message}; {_WITH_AUTHENTICATION}")
            elif protocol and networks is not None:
                right = f"{_allows('fieldbus_networks', map(_shown, networks))}, or {_WITH_AUTHENTICATION}"
                for url in connection.hosts():  # none of a serial line, which is a network of its own
                    if not any(pattern.matches(url) for pattern in networks):
                        yield self._problem(place, (), f"{url} is not in a network for {protocol}; {right}")

    def _problems_of_gateway(self, factory: Factory) -> Iterator[Problem]:
        """Yield a problem if the configuration is that of a gateway on another machine, although it may be signed."""
        allowed, found = self._content.gateways, factory.gateway.id
        if allowed is None or factory.document is None or any(fnmatchcase(found, one) for one in allowed):
            return
        message = f"{found} is not a gateway of this machine; {_allows('gateways', allowed)}"
        yield self._problem(Place(factory.document, ("gateway", "id")), (), message)

    def _problems(self, one: Destination) -> Iterator[Problem]:
        if self._content.hosts is not None and one.use in HOST_USES:
            allowed = getattr(self._content.hosts, one.use)
            for url in one.urls:
                if not any(pattern.matches(url) for pattern in allowed):
                    right = _allows(f"hosts.{one.use}", map(_shown, allowed))
                    yield self._problem(one.place, (), f"{url} is not one of the hosts for {one.use}; {right}")
        for path, secret in one.secrets:
            yield from self._problems_of_secret(one, path, secret)

    def _problems_of_secret(self, one: Destination, path: tuple[Any, ...], secret: Secret) -> Iterator[Problem]:
        if secret.file and (folders := self._content.secret_folders) is not None:
            written = Path(os.path.normpath(Path(secret.file).absolute()))
            # both: a link out of an allowed folder is the work of its owner, a link into it may be anybody's
            if not any(written.is_relative_to(one) and _resolved(written).is_relative_to(_resolved(one))
                       for one in folders):  # fmt: skip
                right = f"the folders for secrets are {', '.join(map(str, folders)) or 'none'}"
                yield self._problem(one.place, path, f"{secret.file} is not in a folder for secrets; {right}")
        if self._content.secrets is None:
            return
        name, use = secret.secret or secret.file, self._use_of(secret)
        if use is None:
            yield self._problem(one.place, path, unknown("secret", name, self._content.secrets))
        elif one.use not in use.uses:
            message = f"the secret {name} is for {' and '.join(use.uses)}, and not for {one.use}"
            yield self._problem(one.place, path, f"{message}; use one that is, or add it to secrets.{name}")
        elif use.hosts:
            for url in one.urls:
                if not any(pattern.matches(url) for pattern in use.hosts):
                    right = _allows(f"secrets.{name}.hosts", map(_shown, use.hosts))
                    yield self._problem(one.place, path, f"the secret {name} may not be sent to {url}; {right}")

    def _use_of(self, secret: Secret) -> SecretUse | None:
        listed = self._content.secrets or {}
        found = listed.get(secret.secret or secret.file)
        # by the name of the file itself: a link could have the name of another secret
        return listed.get(_resolved(Path(secret.file)).name) if found is None and secret.file else found

    def _problem(self, place: Place, path: tuple[Any, ...], message: str) -> Problem:
        document, whole = place.document, (*place.path, *path)
        text = f"{message} (policy {self.file})"
        return Problem(document.file, *document.mark(whole), ".".join(map(str, whole)), text)


_WITH_AUTHENTICATION = "use modbus+tls, or opc.tcp with security"


def _allows(key: str, patterns: Iterable[str]) -> str:
    """Return the patterns that a key of the policy allows, as the end of a message."""
    shown = list(patterns)
    text = ", ".join(shown[:MOST_SHOWN]) + (", ..." if len(shown) > MOST_SHOWN else "")
    return f"{key} allows {text or 'none'}"


def _resolved(file: Path) -> Path:
    """Return the path of a file without links. `os.path.realpath` leaves a circle of links as it is."""
    return Path(os.path.realpath(file))


def _shown(pattern: Any) -> str:  # noqa: ANN401 - of the list
    host = str(pattern.network or pattern.host)
    host = f"[{host}]" if ":" in host and "/" not in host else host
    scheme = f"{pattern.scheme}://" if pattern.scheme else ""
    return f"{scheme}{host}" + (f":{pattern.port}" if pattern.port else "")
