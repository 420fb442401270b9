"""OPC UA security against servers of asyncua's: how a connection is protected, who is trusted, who is let in."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
import yaml
from asyncua import ua
from asyncua.common.utils import ServiceError
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.certificates import Signed, key, make, revocations
from fakes.secure_opcua import NAMESPACE, SECURE, Door, channels, served
from processes import Lineside, free_port, write_factory

import drivers
from drivers.base import Group, NotConnected
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.security.certificates import fingerprint, thumbprint
from drivers.opcua.security.pki import Pki
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.cli import main
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from asyncua import Server

PASSWORD = "s3cr3t-0f-the-Press"
ENCRYPTED = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
SIGNED = ua.SecurityPolicyType.Basic256Sha256_Sign
NONE = ua.SecurityPolicyType.NoSecurity
BROKEN = ua.SecurityPolicyType.Basic256_SignAndEncrypt


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


@pytest.fixture
def server(pki: Pki) -> Signed:
    """A server's certificate that is trusted."""
    own = make()
    trust(pki, own)
    return own


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_SECRET_PLC", PASSWORD)


def trust(pki: Pki, *certificates: Signed) -> None:
    pki.trusted.mkdir(parents=True, exist_ok=True)
    for one in certificates:
        (pki.trusted / f"{thumbprint(one.certificate)}.der").write_bytes(one.der)


def put_list(pki: Pki, issuer: Signed, *revoked: Signed) -> None:
    pki.crl[0].mkdir(parents=True, exist_ok=True)
    (pki.crl[0] / "plant.crl").write_bytes(revocations(issuer, *revoked).public_bytes(Encoding.DER))


def driver(port: int, pki: Pki, **options: Any) -> OpcUaDriver:
    written = {"url": f"opc.tcp://127.0.0.1:{port}", "namespace": NAMESPACE, "pki": str(pki.folder), "timeout": 10}
    connection = drivers.parse_connection(drivers.protocol("opcua"), written | options)
    assert isinstance(connection, OpcUaConnection)
    source = OpcUaSource.model_validate({"node": "s=Speed", "mode": "poll"})
    return OpcUaDriver(connection, [Group("machine", connection, ("speed",), (source,), 1.0)], Clock())


async def read(port: int, pki: Pki, **options: Any) -> object:
    async with driver(port, pki, **options) as reader:
        return (await reader.read(reader.groups[0])).values[0]


async def refusal(port: int, pki: Pki, **options: Any) -> NotConnected:
    """Return why a connection was not made."""
    reader = driver(port, pki, **options)
    with pytest.raises(NotConnected) as caught:
        await reader.connect()
    await reader.close()
    assert f"opc.tcp://127.0.0.1:{port}: " in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return caught.value


@contextmanager
def offering(serving: Server, pattern: str) -> Iterator[None]:
    """Have a server offer only endpoints whose policy's URI and number of mode match."""
    whole = serving.iserver.endpoints
    serving.iserver.endpoints = [
        one for one in whole if re.search(pattern, f"{one.SecurityPolicyUri} {one.SecurityMode.value - 1}")
    ]
    try:
        yield
    finally:
        serving.iserver.endpoints = whole


# -- policies and modes --


async def test_every_policy_in_either_mode_is_used_as_configured(pki: Pki, server: Signed) -> None:
    """The server sees the configured policy and mode, no weaker and no stronger."""
    port = free_port()
    async with served(port, server, [*SECURE, NONE]) as serving:
        for policy in ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"):
            for mode, seen in (
                ("sign", ua.MessageSecurityMode.Sign),
                ("sign_and_encrypt", ua.MessageSecurityMode.SignAndEncrypt),
            ):
                async with driver(port, pki, security=policy, security_mode=mode) as reader:
                    assert (await reader.read(reader.groups[0])).values == [12.5]
                    assert channels(serving) == [(policy, seen)]


async def test_unless_it_is_written_the_strongest_that_is_offered_is_used(pki: Pki, server: Signed) -> None:
    """Nobody has to know what a server can do; and no security is used only where that is written."""
    port = free_port()
    sign, encrypt = ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt
    async with served(port, server, [*SECURE, NONE]) as serving:
        for options, offered, used in (
            ({}, "Aes|Basic|None", ("Aes256_Sha256_RsaPss", encrypt)),
            ({}, "Basic256Sha256|None", ("Basic256Sha256", encrypt)),
            ({}, "Aes128|Basic256Sha256|None", ("Aes128_Sha256_RsaOaep", encrypt)),
            ({"security_mode": "sign"}, "Aes|Basic|None", ("Aes256_Sha256_RsaPss", sign)),
            ({"security": "none"}, "Aes|Basic|None", ("None", ua.MessageSecurityMode.None_)),
        ):
            with offering(serving, offered):
                async with driver(port, pki, **options) as reader:
                    assert channels(serving) == [used]
                    assert (await reader.read(reader.groups[0])).values == [12.5]


async def test_a_policy_that_is_not_offered_is_reported_and_none_weaker_is_used(pki: Pki, server: Signed) -> None:
    """A server that was set back to its factory settings must not make the line's values forgeable."""
    port, door = free_port(), Door()
    async with served(port, server, [*SECURE, NONE, BROKEN], door=door) as serving:
        for offered, options, message in (
            ("#None", {}, "auto with sign_and_encrypt is not offered; the server offers: without security. Switch"),
            ("256Sha256 1|#None", {}, r"offers: Basic256Sha256 with sign, without security\. Write security and"),
            ("256Sha256 2", {"security_mode": "sign"}, "offers: Basic256Sha256 with sign_and_encrypt"),
            ("256Sha256 2", {"security": "aes128-sha256-rsaoaep"}, "security Aes128_Sha256_RsaOaep with sign_and_e"),
            (
                "#Basic256 ",
                {},
                "offers: Basic256 with sign_and_encrypt. Switch one of .* allow_insecure_legacy: true",
            ),
            ("nothing", {}, "offers: nothing over opc.tcp"),
        ):
            with offering(serving, offered):
                error = await refusal(port, pki, **options)
            assert re.search(message, str(error))
            assert error.fault.code == "0x80550000 BadSecurityPolicyRejected"
    assert door.came == []


async def test_a_server_without_unsecured_connections_says_what_to_write(pki: Pki, server: Signed) -> None:
    """Where `security: none` was written by habit."""
    port = free_port()
    async with served(port, server, [ENCRYPTED]):
        error = await refusal(port, pki, security="none")
    assert "security: auto" in str(error)


async def test_an_offer_that_was_cut_on_the_way_is_noticed(pki: Pki, server: Signed) -> None:
    """The first question goes out unprotected; its answer is compared when nobody can change it any more."""
    port = free_port()
    async with served(port, server) as serving:
        whole, asked = serving.iserver.get_endpoints, []

        async def cut(*arguments: Any, **named: Any) -> list[ua.EndpointDescription]:
            asked.append(arguments)
            endpoints = await whole(*arguments, **named)
            return [one for one in endpoints if "Aes" not in one.SecurityPolicyUri] if len(asked) == 1 else endpoints

        serving.iserver.get_endpoints = cut
        error = await refusal(port, pki)
        assert "it offers Aes256_Sha256_RsaPss, and somebody on the way has hidden that" in str(error)
        assert await read(port, pki, security="Basic256Sha256") == 12.5


# -- whom we trust --


async def test_an_unknown_server_is_refused_until_somebody_trusts_it(pki: Pki) -> None:
    """The text names the command to run; the driver that was refused connects at its next attempt."""
    port, own = free_port(), make()
    async with served(port, own) as serving:
        reader = driver(port, pki)
        with pytest.raises(NotConnected) as caught:
            await reader.connect()
        assert channels(serving) == []
        assert caught.value.fault.code == "0x801A0000 BadCertificateUntrusted"
        [command] = re.findall(r"lineside (certs trust \S+ [0-9a-f]{64})$", str(caught.value))
        assert [file.stem for file in pki.rejected.iterdir()] == [fingerprint(own.certificate)]
        ran = await asyncio.to_thread(CliRunner().invoke, main, command.split())
        assert ran.exit_code == 0, ran.output
        await reader.connect()
        assert (await reader.read(reader.groups[0])).values == [12.5]
        await reader.close()


async def test_a_server_whose_certificate_changed_is_unknown_again(pki: Pki, server: Signed) -> None:
    """Even under the same name and key: it was this certificate that somebody looked at."""
    port, new = free_port(), make()
    async with served(port, server):
        assert await read(port, pki) == 12.5
    async with served(port, new):
        error = await refusal(port, pki)
    assert fingerprint(new.certificate) in str(error)
    assert fingerprint(server.certificate) not in str(error)


@pytest.mark.parametrize(
    ("wrong", "uri", "code", "message"),
    [
        ({"days": (-30, -1)}, None, "BadCertificateTimeInvalid", "expired on"),
        ({"hosts": ["press-7.plant.example"]}, None, "BadCertificateHostNameInvalid", r"\(press-7.plant.example\)"),
        ({}, "urn:another", "BadCertificateUriInvalid", "the server says that it is urn:another"),
    ],
)
async def test_a_trusted_certificate_that_is_wrong_is_refused_by_its_reason(
    pki: Pki, wrong: dict[str, Any], uri: str | None, code: str, message: str
) -> None:
    """And nothing is put among the rejected: to trust it would not help."""
    port, own = free_port(), make(**wrong)
    trust(pki, own)
    async with served(port, own, [ENCRYPTED], uri=uri or "urn:test:server"):
        error = await refusal(port, pki)
    assert error.fault.code.endswith(code)
    assert re.search(message, str(error))
    assert "certs trust" not in str(error)
    assert not pki.rejected.exists()


async def test_a_certificate_of_another_host_is_let_through_where_that_host_is_written(pki: Pki) -> None:
    """A machine behind an address translation, or one whose certificate was made at its maker's."""
    port, own = free_port(), make(hosts=["press-7"])
    trust(pki, own)
    async with served(port, own, [ENCRYPTED]):
        assert await read(port, pki, server_name="press-7") == 12.5
        assert await read(port, pki, server_name="*") == 12.5
        assert "not of 'press-8'" in str(await refusal(port, pki, server_name="press-8"))


async def test_a_server_is_trusted_by_its_authority_until_that_revokes_it(pki: Pki) -> None:
    """A plant trusts one authority, not a hundred machines; a list counts from the next connection on."""
    port, plant = free_port(), make("plant", ca=True)
    own = make(issuer=plant)
    trust(pki, plant)
    async with served(port, own, [ENCRYPTED]):
        unknown = await refusal(port, pki)
        assert "no revocation list of 'plant' is there" in str(unknown)
        assert await read(port, pki, revocation="if_known") == 12.5
        put_list(pki, plant)
        assert await read(port, pki) == 12.5
        put_list(pki, plant, own)
        error = await refusal(port, pki)
        assert error.fault.code == "0x801D0000 BadCertificateRevoked"
        assert "BadCertificateRevoked" in (await refusal(port, pki, revocation="if_known")).fault.code


async def test_a_server_without_the_key_of_its_certificate_is_not_connected(pki: Pki, server: Signed) -> None:
    """Certificates are public: a server must be able to sign with the key of the certificate that it shows."""
    port = free_port()
    thief = Signed(server.certificate, key("thief"))
    async with served(port, thief, [ENCRYPTED]) as serving:
        await refusal(port, pki, timeout=2)
        assert channels(serving) == []


async def test_our_own_certificate_is_made_on_first_use_and_shown_to_the_server(pki: Pki, server: Signed) -> None:
    """With the application URI that it is for: servers compare the two."""
    port = free_port()
    seen = []

    async def look(certificate: Any, application: ua.ApplicationDescription) -> None:
        seen.append((certificate, application.ApplicationUri))

    async with served(port, server, [ENCRYPTED]) as serving:
        serving.set_certificate_validator(look)
        assert await read(port, pki) == 12.5
    own = pki.own()
    assert seen == [(own.certificate, own.uri)]


async def test_a_server_that_does_not_trust_us_is_reported_with_our_thumbprint(pki: Pki, server: Signed) -> None:
    """The engineer at the server's tool sees the same thumbprint there."""
    port = free_port()
    async with served(port, server, [ENCRYPTED]) as serving:
        for code, message in (
            ("BadCertificateUntrusted", "it does not trust this gateway's certificate yet"),
            ("BadSecurityChecksFailed", "it refuses this gateway, and must not say why"),
            ("BadCertificateTimeInvalid", "by its clock this gateway's certificate is not valid"),
        ):
            serving.set_certificate_validator(AsyncMock(side_effect=ServiceError(getattr(ua.StatusCodes, code))))
            error = await refusal(port, pki)
            assert message in str(error)
            assert thumbprint(pki.own().certificate) in str(error)
            assert error.fault.code.endswith(code)


# -- users --


USER = {"username": "telemetry", "password": {"secret": "plc"}}
WAYS: list[dict[str, str]] = [{}, {"security_mode": "sign"}, {"security": "none"}]


async def test_a_user_is_let_in_by_name_and_password(pki: Pki, server: Signed) -> None:
    """Where the channel does not encrypt, the password is encrypted for the server by itself."""
    port, door = free_port(), Door({"telemetry": PASSWORD})
    async with served(port, server, [*SECURE, NONE], door=door):
        for options in WAYS:
            assert await read(port, pki, **USER, **options) == 12.5
    assert door.came == [("telemetry", PASSWORD)] * 3


async def test_a_wrong_password_and_a_missing_user_are_reported(
    pki: Pki, server: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each error says how to mend it; no error repeats a password."""
    port, door = free_port(), Door({"telemetry": "another"})
    tokens = [ua.UserNameIdentityToken, ua.X509IdentityToken]
    async with served(port, server, [ENCRYPTED], door=door, tokens=tokens):
        error = await refusal(port, pki, **USER)
        assert "it does not let user 'telemetry' in: the name or the password is wrong" in str(error)
        assert error.fault.code == "0x801F0000 BadUserAccessDenied"
        error = await refusal(port, pki)
        assert "it takes no user by anonymous, only by name and password, user certificate" in str(error)
        door.came.clear()
        monkeypatch.delenv("LINESIDE_SECRET_PLC")
        assert "secret 'plc' is missing: put it into" in str(await refusal(port, pki, **USER))
        monkeypatch.setenv("LINESIDE_SECRET_PLC", "x" * 129)
        assert "more than 128 bytes" in str(await refusal(port, pki, **USER))
        assert door.came == []


async def test_a_server_that_wants_the_password_in_the_clear_gets_it_only_where_all_is_encrypted(
    pki: Pki, server: Signed
) -> None:
    """Not even where it is trusted: others can read along."""
    port, door = free_port(), Door({"telemetry": PASSWORD})
    async with served(port, server, [ENCRYPTED, SIGNED, NONE], door=door) as serving:
        for endpoint in serving.iserver.endpoints:
            for token in endpoint.UserIdentityTokens:
                token.SecurityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#None"
        for options in WAYS[1:]:
            error = await refusal(port, pki, **USER, **options)
            assert "it wants the user's name and password without protection" in str(error)
        assert door.came == []
        assert await read(port, pki, **USER) == 12.5


async def test_a_password_is_not_encrypted_for_a_server_that_is_not_trusted(pki: Pki) -> None:
    """`security: none` says nothing of the password: who is in between could have it encrypted for themselves."""
    port, door = free_port(), Door({"telemetry": PASSWORD})
    user = {**USER, "security": "none"}
    async with served(port, make(), [ENCRYPTED, NONE], door=door):
        assert "certs trust" in str(await refusal(port, pki, **user))
    async with served(port, None, [NONE], door=door):
        assert "it sends no certificate to encrypt for" in str(await refusal(port, pki, **user))
    assert door.came == []


async def test_a_user_is_let_in_by_a_certificate(pki: Pki, server: Signed, tmp_path: Path) -> None:
    """It signs data from the server, so that nobody needs a password."""
    port, user, stranger = free_port(), make("user"), make("stranger")
    names = ("user_certificate", "user_key")
    files = dict(zip(names, map(str, user.write(tmp_path, "user")), strict=True))
    others = dict(zip(names, map(str, stranger.write(tmp_path, "b")), strict=True))
    async with served(port, server, [*SECURE, NONE], door=Door(certificates=[user])):
        for options in WAYS:
            assert await read(port, pki, **files, **options) == 12.5
            error = await refusal(port, pki, **others, **options)
            assert f"it does not let the user of {tmp_path / 'b.der'} in" in str(error)
        mixed = await refusal(port, pki, **files | {"user_key": others["user_key"]})
        assert "b.pem is not the key of" in str(mixed)
        missing = await refusal(port, pki, **files | {"user_key": str(tmp_path / "none.pem")})
        assert "none.pem" in str(missing)


def factory(folder: Path, connection: object) -> Path:
    """Write a factory with one machine of one point."""
    points = {"speed": {"node": f"nsu={NAMESPACE};s=Speed", "type": "float"}}
    (folder / "machines").mkdir()
    template = yaml.safe_dump({"format": 1, "protocol": "opcua", "points": points})
    (folder / "machines" / "press.yaml").write_text(template, encoding="utf-8")
    return write_factory(
        folder / "factory.yaml",
        broker={"url": f"mqtt://127.0.0.1:{free_port()}"},
        lines={"line": {"area": "area", "machines": {"press": {"template": "press", "connection": connection}}}},
    )


async def test_no_secret_reaches_the_log(pki: Pki, server: Signed, tmp_path: Path) -> None:
    """Not at the lowest level, not in the errors of a wrong password."""
    port = free_port()
    file = factory(tmp_path, {"url": f"opc.tcp://127.0.0.1:{port}", **USER})
    door = Door({"telemetry": "another"})
    environment = {"LINESIDE_SECRET_PLC": PASSWORD, "LINESIDE_PKI": str(pki.folder), "LINESIDE_LOG_LEVEL": "debug"}
    async with served(port, server, [ENCRYPTED], door=door):
        gateway = await Lineside.start("run", file, environment=environment)
        refused = await gateway.logged("driver.not_connected")
        assert "does not let user 'telemetry' in" in refused["error"]
        door.users = {"telemetry": PASSWORD}
        await gateway.logged("driver.connected")
        await gateway.stop()
    assert (("telemetry", PASSWORD)) in door.came
    log = gateway.log.read_text(encoding="utf-8")
    assert "press" in log
    assert PASSWORD not in log
    assert pki.key_file.read_text(encoding="utf-8").splitlines()[1] not in log


# -- limits --


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[int]:
    """Answer each chunk that comes with the next of these bytes, then keep silent. Yields the port."""
    done = asyncio.Event()

    async def serve(stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        try:
            for answer in answers:
                header = await stream.readexactly(8)
                await stream.readexactly(int.from_bytes(header[4:], "little") - 8)
                out.write(answer)
            await done.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            out.transport.abort()

    serving = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        done.set()
        serving.close()


ACKNOWLEDGE = b"ACKF" + (28).to_bytes(4, "little") + b"".join(
    number.to_bytes(4, "little") for number in (0, 2**31 - 1, 2**31 - 1, 0, 0)
)  # fmt: skip


@pytest.mark.parametrize("first", [b"ACKF", b"OPNF", b"MSGC"])
async def test_a_chunk_of_65_megabytes_is_not_waited_for(pki: Pki, first: bytes) -> None:
    """Its header says how long it will be; the server's own limits do not widen ours."""
    huge = first + (65 * 10**6).to_bytes(4, "little") + bytes(100_000)
    answers = (huge,) if first == b"ACKF" else (ACKNOWLEDGE, huge)
    async with answering(*answers) as port:
        error = await refusal(port, pki, security="none", timeout=60)
    assert "it sent a chunk of more than 64 KiB" in str(error)


async def test_a_message_of_more_than_8_mebibytes_costs_the_connection_and_no_more(pki: Pki, server: Signed) -> None:
    """It would have to be buffered whole, and decoded while nothing else is done."""
    port = free_port()
    async with served(port, server, [ENCRYPTED]) as serving:
        index = await serving.get_namespace_index(NAMESPACE)
        node = await serving.nodes.objects.add_variable(ua.NodeId("Large", index), "Large", "x" * 7 * 2**20)
        reader = driver(port, pki)
        large = OpcUaSource.model_validate({"node": "s=Large", "mode": "poll"})
        group = Group("machine", reader.connection, ("large",), (large,), 1.0)
        reader = OpcUaDriver(reader.connection, [group], Clock())
        async with reader:
            assert (await reader.read(group)).values == ["x" * 7 * 2**20]
            await node.write_value("x" * 9 * 2**20)
            with pytest.raises(NotConnected):
                await reader.read(group)
            await node.write_value("small")
            await reader.connect()
            assert (await reader.read(group)).values == ["small"]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 64, b"ERRF\x08\x00\x00\x00"])
@pytest.mark.parametrize("security", ["none", "auto"])
async def test_a_server_of_another_protocol_is_not_connected(pki: Pki, garbage: bytes, security: str) -> None:
    """A wrong port leads to anything."""
    async with answering(garbage) as port:
        await refusal(port, pki, security=security, timeout=2)
