"""The newest signature that a machine has accepted for a configuration, so that an older configuration is refused.

    {"format": 1, "file": "/etc/lineside/factory.yaml", "time": "2026-12-01T06:00:00Z", "digest": "5f1c..."}

Else somebody who can write the folder of a configuration could bring back an earlier one with its right signature,
for example with a broker that is no longer trusted (the rollback attack of The Update Framework, section 1.5.2). Only
times that signers have written are compared, never the clock of the machine.

The file is `signed-HASH.json`; the hash is that of the path of the main file, which root has chosen, and of nothing
that a configuration says. It is in `signature_folder` of the policy, in the state folder that the service manager
gives, or in the folder of the service.
"""

from __future__ import annotations

import fcntl
import os
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import structlog
from pydantic import Field, StringConstraints, ValidationError

from drivers.own_files import read_own
from gateway.common.atomic_file import save_json
from gateway.common.own_files import open_or_make
from gateway.common.setting_types import Section
from gateway.settings.policy import SignedTime  # noqa: TC001 - pydantic looks it up
from gateway.settings.problems import Problem
from gateway.settings.signature import signature_file

if TYPE_CHECKING:
    from gateway.settings.factory import Factory
    from gateway.settings.policy import Policy
    from gateway.settings.signature import Signature

log = structlog.get_logger(__name__)

MOST_BYTES = 16_384
"""The size of the file."""

STATE_VARIABLE = "STATE_DIRECTORY"
"""The environment variable with the state folder of a service (systemd.exec(5)); with several, the first counts."""


class Service(StrEnum):
    """The services that run signed configurations only."""

    GATEWAY = "gateway"
    INGEST = "ingest"
    DASHBOARD = "dashboard"


class Accepted(Section):
    """The content of the file: a signature of the configuration `file`, with its time and the SHA-256 of its text."""

    format: Literal[1] = 1
    file: Annotated[str, Field(max_length=4096)]
    time: SignedTime
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Remembered(NamedTuple):
    """A signature that is right, and the file that remembers it."""

    file: Path
    signature: Accepted


def memory_folder(factory: Factory, service: Service, policy: Policy) -> Path:
    """Return the folder in which a service remembers signatures."""
    if policy.signature_folder is not None:
        return policy.signature_folder
    if given := os.environ.get(STATE_VARIABLE, "").split(":")[0]:
        return Path(given)
    own = factory.ingest.folder if service is Service.INGEST else factory.gateway.spool.folder
    return own.absolute()


def memory_file(folder: Path, main: Path) -> Path:
    """Return the file for a configuration. Two configurations of one machine have a file each."""
    name = os.path.abspath(main)  # noqa: PTH100 - without `..`, and with the links that root has made
    return folder / f"signed-{sha256(os.fsencode(name)).hexdigest()[:16]}.json"


def memory_files(factory: Factory, policy: Policy | None) -> list[Path]:
    """Return the files of a configuration that are there, of any service on this machine."""
    folders = {factory.ingest.folder.absolute(), factory.gateway.spool.folder.absolute()}
    if policy is not None:
        folders |= {memory_folder(factory, service, policy) for service in Service}
    files = (memory_file(folder, factory.file) for folder in sorted(folders))
    return [one for file in files for one in (file, _lock(file)) if os.path.lexists(one)]


def remembered(factory: Factory, found: Signature, service: Service, policy: Policy) -> Remembered:
    """Return a signature as it is remembered if the configuration is applied."""
    file = os.path.abspath(factory.file)  # noqa: PTH100 - as in its name
    content = Accepted.model_validate(
        {"format": 1, "file": file, "time": found.time, "digest": sha256(found.signed).hexdigest()}
    )
    return Remembered(memory_file(memory_folder(factory, service, policy), factory.file), content)


def rolled_back(factory: Factory, wanted: Remembered, policy: Policy) -> list[Problem]:
    """Return why a signature is too old for this machine; empty if it is not.

    A memory that is missing or can't be read refuses nothing: a damaged file must not stop a plant. It is logged.
    """
    file = signature_file(factory.file)
    signed = wanted.signature.time
    again = f"to go back to it, review it, and sign it again: lineside sign {factory.file} --key KEY"
    if policy.signed_since is not None and signed < policy.signed_since:
        return [Problem(file, 1, 1, "time", f"was signed at {signed}, before signed_since of {policy.file}, "
                                            f"{policy.signed_since}; {again}")]  # fmt: skip
    if policy.accepts_older:
        return []
    known = _read(wanted.file)
    if known is None or known.time < signed or known.digest == wanted.signature.digest:
        return []
    if known.time == signed:
        reason = f"was signed at {signed}, in the same second as another version that this machine has accepted"
        again = f"sign it again: lineside sign {factory.file} --key KEY"
    else:
        reason = f"was signed at {signed}, and this machine has accepted a newer version, signed at {known.time}"
    return [Problem(file, 1, 1, "time", f"{reason} ({wanted.file}); {again}")]


def remember(factory: Factory) -> None:
    """Remember the signature of a configuration that a service applies, unless a newer signature is remembered.

    Blocks until it is on disk. A failure is logged: a full disk must not stop a service.
    """
    if factory.signed is None:
        return
    file, signature = factory.signed
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_or_make(_lock(file))) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # services of one machine share the file
            known = _read(file, quiet=True)  # the check has logged a damaged file
            if known is None or known.time < signature.time:
                save_json(file, signature.model_dump())
    except OSError as error:
        log.error("signature.not_remembered", file=str(file), time=signature.time, error=str(error))  # noqa: TRY400 - no trace


def _lock(file: Path) -> Path:
    """Return the file to lock: only the owner can open it, while others could lock a folder that they can read."""
    return file.with_name(f"{file.name}.lock")


def _read(file: Path, *, quiet: bool = False) -> Accepted | None:
    """Return the newest signature; None if there is none, or if the file can't be used, which is logged."""
    try:
        return Accepted.model_validate_json(read_own(file, MOST_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError:
        error = "is not the memory of a signature"
    except (OSError, ValueError) as found:
        error = str(found)
    if not quiet:
        log.error("signature.memory_damaged", file=str(file), error=error)
    return None
