"""Which certificates of OPC UA servers are trusted."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.certificates import APPLICATION, NOW, SERVER_URI, Signed, damaged, key, make, revocations, weak

from drivers.opcua.security import trust
from drivers.opcua.security.certificates import common_name, names, read_chain
from drivers.opcua.security.pki import Store
from drivers.opcua.security.trust import Expected, Problem, problems

EXPECTED = Expected("127.0.0.1", SERVER_URI)
ROOT = make("root", ca=True)
MIDDLE = make("middle", ca=True, issuer=ROOT)
LISTS = (revocations(ROOT), revocations(MIDDLE))


def store(*trusted: Signed, issuers: tuple[Signed, ...] = (), lists: Any = ()) -> Store:
    return Store(tuple(one.certificate for one in trusted), tuple(one.certificate for one in issuers), tuple(lists))


def found(own: Signed, known: Store, *sent: Signed, expected: Expected = EXPECTED) -> list[Problem]:
    return problems([one.certificate for one in (own, *sent)], known, expected, dt.datetime.now(dt.UTC))


def codes(own: Signed, known: Store, *sent: Signed, expected: Expected = EXPECTED) -> list[str]:
    return [problem.code for problem in found(own, known, *sent, expected=expected)]


# -- who is trusted --


def test_a_certificate_is_trusted_where_it_is_itself_among_the_trusted() -> None:
    """Most servers sign their own, and an engineer has looked at it."""
    own = make()
    assert codes(own, store(own)) == []
    assert codes(own, store()) == ["BadCertificateUntrusted"]


def test_another_certificate_of_the_same_name_and_key_is_not_trusted() -> None:
    """A person compared this certificate, byte for byte."""
    assert codes(make(), store(make())) == ["BadCertificateUntrusted"]


@pytest.mark.parametrize("sent", [(), (MIDDLE,), (MIDDLE, ROOT)])
def test_a_certificate_is_trusted_where_an_authority_on_its_way_is(sent: tuple[Signed, ...]) -> None:
    """The authority of a plant signs for all its machines; the intermediate certificates come with the server
    certificate or are in the folder."""
    own = make(issuer=MIDDLE)
    assert codes(own, store(ROOT, issuers=(MIDDLE,), lists=LISTS), *sent) == []
    assert codes(own, store(MIDDLE, issuers=(ROOT,), lists=LISTS), *sent) == []


def test_an_authority_among_the_issuers_is_not_trusted_by_that() -> None:
    """Otherwise an authority that only completes a chain would admit all its servers."""
    own = make(issuer=MIDDLE)
    assert codes(own, store(issuers=(MIDDLE, ROOT), lists=LISTS)) == ["BadCertificateUntrusted"]
    assert codes(own, store(lists=LISTS), MIDDLE, ROOT) == ["BadCertificateUntrusted"]


def test_a_way_that_does_not_end_at_a_root_is_not_trusted() -> None:
    """The text says whose certificate is missing."""
    [problem] = found(make(issuer=MIDDLE), store(MIDDLE, lists=LISTS))
    assert problem == Problem("BadCertificateChainIncomplete", "its issuer 'root' is not known")


def test_a_server_that_is_trusted_itself_needs_no_authority() -> None:
    """`lineside certs trust` is enough, also without the certificate of the authority."""
    own = make(issuer=MIDDLE)
    assert codes(own, store(own)) == []
    assert codes(own, store(own), MIDDLE, ROOT) == []


def test_a_trusted_server_can_not_sign_for_others() -> None:
    """Its key is on a machine, and would otherwise be a key to all machines."""
    server = make("trusted server", usage=(*APPLICATION, "key_cert_sign"))
    assert codes(make(issuer=server), store(server)) == [
        "BadCertificateIssuerUseNotAllowed",
        "BadCertificateRevocationUnknown",
    ]


def test_an_authority_that_may_not_have_authorities_below_it_is_heeded() -> None:
    """A path length of nought: it signs applications alone."""
    root = make("root", ca=True, path_length=0)
    middle = make("middle", ca=True, issuer=root)
    known = store(root, issuers=(middle,), lists=(revocations(root), revocations(middle)))
    assert codes(make(issuer=middle), known) == ["BadCertificateIssuerUseNotAllowed"]
    assert codes(make(issuer=root), known) == []


def test_a_signature_that_is_not_the_issuers_is_refused() -> None:
    """The name of an issuer is written easily."""
    forged = make(issuer=ROOT, signed_with=key("somebody"))
    assert codes(forged, store(ROOT, lists=LISTS)) == ["BadCertificateChainIncomplete"]
    [problem] = found(make(signed_with=key("somebody")), store())
    assert problem == Problem("BadCertificateChainIncomplete", "its signature is wrong")


def test_a_trusted_certificate_whose_own_signature_is_wrong_is_refused() -> None:
    """Somebody changed it after the device had signed it, also where SHA-1 is accepted."""
    forged = make(signed_with=key("somebody"))
    assert found(forged, store(forged)) == [Problem("BadCertificateInvalid", "its signature is wrong")]
    legacy = EXPECTED._replace(legacy=True)
    old = weak(make(), "sha1")
    assert codes(old, store(old), expected=legacy) == []
    changed = damaged(old)
    assert codes(changed, store(changed), expected=legacy) == ["BadCertificateInvalid"]


def test_a_way_in_a_circle_ends() -> None:
    """Two authorities that sign each other are not a root."""
    one, other = (
        make("one", ca=True, issuer=make("other", ca=True)),
        make("other", ca=True, issuer=make("one", ca=True)),
    )
    assert "BadCertificateChainIncomplete" in codes(make(issuer=one), store(one, other))


# -- problems of a trusted certificate --


@pytest.mark.parametrize(
    ("wrong", "code", "text"),
    [
        ({"days": (-30, -1)}, "BadCertificateTimeInvalid", f"it expired on {NOW - dt.timedelta(days=1):%Y-%m-%d}"),
        ({"days": (1, 30)}, "BadCertificateTimeInvalid", f"it is valid from {NOW + dt.timedelta(days=1):%Y-%m-%d}"),
        ({"hosts": ["10.1.2.3", "plc"]}, "BadCertificateHostNameInvalid", r"not of '127.0.0.1'.*\(plc, 10.1.2.3\)"),
        ({"hosts": []}, "BadCertificateHostNameInvalid", r"\(none\)"),
        ({"uris": ["urn:other"]}, "BadCertificateUriInvalid", f"of an application urn:other, .* is {SERVER_URI}"),
        ({"uris": []}, "BadCertificateUriInvalid", "without a URI"),
        ({"usage": ["digital_signature"]}, "BadCertificateUseNotAllowed", "sign and to encrypt"),
        ({"usage": ["key_encipherment"]}, "BadCertificateUseNotAllowed", "sign and to encrypt"),
        ({"extended": [ExtendedKeyUsageOID.CLIENT_AUTH]}, "BadCertificateUseNotAllowed", "not a server certificate"),
        ({"bits": 1024}, "BadCertificatePolicyCheckFailed", "1024 bits; 2048 are the least"),
        ({"strange": True}, "BadCertificateInvalid", r"restriction that is not known here: 1\.2\.3\.4\.5"),
    ],
)
def test_the_problem_of_a_trusted_certificate_is_named(wrong: dict[str, Any], code: str, text: str) -> None:
    """A trusted certificate can still be of another server, out of date, or for another use."""
    own = make(**wrong)
    assert codes(own, store(own)) == [code]
    [problem] = found(own, store(own))
    assert re.search(text, problem.text)


@pytest.mark.parametrize(
    "right",
    [
        {"hosts": ["PLC-7", "127.0.0.1"]},
        {"usage": None},
        {"usage": ["digital_signature", "data_encipherment"]},
        {"extended": None},
        {"extended": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]},
        {"bits": 3072},
        {"uris": ["urn:another", SERVER_URI]},
        {"algorithm": hashes.SHA512()},
    ],
)
def test_common_certificates_of_devices_are_accepted(right: dict[str, Any]) -> None:
    """An extension that is not there restricts nothing (RFC 5280, 4.2.1.3)."""
    own = make(**right)
    assert codes(own, store(own)) == []


def test_a_signature_with_a_broken_hash_is_refused() -> None:
    """All policies of Part 7 use SHA-256."""
    old = weak(make(), "sha1")
    assert codes(old, store(old)) == ["BadCertificatePolicyCheckFailed"]
    assert "sha1, which is broken" in found(old, store(old))[0].text


def test_all_problems_are_reported_at_once() -> None:
    """A person who corrects the certificate of a stopped line needs all problems at once."""
    own = make(days=(-30, -1), hosts=["plc"], uris=["urn:other"])
    assert codes(own, store()) == [
        "BadCertificateUntrusted",
        "BadCertificateTimeInvalid",
        "BadCertificateUriInvalid",
        "BadCertificateHostNameInvalid",
    ]


def test_an_issuer_that_has_ended_or_is_no_authority_is_refused() -> None:
    """A certificate is not better than its issuer."""
    old = make("old", ca=True, days=(-30, -1))
    assert codes(make(issuer=old), store(old, lists=[revocations(old)])) == ["BadCertificateIssuerTimeInvalid"]
    strange = make("strange", ca=True, strange=True)
    assert codes(make(issuer=strange), store(strange, lists=[revocations(strange)])) == ["BadCertificateInvalid"]


def test_an_authority_that_was_renewed_is_followed_by_its_valid_certificate() -> None:
    """It keeps its name and key, and the folder keeps both."""
    old, new = make("authority", ca=True, days=(-30, -1)), make("authority", ca=True)
    assert codes(make(issuer=new), store(old, new, lists=[revocations(new)])) == []


def test_every_code_is_a_status_code_of_opc_ua() -> None:
    """They are shown as the fault of points, with their number."""
    text = Path(trust.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r'"(Bad[A-Za-z{}]+)"', text))
    assert len(named) > 8
    for name in named:
        assert hasattr(ua.StatusCodes, name.replace("{whose}", "")), name
        assert hasattr(ua.StatusCodes, name.replace("{whose}", "Issuer")), name


def test_the_name_of_a_server_can_not_disturb_a_terminal() -> None:
    """Anybody can have a certificate rejected, and its name is shown."""
    own = make("plc\x1b[2J\nall is well", uris=["urn:\x1b]0;owned\x07"])
    texts = [common_name(own.certificate.subject), *(problem.text for problem in found(own, store()))]
    assert "plc?[2J?all is well" in texts
    assert all(text.isprintable() for text in texts)


# -- host names --


@pytest.mark.parametrize("host", ["plc-7", "PLC-7", "10.1.2.3", "fe80::1", "FE80:0::1", "10.9.9.9"])
def test_a_host_is_found_among_a_certificates_names(host: str) -> None:
    """Addresses are compared as such; some devices write theirs where names belong."""
    assert names(make(hosts=["PLC-7", "10.1.2.3", "fe80::1", x509.DNSName("10.9.9.9")]).certificate).covers(host)


@pytest.mark.parametrize("host", ["plc", "plc-7.plant", "10.1.2.4", "10.1.2", "fe80::2", ""])
def test_another_host_is_not(host: str) -> None:
    """A part of a name is not the name."""
    assert not names(make(hosts=["plc-7", "10.1.2.3", "fe80::1", "10.1.2.3.example"]).certificate).covers(host)


def test_any_host_will_do_only_for_a_certificate_that_is_itself_trusted() -> None:
    """Otherwise every server with a certificate of the authority could act as this server."""
    anywhere = Expected(None, SERVER_URI)
    own, signed = make(hosts=["plc"]), make(hosts=["plc"], issuer=ROOT)
    assert codes(own, store(own), expected=anywhere) == []
    assert codes(signed, store(ROOT, lists=LISTS), expected=anywhere) == ["BadCertificateHostNameInvalid"]
    assert codes(signed, store(ROOT, signed, lists=LISTS), expected=anywhere) == []


# -- revocation --


def test_a_revoked_certificate_is_refused_even_where_it_is_trusted_itself() -> None:
    """Somebody has lost its key."""
    own = make(issuer=ROOT)
    lists = [revocations(ROOT, own)]
    assert codes(own, store(ROOT, lists=lists)) == ["BadCertificateRevoked"]
    assert codes(own, store(own, lists=lists), ROOT) == ["BadCertificateRevoked"]
    assert codes(make(issuer=ROOT), store(ROOT, lists=lists)) == []


def test_a_revoked_issuer_is_refused() -> None:
    """With all that it has signed."""
    lists = [revocations(ROOT, MIDDLE), revocations(MIDDLE)]
    assert codes(make(issuer=MIDDLE), store(ROOT, issuers=(MIDDLE,), lists=lists)) == ["BadCertificateIssuerRevoked"]


def test_an_authority_without_a_revocation_list_is_refused_unless_that_is_said() -> None:
    """Otherwise no certificate could be revoked; a plant without a list configures this."""
    own = make(issuer=ROOT)
    known = store(ROOT)
    [problem] = found(own, known)
    assert problem.code == "BadCertificateRevocationUnknown"
    assert "no revocation list of 'root' is there" in problem.text
    assert "revocation: if_known" in problem.text
    lenient = EXPECTED._replace(revocation_required=False)
    assert codes(own, known, expected=lenient) == []
    assert codes(own, store(ROOT, lists=[revocations(ROOT, own)]), expected=lenient) == ["BadCertificateRevoked"]


@pytest.mark.parametrize(
    "crl",
    [
        pytest.param(revocations(ROOT, days=(-30, -1)), id="out of date"),
        pytest.param(revocations(ROOT, signer=MIDDLE), id="forged"),
        pytest.param(revocations(MIDDLE), id="another's"),
    ],
)
def test_a_revocation_list_that_is_old_or_forged_does_not_count(crl: x509.CertificateRevocationList) -> None:
    """A forged list would revoke no certificate."""
    assert codes(make(issuer=ROOT), store(ROOT, lists=[crl])) == ["BadCertificateRevocationUnknown"]


def test_an_old_revocation_list_still_revokes_certificates() -> None:
    """A revoked certificate stays revoked."""
    own = make(issuer=ROOT)
    old = revocations(ROOT, own, days=(-30, -1))
    assert codes(own, store(ROOT, lists=[old])) == ["BadCertificateRevoked"]


# -- chains --


def test_a_chain_is_split_into_its_certificates() -> None:
    """The certificates follow each other (Part 6, 6.2.3)."""
    own = make(issuer=MIDDLE)
    blob = own.der + MIDDLE.der + ROOT.der
    assert read_chain(blob) == [own.certificate, MIDDLE.certificate, ROOT.certificate]
    assert read_chain(b"") == []


@pytest.mark.parametrize("wrong", [b"\x00", make().der[:-1], make().der + b"rest", b"-----BEGIN CERTIFICATE-----"])
def test_bytes_that_are_not_a_chain_raise_a_value_error(wrong: bytes) -> None:
    """A server can send anything."""
    with pytest.raises(ValueError, match=r"bytes that are not a certificate|parsing asn1"):
        read_chain(wrong)
