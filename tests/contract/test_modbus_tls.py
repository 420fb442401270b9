"""Modbus/TCP Security against a device with certificates of the test's own: who is trusted, and who is not."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from fakes.authority import Authority, Pair
from fakes.modbus_server import HOST, Asked

from drivers.base import Misconfigured, NotConnected
from drivers.modbus.client import ModbusClient
from drivers.modbus.connection import ModbusConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REQUEST = bytes.fromhex("03 0005 0002")
ANSWER = bytes.fromhex("04 0005 0006")


@asynccontextmanager
async def device(
    shown: Pair, demands: Authority | None = None, newest: ssl.TLSVersion | None = None
) -> AsyncIterator[int]:
    """Serve with a certificate; `demands` is who must have signed that of a client. Yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=demands.file if demands else None)
    context.load_cert_chain(*shown)
    if demands is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    if newest is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.maximum_version = newest
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                asked = await reader.readexactly(12)
                transaction, unit, function = int.from_bytes(asked[:2], "big"), asked[6], asked[7]
                first, count = int.from_bytes(asked[8:10], "big"), int.from_bytes(asked[10:], "big")
                writer.write(Asked(transaction, unit, function, first, count).frame())
        writer.transport.abort()

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def read(port: int, **options: object) -> bytes:
    """Connect and read."""
    client = ModbusClient(ModbusConnection.from_url(f"modbus+tls://{HOST}:{port}", {"timeout": 5, **options}))
    try:
        await client.connect()
        return await client.request(1, REQUEST)
    finally:
        client.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "plant")


async def test_a_device_whose_certificate_is_signed_for_its_address_is_read(authority: Authority) -> None:
    """The address that was dialled, or the name that is written beside it."""
    async with device(authority.pair("press", HOST)) as port:
        assert await read(port, ca=str(authority.file)) == ANSWER
    async with device(authority.pair("press", "press.plant.example")) as port:
        assert await read(port, ca=str(authority.file), server_name="press.plant.example") == ANSWER


async def test_a_device_that_is_not_trusted_is_not_connected(authority: Authority, tmp_path: Path) -> None:
    """An unknown CA, another host's certificate, an expired certificate: each error names its reason."""
    other = Authority(tmp_path, "other")
    known = {"ca": str(authority.file)}
    async with device(other.pair("press", HOST)) as port:
        with pytest.raises(NotConnected, match=r"not trusted: .*(issuer|self.signed)"):
            await read(port, **known)
        with pytest.raises(NotConnected, match="not trusted"):
            await read(port)  # by the system's CAs
    async with device(authority.pair("lathe", "10.1.2.3")) as port:
        with pytest.raises(NotConnected, match="not trusted: IP address mismatch"):
            await read(port, **known)
        with pytest.raises(NotConnected, match="not trusted: Hostname mismatch"):
            await read(port, server_name="press.plant.example", **known)
    async with device(authority.pair("old", HOST, days=-1)) as port:
        with pytest.raises(NotConnected, match="not trusted: certificate has expired"):
            await read(port, **known)


async def test_a_device_that_demands_a_certificate_gets_ours(authority: Authority, tmp_path: Path) -> None:
    """Modbus/TCP Security V2.1 has certificates on both sides."""
    other = Authority(tmp_path, "other")
    ours, wrong = authority.pair("gateway"), other.pair("stranger")
    known = {"ca": str(authority.file)}
    async with device(authority.pair("press", HOST), demands=authority) as port:
        assert await read(port, certificate=str(ours.certificate), key=str(ours.key), **known) == ANSWER
        with pytest.raises(NotConnected):
            await read(port, **known)
        with pytest.raises(NotConnected):
            await read(port, certificate=str(wrong.certificate), key=str(wrong.key), **known)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_older_than_1_2_is_refused(authority: Authority) -> None:
    """Modbus/TCP Security V2.1, clause 5."""
    async with device(authority.pair("press", HOST), newest=ssl.TLSVersion.TLSv1_1) as port:
        with pytest.raises(NotConnected):
            await read(port, ca=str(authority.file))


async def test_a_device_without_tls_is_not_connected(authority: Authority) -> None:
    """It answers the handshake with nothing, or with something else."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), HOST, 0)
    with pytest.raises(NotConnected):
        await read(server.sockets[0].getsockname()[1], ca=str(authority.file))
    server.close()


async def test_tls_files_that_can_not_be_loaded_are_a_wrong_configuration(
    authority: Authority, tmp_path: Path
) -> None:
    """Trying again would not help; and a key with a password must not make the gateway wait at a terminal."""
    ours, locked = authority.pair("gateway"), authority.pair("locked", password=b"secret")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("-----BEGIN NOTHING-----")
    for options in (
        {"ca": str(wrong)},
        {"certificate": str(ours.certificate), "key": str(locked.key)},
        {"certificate": str(locked.certificate), "key": str(locked.key)},
        {"certificate": str(wrong), "key": str(ours.key)},
    ):
        with pytest.raises(Misconfigured, match="TLS files"):
            await read(1, **options)


@pytest.mark.parametrize("key", ["ca", "certificate", "key"])
async def test_files_that_are_away_are_tried_again(authority: Authority, tmp_path: Path, key: str) -> None:
    """They are replaced, or their folder is not mounted yet: the gateway connects once they are there."""
    ours = authority.pair("gateway")
    options = {"ca": str(authority.file), "certificate": str(ours.certificate), "key": str(ours.key)}
    with pytest.raises(NotConnected, match="TLS files"):
        await read(1, **(options | {key: str(tmp_path / "away.pem")}))


async def test_a_revoked_device_is_refused_from_the_next_connection_on(authority: Authority, tmp_path: Path) -> None:
    """A list that was renewed counts at once; nothing need be restarted."""
    press, other = authority.pair("press", HOST), authority.pair("other", HOST)
    crl = tmp_path / "plant.crl.pem"
    known = {"ca": str(authority.file), "crl": str(crl)}
    async with device(press) as port:
        with pytest.raises(NotConnected, match=rf"crl \({crl}\): No such file"):
            await read(port, **known)
        crl.write_bytes(authority.revocations(other))
        assert await read(port, **known) == ANSWER
        crl.write_bytes(authority.revocations(other, press))
        with pytest.raises(NotConnected, match="its certificate was revoked by its authority"):
            await read(port, **known)


async def test_a_revocation_list_that_can_not_be_used_is_named(authority: Authority, tmp_path: Path) -> None:
    """Without a present list a revoked certificate would be accepted."""
    crl = tmp_path / "plant.crl.pem"
    known = {"ca": str(authority.file), "crl": str(crl)}
    async with device(authority.pair("press", HOST)) as port:
        crl.write_bytes(authority.revocations(hours=-1))
        with pytest.raises(
            NotConnected, match=rf"the revocation list in {crl} has expired; put the authority's present"
        ):
            await read(port, **known)
        crl.write_bytes(Authority(tmp_path, "stranger").revocations())
        with pytest.raises(NotConnected, match=rf"{crl} has no revocation list of an authority that vouches"):
            await read(port, **known)
        crl.write_bytes(authority.revocations() + Authority(tmp_path, "evil").file.read_bytes())
        with pytest.raises(Misconfigured, match="it has a certificate; write that into ca"):
            await read(port, **known)
        crl.write_bytes(b"\x30\x03")
        with pytest.raises(Misconfigured, match=r"not a PEM file with a revocation list; .* openssl crl -inform DER"):
            await read(port, **known)


async def test_a_locked_key_is_opened_by_its_password_alone(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message shows the password, neither the right nor the wrong password."""
    ours = authority.pair("gateway", password=b"hunter2-of-the-key")
    options = {"ca": str(authority.file), "certificate": str(ours.certificate), "key": str(ours.key)}
    with_password = options | {"key_password": {"secret": "edge_key"}}
    async with device(authority.pair("press", HOST), demands=authority) as port:
        with pytest.raises(
            Misconfigured, match=r"it is locked with a password; write key_password: \{secret: NAME\}"
        ):
            await read(port, **options)
        with pytest.raises(NotConnected, match="secret 'edge_key' is missing"):
            await read(port, **with_password)
        monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", "a-wrong-password")
        with pytest.raises(Misconfigured, match="the secret of key_password is not its password") as wrong:
            await read(port, **with_password)
        assert "a-wrong-password" not in str(wrong.value)
        monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", "hunter2-of-the-key")
        assert await read(port, **with_password) == ANSWER
