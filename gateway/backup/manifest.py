"""The manifest of an archive: its members, each with its size and hash. A bounded model."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

FORMAT: Final = 1

NAME = "manifest.json"
"""The first member of an archive."""

SEALED = "sealed"
"""The member with keys and secrets, encrypted."""

LARGEST = 16 * 2**20
"""Bytes of a manifest."""

MOST_MEMBERS = 20_000

LARGEST_SEALED = 64 * 2**20
"""Bytes of the member with keys and secrets."""

_Text = Annotated[str, StringConstraints(max_length=4_000)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class BadManifest(ValueError):
    """A manifest can't be used; the text says why."""


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Member(_Model):
    """A member of an archive: its name, bytes, SHA-256, and the rights of its file."""

    name: _Name
    size: _Count
    sha256: _Hash
    mode: Annotated[int, Field(ge=0, le=0o777)]


class SpoolInArchive(_Model):
    """A spool: the name of its gateway or worker, its own name, and its state when it was copied."""

    part: _Name
    spool: _Name
    next: _Count
    records: _Count
    readings: _Count


class LeftOut(_Model):
    """A file or secret that is not in the archive, and why."""

    name: _Text
    reason: _Text


class Manifest(_Model):
    """The manifest. `time` is ISO 8601, `folders` are those of the sections, `config` is in the first of them."""

    format: Literal[1]
    made_by: _Text
    time: _Text
    host: _Text
    enterprise: _Text
    site: _Text
    gateway: _Id
    ingest: _Id
    config: _Name
    digest: _Text
    folders: Annotated[dict[_Name, _Text], Field(max_length=200)]
    spools: Annotated[tuple[SpoolInArchive, ...], Field(max_length=100)]
    members: Annotated[tuple[Member, ...], Field(max_length=MOST_MEMBERS)]
    left_out: Annotated[tuple[LeftOut, ...], Field(max_length=MOST_MEMBERS)]

    @property
    def size(self) -> int:
        """The bytes of all members."""
        return sum(member.size for member in self.members)

    def bound(self) -> bytes:
        """Return the text that the keys are encrypted with: all but the sealed member, which is made last."""
        rest = tuple(member for member in self.members if member.name != SEALED)
        return encoded(self.model_copy(update={"members": rest}))


def encoded(manifest: Manifest) -> bytes:
    """Return a manifest as JSON."""
    return orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in these bytes. Raises `BadManifest`."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["loc"] == ("format",):
            raise BadManifest(
                f"the archive has a format that this version does not know; it knows {FORMAT}"
            ) from None
        raise BadManifest(f"{NAME}: {place or 'the whole'}: {first['msg'][:200]}") from None
    names = [member.name for member in manifest.members]
    if len(set(names)) != len(names):
        raise BadManifest(f"{NAME}: a member is named twice")
    return manifest
