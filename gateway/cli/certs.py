"""`lineside certs`: our certificate, and whose certificates OPC UA connections trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from drivers.opcua.security.certificates import (
    common_name,
    fingerprint,
    names,
    printable,
    thumbprint,
    verifies_itself,
)
from drivers.opcua.security.pki import Pki, certificates, digits_of
from drivers.opcua.security.settings import SecureConnection, default_folder
from gateway.cli.audited import Said, record
from gateway.cli.common import FORMAT, SET, load, print_json
from gateway.cli.group import CommandGroup
from gateway.cli.output import echo
from gateway.settings.audit_section import AUDIT, AuditSection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509

    from gateway.settings.factory import Factory


TARGET = click.argument("target", metavar="CONFIG", type=click.Path(exists=True, path_type=Path))
"""The factory's YAML, or a folder of certificates."""

FINGERPRINT = click.argument("fingerprint")
"""A certificate's whole SHA-256 fingerprint."""


class _Deed(NamedTuple):
    """A change of trust: its action in the audit log, and the kind of the certificate before and after it."""

    action: str
    before: str
    after: str


TRUST = _Deed("certificate-trusted", "rejected", "trusted")
REJECT = _Deed("certificate-rejected", "trusted", "rejected")


@click.group(cls=CommandGroup)
def certs() -> None:
    """Look at the certificates of OPC UA connections, and say which servers are trusted."""


@certs.command("list")
@TARGET
@SET
@FORMAT
def list_(target: Path, style: str) -> None:
    """Show our certificate, and those trusted and rejected.

    In place of CONFIG a folder of certificates may be named.
    """
    folders = []
    for pki in _target(target).folders:
        unreadable: list[Path] = []
        found = list(_kept(pki, unreadable))
        for file in unreadable:
            echo(f"no certificate could be read of {file}", err=True)
        shown = [_as_dict(kind, certificate) for kind, certificate in found]
        folders.append({"folder": str(pki.folder), "certificates": shown, "unreadable": list(map(str, unreadable))})
        if style == "text":
            echo(pki.folder)
            for kind, certificate in found:
                echo(f"  {kind:<9} {_line(certificate)}")
            if not found:
                echo("  no certificates yet; the first secure connection makes ours")
    if style == "json":
        print_json({"folders": folders})


@certs.command()
@TARGET
@SET
@click.argument("beginning")
@FORMAT
def show(target: Path, beginning: str, style: str) -> None:
    """Show the certificates whose SHA-256 fingerprint, or SHA-1 thumbprint, begins with BEGINNING."""
    wanted = digits_of(beginning)
    found = [
        (pki, kind, certificate)
        for pki in _target(target).folders
        for kind, certificate in _kept(pki, [])
        if fingerprint(certificate).startswith(wanted) or thumbprint(certificate).startswith(wanted)
    ]
    if not found or not wanted:
        raise click.ClickException(f"no certificate has a fingerprint that begins with {beginning!r}")
    if style == "json":
        print_json({"certificates": [_as_dict(kind, one) | {"folder": str(pki.folder)} for pki, kind, one in found]})
        return
    for pki, kind, certificate in found:
        echo(f"{kind:<9} {_line(certificate)}")
        echo(f"  in         {pki.folder}\n  SHA-256    {_grouped(fingerprint(certificate))}")
        echo(f"  SHA-1      {_grouped(thumbprint(certificate))}\n  issuer     {common_name(certificate.issuer)}")
        echo(f"  signature  {_signature(certificate)}\n  for        {_hosts(certificate)}")


@certs.command()
@TARGET
@SET
@FINGERPRINT
@FORMAT
def trust(target: Path, fingerprint: str, style: str) -> None:
    """Trust the rejected certificate with this SHA-256 FINGERPRINT, which is written whole.

    Compare it with the display or the engineering tool of the device first. A certificate that is out of date, or
    whose own signature is wrong, is refused. The audit log of CONFIG gets an entry; with a folder of certificates in
    place of CONFIG, the audit log beside the folder.
    """
    certificate = _change(target, TRUST, lambda pki: pki.trust(fingerprint))
    _print("trusted", certificate, "its server is tried again within a minute; nothing need be restarted", style)


@certs.command()
@TARGET
@SET
@FINGERPRINT
@FORMAT
def reject(target: Path, fingerprint: str, style: str) -> None:
    """Trust the certificate with this SHA-256 FINGERPRINT no longer; an entry of the audit log says so."""
    certificate = _change(target, REJECT, lambda pki: pki.distrust(fingerprint))
    _print("rejected", certificate, "an open connection stays open; the next connection is refused", style)


def _print(kind: str, certificate: x509.Certificate, effect: str, style: str) -> None:
    if style == "json":
        print_json(_as_dict(kind, certificate))
    else:
        echo(f"{kind:<9} {_line(certificate)}\n{effect}")


def _kept(pki: Pki, unreadable: list[Path]) -> Iterator[tuple[str, x509.Certificate]]:
    """Yield the certificates of a folder with their roles; add files without a certificate to `unreadable`."""
    kinds = {
        "own": pki.certificate_file.parent,
        "trusted": pki.trusted,
        "issuer": pki.issuers,
        "rejected": pki.rejected,
    }
    for kind, folder in kinds.items():
        for _, certificate in certificates(folder, unreadable):
            yield kind, certificate


class _Target(NamedTuple):
    """Folders of certificates, and the audit log of changes there; None if there is none to be found."""

    folders: list[Pki]
    audit: AuditSection | None


def _target(target: Path) -> _Target:
    """Return the folders and the audit log of a configuration; or the given folder, and the log beside it."""
    if not target.is_dir():
        factory = load(target)
        return _Target(_folders(target, factory), factory.dashboard.audit)
    beside = target.absolute().parent / AUDIT
    audit = AuditSection.model_validate({"folder": str(beside)}) if beside.is_dir() else None
    return _Target([Pki(target)], audit)


def _folders(target: Path, factory: Factory) -> list[Pki]:
    connections = [machine.connection for machine in factory.machines]
    default = target.parent / default_folder()
    used = {one.pki or default for one in connections if isinstance(one, SecureConnection)}
    return [Pki(folder) for folder in sorted(used or {default})]


def _change(target: Path, deed: _Deed, move: Callable[[Pki], x509.Certificate]) -> x509.Certificate:
    """Move a certificate in the folder that has it, and record the change in the audit log."""
    folders, audit = _target(target)
    pki, certificate = _first(folders, move)
    if audit is None:
        echo("lineside: the change is in no audit log; name CONFIG in place of the folder", err=True)
        return certificate
    before, after = ({"kind": kind, "folder": str(pki.folder)} for kind in deed[1:])
    about = {"name": common_name(certificate.subject), "uri": _uri(certificate)}
    record(audit, Said(deed.action, fingerprint(certificate), before, after | about))
    return certificate


def _first(folders: list[Pki], move: Callable[[Pki], x509.Certificate]) -> tuple[Pki, x509.Certificate]:
    """Move a certificate in the folder that has it; returns both."""
    problems = []
    for pki in folders:
        try:
            return pki, move(pki)
        except ValueError as error:
            problems.append(str(error))
        except OSError as error:
            raise click.ClickException(str(error)) from None
    raise click.ClickException("\n".join(dict.fromkeys(problems)))


def _grouped(digits: str) -> str:
    """Return a fingerprint as engineering tools show it: in capitals, with colons."""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


def _signature(certificate: x509.Certificate) -> str:
    if certificate.issuer != certificate.subject:
        return "of its issuer"
    return "its own" if verifies_itself(certificate) else "wrong"


def _hosts(certificate: x509.Certificate) -> str:
    try:
        return printable(str(names(certificate)))
    except ValueError:
        return "malformed"


def _uri(certificate: x509.Certificate) -> str:
    try:
        return printable(next(iter(names(certificate).uris), "no URI"))
    except ValueError:
        return "malformed"


def _as_dict(kind: str, certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "kind": kind,
        "fingerprint": fingerprint(certificate),
        "thumbprint": thumbprint(certificate),
        "from": certificate.not_valid_before_utc,
        "until": certificate.not_valid_after_utc,
        "name": common_name(certificate.subject),
        "uri": _uri(certificate),
    }


def _line(certificate: x509.Certificate) -> str:
    until = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
    return f"{fingerprint(certificate)}  {until}  {common_name(certificate.subject)}  {_uri(certificate)}"
