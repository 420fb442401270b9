"""Validates a server's certificate (Part 4, 6.1.3).

`problems` reports all problems of a certificate. A check that can't be completed is a problem. No I/O.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from drivers.opcua.security.certificates import (
    KEY_BITS,
    LEGACY_KEY_BITS,
    common_name,
    in_time,
    names,
    printable,
    verifies_itself,
    when_valid,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from cryptography.x509 import Certificate

    from drivers.opcua.security.pki import Store

E = TypeVar("E", bound=x509.ExtensionType)

MAX_CHAIN = 8
"""Maximum number of certificates from a server's to its root: a plant has two or three."""

_KNOWN = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
}
"""Extensions that we check, or that restrict nothing. No other critical extension may be ignored (RFC 5280)."""

_WEAK = (hashes.MD5, hashes.SHA1)

LEGACY_HINT = " (a device that can't have a better certificate needs allow_insecure_legacy: true)"


WRONG_SIGNATURE = "its signature is wrong"


class Problem(NamedTuple):
    """One reason to refuse a certificate: the name of a status code (Part 4, 7.39), and a text."""

    code: str
    text: str


UNKNOWN = {"BadCertificateUntrusted", "BadCertificateChainIncomplete"}
"""The problems that a person solves who knows the server, and trusts its certificate."""


class Expected(NamedTuple):
    """The expected identity of the server; `host` None accepts any. `legacy` accepts SHA-1 and shorter keys."""

    host: str | None
    uri: str
    revocation_required: bool = True
    legacy: bool = False


def problems(chain: Sequence[Certificate], store: Store, expected: Expected, now: dt.datetime) -> list[Problem]:
    """Return all problems of a server's certificate, the most serious first.

    `chain` contains the certificates that the server sent, its own first; the others only help to find an authority.
    """
    try:
        found = list(_problems(chain, store, expected, now))
    except (ValueError, UnsupportedAlgorithm) as error:  # malformed extensions and keys
        found = [Problem("BadCertificateInvalid", f"it is malformed: {error}")]
    return [Problem(problem.code, printable(problem.text)) for problem in found]


def _problems(chain: Sequence[Certificate], store: Store, expected: Expected, now: dt.datetime) -> Iterator[Problem]:
    own, *sent = chain
    pinned = own in store.trusted
    path, complete = _path(own, [*store.trusted, *store.issuers, *sent], now)
    if not pinned:
        if not complete:
            yield Problem("BadCertificateChainIncomplete", _missing(path[-1]))
        elif not any(certificate in store.trusted for certificate in path):
            yield Problem("BadCertificateUntrusted", "it is not trusted, and nobody who is has signed it")
        for position, issuer in enumerate(path[1:]):
            yield from _of_issuer(issuer, position, now, legacy=expected.legacy)
    elif not verifies_itself(own) and not _is_broken(own):
        yield Problem("BadCertificateInvalid", WRONG_SIGNATURE)
    # a certificate that is itself trusted needs no authority, but an authority may revoke it
    yield from _revoked(path, store, now, required=expected.revocation_required and not pinned)
    yield from _of_application(own, now, legacy=expected.legacy)
    yield from _of_names(own, expected, pinned=pinned)


def _path(own: Certificate, others: Sequence[Certificate], now: dt.datetime) -> tuple[list[Certificate], bool]:
    """Follow the signatures from a certificate to a root; return the path, and True if it reached a root."""
    path = [own]
    while not _signed(path[-1], path[-1]):
        found = [one for one in others if one not in path and _signed(path[-1], one)]
        if not found or len(path) == MAX_CHAIN:
            return path, False
        # a renewed authority has two certificates with the same name and key
        path.append(next((one for one in found if in_time(one, now)), found[0]))
    return path, True


def _signed(certificate: Certificate, issuer: Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _missing(last: Certificate) -> str:
    if last.issuer == last.subject:
        return WRONG_SIGNATURE
    return f"its issuer {common_name(last.issuer)!r} is not known"


def _of_issuer(issuer: Certificate, below: int, now: dt.datetime, *, legacy: bool) -> Iterator[Problem]:
    """Check the requirements of an authority; `below` counts the authorities between it and the application."""
    name = common_name(issuer.subject)
    basic = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
        yield Problem("BadCertificateIssuerUseNotAllowed", f"its issuer {name!r} is not allowed to sign it")
    elif basic.path_length is not None and below > basic.path_length:
        yield Problem("BadCertificateIssuerUseNotAllowed", f"its issuer {name!r} may not have authorities below it")
    if not in_time(issuer, now):
        yield Problem("BadCertificateIssuerTimeInvalid", f"its issuer {name!r} {when_valid(issuer, now)}")
    yield from _strange(issuer, f"its issuer {name!r}")
    if not _signed(issuer, issuer):  # the signature of a root on itself proves nothing
        yield from _weak(issuer, f"its issuer {name!r}", legacy=legacy)


def _revoked(path: Sequence[Certificate], store: Store, now: dt.datetime, *, required: bool) -> Iterator[Problem]:
    for position, (certificate, issuer) in enumerate(pairwise(path)):
        whose = "" if position == 0 else "Issuer"
        who = "it" if position == 0 else f"its issuer {common_name(certificate.subject)!r}"
        lists = [one for one in store.lists if _lists(issuer, one)]
        serial = certificate.serial_number
        if any(one.get_revoked_certificate_by_serial_number(serial) is not None for one in lists):
            yield Problem(f"BadCertificate{whose}Revoked", f"{who} was revoked by {common_name(issuer.subject)!r}")
        elif required and not any(_whole(one, now) for one in lists):
            found = "that is up to date " if lists else ""
            yield Problem(
                f"BadCertificate{whose}RevocationUnknown",
                f"no revocation list {found}of {common_name(issuer.subject)!r} is there; put it beside its "
                "certificate, into crl, or write revocation: if_known",
            )


def _lists(issuer: Certificate, crl: x509.CertificateRevocationList) -> bool:
    """Return True if an authority signed a revocation list."""
    usage = _extension(issuer, x509.KeyUsage)
    if crl.issuer != issuer.subject or (usage is not None and not usage.crl_sign):
        return False
    key = issuer.public_key()
    try:
        return crl.is_signature_valid(key)  # type: ignore[arg-type] # a key that can't sign is a TypeError
    except (TypeError, UnsupportedAlgorithm):
        return False


def _whole(crl: x509.CertificateRevocationList, now: dt.datetime) -> bool:
    """Return True if a list is up to date and complete; a partial list has a critical extension."""
    ended = crl.next_update_utc is not None and crl.next_update_utc < now
    return not ended and not any(extension.critical for extension in crl.extensions)


def _of_application(own: Certificate, now: dt.datetime, *, legacy: bool) -> Iterator[Problem]:
    """Check the certificate alone: its time, key, signature, and key usage (Part 6, 6.2.2)."""
    if not in_time(own, now):
        yield Problem("BadCertificateTimeInvalid", f"it {when_valid(own, now)}")
    key = own.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        yield Problem("BadCertificatePolicyCheckFailed", "its key is not an RSA key")
    elif key.key_size < (least := LEGACY_KEY_BITS if legacy else KEY_BITS):
        more = LEGACY_HINT if not legacy and key.key_size >= LEGACY_KEY_BITS else ""
        text = f"its key has {key.key_size} bits; {least} are the least{more}"
        yield Problem("BadCertificatePolicyCheckFailed", text)
    yield from _weak(own, "it", legacy=legacy)
    yield from _strange(own, "it")
    usage = _extension(own, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature and (usage.key_encipherment or usage.data_encipherment)):
        yield Problem("BadCertificateUseNotAllowed", "its key may not be used to sign and to encrypt")
    extended = _extension(own, x509.ExtendedKeyUsage)
    if extended is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {
        *extended
    }:
        yield Problem("BadCertificateUseNotAllowed", "it is not a server certificate")


def _of_names(own: Certificate, expected: Expected, *, pinned: bool) -> Iterator[Problem]:
    called = names(own)
    if expected.uri not in called.uris:
        yield Problem(
            "BadCertificateUriInvalid",
            f"it is of an application {', '.join(called.uris) or 'without a URI'}, and the server says that it is "
            f"{expected.uri or 'without one'}",
        )
    if expected.host is not None and not called.covers(expected.host):
        yield Problem(
            "BadCertificateHostNameInvalid",
            f"it is not of {expected.host!r}; write server_name with one of the hosts that it is of ({called}), or "
            "with '*' for any",
        )
    elif expected.host is None and not pinned:
        yield Problem(
            "BadCertificateHostNameInvalid",
            "server_name '*' is for a certificate that is itself trusted: otherwise any server of the same authority "
            "could replace this server",
        )


def _weak(certificate: Certificate, who: str, *, legacy: bool) -> Iterator[Problem]:
    algorithm = certificate.signature_hash_algorithm
    sha1 = isinstance(algorithm, hashes.SHA1)
    if isinstance(algorithm, _WEAK) and not (sha1 and legacy):
        text = f"{who} is signed with {algorithm.name}, which is broken{LEGACY_HINT if sha1 else ''}"
        yield Problem("BadCertificatePolicyCheckFailed", text)


def _is_broken(certificate: Certificate) -> bool:
    """Return whether a certificate is signed with a hash that is never accepted, whatever its signature."""
    algorithm = certificate.signature_hash_algorithm
    return isinstance(algorithm, _WEAK) and not isinstance(algorithm, hashes.SHA1)


def _strange(certificate: Certificate, who: str) -> Iterator[Problem]:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN:
            yield Problem(
                "BadCertificateInvalid",
                f"{who} has a restriction that is not known here: {extension.oid.dotted_string}",
            )


def _extension(certificate: Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
