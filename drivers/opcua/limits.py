"""Bounds on the messages of a server: what is larger ends the connection before memory is allocated for it."""

from __future__ import annotations

MAX_CHUNK = 64 * 1024
"""Bytes of one chunk: every server supports this size, and it bounds the memory for an incomplete chunk."""

MIN_CHUNK = 8192
"""Bytes of a chunk that every peer accepts (Part 6, 7.1.2.3), whatever a server states."""

MAX_MESSAGE = 8 * 2**20
"""Bytes of one message: 10,000 changes or nodes take a twentieth of it; decoding more would block the gateway."""

MAX_ELEMENTS = 150_000
"""Elements of one array in a response: a list of references in messages of this size has fewer."""

MAX_UNANSWERED = 1000
"""Requests without an answer that are remembered, so that a late answer is no error."""

MAX_CHUNKS = MAX_MESSAGE // MIN_CHUNK
"""Chunks of one message: all of it in chunks of the smallest size."""
