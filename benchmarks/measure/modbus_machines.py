"""Modbus TCP machines at almost no cost: one process answers register reads from memory.

`lineside simulate` computes physics and needs some 0.9 ms a scan, more than the measured gateway. This server copies
prepared registers, so that a benchmark measures the client. With changing values, each response of a connection differs
from the last in every point.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from measure.plant import ModbusPlant

DESCRIPTION = "machines that answer from memory (benchmarks/measure/modbus_machines.py)"

CHANGES = 61
"""Prepared states of a machine whose values change. The number is prime, so they rarely repeat in step with a test."""

REQUEST = 12
"""Bytes of a register read."""

BACKLOG = 128
RECEIVED = 4096


def images(plant: ModbusPlant) -> list[bytes]:
    """Return the registers of a machine in each of its states: floats in big endian order, words from 0 to 4,000."""
    states = CHANGES if plant.changing else 1
    made = []
    for state in range(states):
        parts = []
        for i, register in enumerate(plant.registers()):
            if register.raw == "float32":
                parts.append(struct.pack(">f", 20.0 + i * 0.137 + state * 0.0317))
            else:
                parts.append(struct.pack(">H", (i * 37 + state * 7) % 4001))
        made.append(b"".join(parts))
    return made


class Connection:
    """Answer the register reads of one client, several of them in one segment if they arrived in one."""

    def __init__(self, states: list[bytes]) -> None:
        self._states = states
        self._state = 0
        self._half = b""

    def answer(self, received: bytes) -> bytes:
        """Return the responses to all complete requests; the values change when a request begins at register 0."""
        data = self._half + received
        whole = len(data) // REQUEST * REQUEST
        self._half = data[whole:]
        responses = []
        for at in range(0, whole, REQUEST):
            transaction, _, _, unit, function, first, count = struct.unpack_from(">HHHBBHH", data, at)
            if first == 0:
                self._state = (self._state + 1) % len(self._states)
            registers = self._states[self._state][2 * first : 2 * (first + count)]
            head = struct.pack(">HHHBBB", transaction, 0, 3 + len(registers), unit, function, len(registers))
            responses += [head, registers]
        return b"".join(responses)


def serve(plant: ModbusPlant, port: int, ready: Event) -> None:
    """Serve all machines of a plant until the process is killed."""
    states = images(plant)
    poll = select.epoll()
    listeners: dict[int, socket.socket] = {}
    clients: dict[int, tuple[socket.socket, Connection]] = {}
    for host in plant.hosts:
        listener = socket.create_server((host, port), backlog=BACKLOG)
        listener.settimeout(0)
        listeners[listener.fileno()] = listener
        poll.register(listener, select.EPOLLIN)
    ready.set()
    while True:
        for number, _ in poll.poll():
            if number in listeners:
                client, _ = listeners[number].accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client, Connection(states)
                poll.register(client, select.EPOLLIN)
                continue
            client, connection = clients[number]
            try:
                received = client.recv(RECEIVED)
                if received:
                    client.sendall(connection.answer(received))
                    continue
            except OSError:
                pass  # the client has gone, as below
            poll.unregister(client)
            del clients[number]
            client.close()
