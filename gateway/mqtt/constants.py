"""Numbers of MQTT, and of how we use it; without the libraries that speak it."""

from __future__ import annotations

NO_SUBSCRIBERS = 0x10
"""Reason code (MQTT 5, 3.4.2.1): the broker took the message and had nobody to give it to. That is not delivery."""

REFUSED = 0x80
"""Reason codes from here on are failures (MQTT 5, 2.4); it is the only failure in a SUBACK of MQTT 3.1.1."""

TAKEN_OVER = 0x8E
"""Reason code (MQTT 5, 4.13): another client connected with the same identifier."""

TOO_LARGE = 0x95
"""Reason code (MQTT 5, 2.4): packet too large."""

UNSUPPORTED_VERSION = {1, 0x84}
"""Reason codes of a CONNACK: unacceptable protocol version (MQTT 3.1.1, 3.2.2.3; MQTT 5, 2.4)."""

RECEIVE_MAXIMUM = 0xFFFF
"""Unacknowledged messages that a broker takes that names no number (MQTT 5, 3.2.2.3.3)."""

PACKET_MAXIMUM = 268_435_455
"""Bytes of a packet after its header (MQTT 5, 1.5.5)."""

PACKET_MINIMUM = 1024
"""The least size of a packet, in bytes, that a broker must take: with less, each record would be set aside."""

PUBLISH_OVERHEAD = 16
"""Bytes of a PUBLISH around topic and payload, at most: header, lengths, packet identifier."""

SESSION_EXPIRY = 24 * 3600
"""Seconds for which a broker keeps the session of a receiver that is away (MQTT 5, 3.1.2.11.2)."""

ANSWER_TIMEOUT = 20.0
"""Seconds after which a connection counts as lost when the broker owes an acknowledgement."""

CONNECT_TIMEOUT = 10.0
"""Seconds for each step of connecting, and for the answer to a SUBSCRIBE."""

DISCONNECT_TIMEOUT = 0.5
"""Seconds for a DISCONNECT, and for the death message before it: a stop has five seconds in all."""
