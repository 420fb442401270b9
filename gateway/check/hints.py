"""What to look at where a machine, or a point, is not there."""

from __future__ import annotations

from drivers.base import Reason

_NOBODY = (
    "nobody answers at this address: is the device on, is the cable in, is the address right, is a firewall between?"
)

_CONNECTING = {
    "connection refused": "the address answers, and the port is closed: is the port right, is the "
    "protocol switched on in the device, and does it take one more connection (a gateway may have its only one)?",
    "connect call failed": "the address answers, and the port is closed: is the port right, and is the "
    "server switched on?",
    "not known": "nobody knows this name: write the address, or look at the name server",
    "name resolution": "the name server does not answer: write the address",
    "no route": "there is no way to this address: look at the network, its mask and its gateway",
    "unreachable": "there is no way to this network: look at the network, its mask and its gateway",
    "no such file": "there is no such serial port: is the adapter plugged in? `ls /dev/serial/by-id` shows them",
    "permission denied": "this user may not open it: add the user to the group dialout",
    "has dialled in": "the device has not called: is this machine's address set in it, does a firewall let it in?",
    "can't listen": "something listens there already: is a gateway running?",
    "does not answer": _NOBODY,
    "no answer": _NOBODY,
}
"""Words in why a connection failed, and what to look at; the first that is found counts."""

_READING = {
    Reason.NO_RESPONSE: "it is connected, and the unit behind it does not answer: is it on, is its unit id right, "
    "and is the time-out long enough?",
    Reason.REFUSED: "the device does not give it",
    Reason.NOT_FOUND: "the device has no such point",
    Reason.BAD_ANSWER: "what answers does not speak this protocol as it should: is it this kind of device?",
    Reason.DEVICE_FAULT: "the device says that its sensor, or itself, is broken",
    Reason.NOT_AVAILABLE: "the device says that it has no value now: is the sensor connected, is the machine on?",
    Reason.TYPE_MISMATCH: "the value in the device has another type than the point: check its type, raw and labels",
}

_NOT_THIS = (
    "the device answers other requests, and not this request: it may not have this address; correct the address, or "
    "remove the point"
)

_MISSING = {Reason.REFUSED, Reason.NOT_FOUND}


def why_not_connected(message: str) -> str:
    """Return what to look at where a connection failed, empty where the message says all that is known."""
    lower = message.lower()
    return next((hint for words, hint in _CONNECTING.items() if words in lower), "")


def why_not_read(reason: str, explore: str, *, others_read: bool = False) -> str:
    """Return what to look at where a point has no value, empty where its reason says all that is known.

    `explore` is the command that shows what such a device has, empty where there is none. `others_read` is True if
    the device has answered requests for other points.
    """
    if others_read and reason == Reason.NO_RESPONSE:
        return _NOT_THIS + (f": `lineside {explore}` shows what it has" if explore else "")
    hint = next((text for key, text in _READING.items() if key == reason), "")
    if reason in _MISSING and explore:
        hint += f": `lineside {explore}` shows what it has"
    return hint
