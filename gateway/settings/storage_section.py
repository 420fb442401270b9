"""The section `storage`: whether the folders that a service writes have to be on encrypted storage.

One section for all services: they share folders, so keys of their own could contradict each other. Each service
checks the folders that it writes, on the box on which it runs (IEC 62443-4-2, CR 4.1).
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.common.setting_types import MAX_PATH, Section

MOST_FOLDERS = 100


class Encrypted(StrEnum):
    """The consequence of a folder that is not on encrypted storage."""

    REQUIRED = "required"
    EXPECTED = "expected"
    REPORTED = "reported"


def _one_or_many(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,) if isinstance(written, str) else written


def _absolute(written: object) -> object:
    if not isinstance(written, str):
        return written
    if not written.startswith("/") or len(written) > MAX_PATH or "\0" in written:
        raise ValueError(f"{written[:100]!r} is not an absolute path; write one, as in /var/lib/lineside")
    return Path(os.path.normpath(written))


_Folders = Annotated[
    tuple[Annotated[Path, BeforeValidator(_absolute)], ...],
    BeforeValidator(_one_or_many),
    Field(max_length=MOST_FOLDERS),
]


class StorageSection(Section):
    """Whether the folders that the services write have to be on encrypted storage."""

    encrypted: Annotated[Encrypted, Field(strict=False)] = Encrypted.REPORTED
    """Whether a service refuses to start on storage that is not encrypted (`required`), a self-test finds it
    (`expected`), or it is only shown, as in `expected`."""
    encrypted_by_plant: _Folders = ()
    """Folders that the plant encrypts where Lineside can't see it, such as a self-encrypting drive or the host of a
    virtual machine, as in `/var/lib/lineside` or `[/var/lib/lineside, /srv]`."""
