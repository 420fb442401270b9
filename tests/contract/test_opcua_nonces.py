"""Servers that forge the nonces and certificates of a secured connection are refused (Part 4, 5.5.2 and 5.7.2)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from asyncua.common import connection, utils
from asyncua.server import internal_session
from fakes.certificates import Signed, make
from fakes.secure_opcua import driver_of, served
from processes import free_port

from drivers.base import NotConnected
from drivers.opcua.security.certificates import thumbprint
from drivers.opcua.security.pki import Pki

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asyncua import ua

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


@pytest.fixture
def server(pki: Pki) -> Signed:
    """A server's certificate that is trusted."""
    own = make()
    pki.trusted.mkdir(parents=True)
    (pki.trusted / f"{thumbprint(own.certificate)}.der").write_bytes(own.der)
    return own


async def refusal(pki: Pki, server: Signed, **options: Any) -> str:
    """Return the text and the code with which a server is refused."""
    port = free_port()
    async with served(port, server):
        driver = driver_of(port, pki, **options)
        with pytest.raises(NotConnected) as caught:
            await driver.connect()
        await driver.close()
    assert f"opc.tcp://127.0.0.1:{port}: " in str(caught.value)
    return f"{caught.value} [{caught.value.fault.code}]"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
async def test_a_channel_nonce_of_another_length_is_refused(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch, policy: str, length: int
) -> None:
    """The keys of the channel are made of it: a short nonce makes them guessable."""
    monkeypatch.setattr(utils, "create_nonce", lambda _size: bytes(range(length)))
    text = await refusal(pki, server, security=policy)
    assert f"the nonce of its channel has {length} bytes instead of 32" in text
    assert "BadNonceInvalid" in text


async def test_a_channel_nonce_that_is_ours_is_refused(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that reflects messages has no nonce of its own."""
    monkeypatch.setattr("asyncua.client.client.create_nonce", lambda size: b"\7" * size)
    monkeypatch.setattr(utils, "create_nonce", lambda size: b"\7" * size)
    text = await refusal(pki, server)
    assert "it sent the gateway's own nonce back for its channel" in text
    assert "BadNonceInvalid" in text


async def test_a_channel_nonce_that_was_used_before_ends_the_connection(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is not the last: A, B, A."""
    port, nonces = free_port(), iter([b"a" * 32, b"b" * 32, b"a" * 32])
    async with served(port, server):
        driver = driver_of(port, pki, security="Basic256Sha256")
        async with driver:
            session = driver._session  # noqa: SLF001 - to renew at once
            assert session is not None
            protocol = session.client.uaclient.protocol
            assert protocol is not None
            protocol._server_nonces.append(b"a" * 32)  # type: ignore[attr-defined]  # noqa: SLF001 - of this server
            monkeypatch.setattr(utils, "create_nonce", lambda _size: next(nonces))
            with suppress(Exception):
                await session.client.open_secure_channel(renew=True)
            with pytest.raises(NotConnected):
                await driver.read(driver.groups[0])


@pytest.mark.parametrize("length", [0, 16, 31])
async def test_a_session_nonce_that_is_too_short_is_refused(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """A user's signature over it could be replayed."""
    monkeypatch.setattr(internal_session, "create_nonce", lambda _size: bytes(length))
    text = await refusal(pki, server)
    assert f"its nonce has {length} bytes; 32 are the least" in text
    assert "BadNonceInvalid" in text


async def test_a_session_nonce_that_comes_twice_is_refused(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the answers to CreateSession and ActivateSession."""
    monkeypatch.setattr(internal_session, "create_nonce", lambda size: b"\3" * size)
    text = await refusal(pki, server)
    assert "it sent the same nonce twice" in text
    assert "BadNonceInvalid" in text


def forged(
    monkeypatch: pytest.MonkeyPatch, server: Signed, change: Callable[[ua.AsymmetricAlgorithmHeader], None]
) -> None:
    """Change the header of the messages with which the server opens channels, before they are signed."""
    made = connection.MessageChunk.message_to_chunks

    def change_header(policy: Any, *arguments: Any, **options: Any) -> Any:
        chunks = made(policy, *arguments, **options)
        for chunk in chunks:
            if hasattr(chunk.SecurityHeader, "SenderCertificate") and policy.host_certificate == server.der:
                change(chunk.SecurityHeader)
        return chunks

    monkeypatch.setattr(connection.MessageChunk, "message_to_chunks", staticmethod(change_header))


@pytest.mark.parametrize("thumb", [None, b"", b"\1" * 20])
async def test_a_channel_for_another_certificate_is_refused(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch, thumb: bytes | None
) -> None:
    """Its thumbprint says for whom the answer is."""

    def change(header: ua.AsymmetricAlgorithmHeader) -> None:
        header.ReceiverCertificateThumbPrint = thumb  # type: ignore[assignment] # forged

    forged(monkeypatch, server, change)
    text = await refusal(pki, server)
    assert "its channel is for another certificate than that of this gateway" in text
    assert "BadCertificateInvalid" in text


async def test_a_channel_of_another_certificate_is_refused(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Than that which the endpoint named, and which was validated."""
    other = make("another")

    def change(header: ua.AsymmetricAlgorithmHeader) -> None:
        header.SenderCertificate = other.der  # type: ignore[assignment] # forged

    forged(monkeypatch, server, change)
    assert "BadCertificateInvalid" in await refusal(pki, server)
