"""Limits on the messages of a server: a larger message ends the connection before memory is allocated for it."""

from __future__ import annotations

MAX_CHUNK = 64 * 1024
"""Bytes of one chunk: every server supports this size, and it limits the memory for an incomplete chunk."""

MIN_CHUNK = 8192
"""Bytes of a chunk that every server accepts (Part 6, 7.1.2.3), even if it states a smaller size."""

MAX_MESSAGE = 8 * 2**20
"""Bytes of one message: 10,000 changes or nodes need a twentieth of it; decoding more would block the gateway."""

MAX_ELEMENTS = 150_000
"""Elements of one array in a response: a list of references in messages of this size has fewer."""

MAX_UNANSWERED = 1000
"""Requests without a response that are remembered, so that a late response is not an error."""

MAX_CHUNKS = MAX_MESSAGE // MIN_CHUNK
"""Chunks of one message, if all have the smallest size."""
