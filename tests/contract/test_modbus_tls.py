"""Modbus/TCP Security against a device with certificates of the test's own: who is trusted, and who is not."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes.modbus_server import HOST, Asked

from drivers.base import Misconfigured, NotConnected
from drivers.modbus.client import ModbusClient
from drivers.modbus.connection import ModbusConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REQUEST = bytes.fromhex("03 0005 0002")
ANSWER = bytes.fromhex("04 0005 0006")


class Pair(NamedTuple):
    """A certificate's file and its key's."""

    certificate: Path
    key: Path


class Authority:
    """A CA that signs what it is asked to."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(*(flag in {5, 6} for flag in range(9)))  # of nine, those to sign certificates and lists
        builder = self._begin(self._name, self._key).add_extension(usage, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _begin(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 30) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        begin, end = sorted((now + dt.timedelta(days=days), now - dt.timedelta(days=60)))
        return builder.not_valid_before(begin).not_valid_after(end)

    def pair(self, name: str, host: str | None = None, days: int = 30, password: bytes | None = None) -> Pair:
        """Return a certificate of a host name or address; with negative `days` it has ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days)
        if host is not None:
            try:
                alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
            except ValueError:
                alternative = x509.DNSName(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pair.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(encoding))
        pair.key.write_bytes(key.private_bytes(encoding, form, lock))
        return pair


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
    """An unknown CA, another host's certificate, one that has ended: each is told by its reason."""
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


async def test_files_that_are_none_are_a_wrong_configuration(authority: Authority, tmp_path: Path) -> None:
    """Trying again would not help; and a key with a password must not make the gateway wait at a terminal."""
    ours, locked = authority.pair("gateway"), authority.pair("locked", password=b"secret")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("-----BEGIN NOTHING-----")
    for options in (
        {"ca": str(tmp_path / "none.pem")},
        {"ca": str(wrong)},
        {"certificate": str(ours.certificate), "key": str(locked.key)},
        {"certificate": str(locked.certificate), "key": str(locked.key)},
        {"certificate": str(wrong), "key": str(ours.key)},
    ):
        with pytest.raises(Misconfigured, match="TLS files"):
            await read(1, **options)
