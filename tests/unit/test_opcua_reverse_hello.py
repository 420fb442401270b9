"""The first message of a server that dials in is read within bounds, before anybody is trusted."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from unittest import mock

import pytest
from opcua_fuzz import REVERSE_HELLO, mutated
from processes import ends, free_port

from drivers.opcua.codec.reverse_hello import MAX_TEXT, ReverseHello, error_message, reverse_hello
from drivers.opcua.connection.reverse import ExpectedServer, _Accepted, lease_of
from drivers.opcua.errors import DecodeError


def message(server: bytes | None, endpoint: bytes | None, *, more: bytes = b"") -> bytes:
    """Return a ReverseHello."""
    texts = (struct.pack("<i", -1 if one is None else len(one)) + (one or b"") for one in (server, endpoint))
    body = b"".join(texts) + more
    return b"RHEF" + struct.pack("<I", 8 + len(body)) + body


def test_a_reverse_hello_is_read_when_it_is_whole() -> None:
    """It may come byte by byte (Part 6, 7.1.2.6)."""
    for end in range(len(REVERSE_HELLO)):
        assert reverse_hello(REVERSE_HELLO[:end]) is None
    assert reverse_hello(REVERSE_HELLO) == ReverseHello("urn:test:server", "opc.tcp://plc:4840/press")
    longest = message(b"u" * MAX_TEXT, b"opc.tcp://plc/" + b"p" * (MAX_TEXT - 14))
    assert reverse_hello(longest) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET / HTTP/1.1\r\n",
        b"HELF" + bytes(20),
        b"RHEF" + struct.pack("<I", 8),
        b"RHEF" + struct.pack("<I", 2**31),
        REVERSE_HELLO + b"\0",
        message(None, b"opc.tcp://plc:4840"),
        message(b"urn:a", None),
        message(b"", b"opc.tcp://plc:4840"),
        message(b"urn:a", b"http://plc:4840"),
        message(b"urn:a", b"opc.tcp://"),
        message(b"urn:a", b"opc.tcp://user:secret@plc:4840"),
        message(b"urn:a", b"opc.tcp://plc:99999"),
        message(b"urn:a", b"opc.tcp://plc:0"),
        message(b"urn:\x1b[2J", b"opc.tcp://plc:4840"),
        message(b"urn:\xff", b"opc.tcp://plc:4840"),
        message(b"urn:a", b"opc.tcp://plc:4840", more=b"\0"),
        message(b"u" * (MAX_TEXT + 1), b"opc.tcp://plc:4840"),
        b"RHEF" + struct.pack("<Ii", 16, -5) + bytes(4),
    ],
)
def test_anything_else_is_refused(wrong: bytes) -> None:
    """A port that is open to a plant is found by scanners, too."""
    with pytest.raises(DecodeError):
        reverse_hello(wrong)


def test_no_mutated_message_escapes() -> None:
    """A short, seeded run of the fuzzer."""
    rng = random.Random(2)  # noqa: S311 - seeded, and no secret
    refused = 0
    for _ in range(3000):
        try:
            reverse_hello(mutated(rng, REVERSE_HELLO))
        except DecodeError:
            refused += 1
    assert refused > 1000


def test_the_refusal_is_an_error_message() -> None:
    """Part 6, 7.1.2.5."""
    assert error_message(0x80000000, "no") == b"ERRF\x12\0\0\0\0\0\0\x80\2\0\0\0no"


async def test_a_connection_that_is_accepted_while_its_port_closes_is_dropped() -> None:
    """Nobody would use it, and the server would wait for an answer."""
    lease = await lease_of("127.0.0.1", free_port(), ExpectedServer("urn:server"), 1.0)
    port, transport = lease._port, mock.Mock(asyncio.Transport)  # noqa: SLF001 - the moment between accept and close
    lease.close()
    _Accepted(port).connection_made(transport)
    transport.abort.assert_called_once_with()


@pytest.mark.parametrize("turns", range(7))
async def test_a_server_that_dials_in_at_the_last_moment_is_hung_up_on(turns: int) -> None:
    """The next session opens the port again, and the server dials in once more."""
    host, port, expected = "127.0.0.1", free_port(), ExpectedServer("urn:server")
    lease = await lease_of(host, port, expected, 1.0)
    with socket.create_connection((host, port)) as server:
        for _ in range(turns):
            await asyncio.sleep(0)
        lease.close()
        await ends(server)
    following = await lease_of(host, port, expected, 5.0)
    with socket.create_connection((host, port)) as server:
        server.sendall(message(b"urn:server", b"opc.tcp://server"))
        assert (await following.next()).endpoint_url == "opc.tcp://server"
        following.close()


async def test_a_port_that_closes_is_opened_again_at_once() -> None:
    """A reload ends the last session of a port, and begins another in the same moment."""
    where = "127.0.0.1", free_port()
    for _ in range(5):
        lease = await lease_of(*where, ExpectedServer("urn:server"), 1.0)
        lease.close()
    lease = await lease_of(*where, ExpectedServer("urn:server"), 1.0)
    with socket.create_connection(where):
        lease.close()
