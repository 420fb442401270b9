"""The detached signature of a configuration: of its main file, and of all files that it includes, templates as well.

    {"format": 1, "main": "factory.yaml", "files": {"factory.yaml": "5f1c...", "machines/press.yaml": "09ab..."},
     "time": "2026-12-01T06:00:00Z", "key": "MCowBQYDK2VwAyEA...", "signature": "..."}

It is in the file `factory.yaml.sig` beside `factory.yaml`. The signature (Ed25519, RFC 8032) is that of the canonical
bytes of the rest: sorted keys, no blanks. Files are named relative to the main file; each has the SHA-256 of its text
with line feeds as line ends. Templates that come with Lineside belong to the program, and not to the configuration.
Variables and values of the command line belong to the person who starts the service.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints, ValidationError

from drivers.regular_file import read_regular
from gateway.common.public_keys import UnusableKey, canonical, public_key, public_text
from gateway.common.setting_types import Section
from gateway.settings.policy import SignedTime, Untrusted
from gateway.settings.problems import Problem
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway.settings.factory import Factory
    from gateway.settings.policy import Policy

ENDING = ".sig"

MOST_BYTES = 2**20
"""The size of the file."""

_DOMAIN = b"lineside configuration 1\0"
"""The beginning of the signed bytes: no other signature of the same key is one of a configuration."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Signature(Section):
    """The content of the file."""

    format: Literal[1]
    main: Annotated[str, Field(max_length=4096)]
    files: Annotated[dict[str, _Digest], Field(max_length=10_000)]
    time: SignedTime
    key: Annotated[str, Field(max_length=200)]
    signature: Annotated[str, Field(max_length=200)]

    @property
    def signed(self) -> bytes:
        """The bytes that are signed."""
        content = self.model_dump(exclude={"signature"})
        return _DOMAIN + orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def signature_file(main: Path) -> Path:
    """Return the file with the signature of a configuration."""
    return main.with_name(main.name + ENDING)


def signed_files(factory: Factory) -> dict[str, str]:
    """Return the files that a signature covers, with the SHA-256 of each."""
    main, bundled = factory.file.absolute(), bundled_config().absolute() / "machines"
    own = main.parent
    return {
        Path(os.path.relpath(file.absolute(), own)).as_posix(): digest
        for file, digest in factory.texts.items()
        if file.absolute().is_relative_to(own) or not file.absolute().is_relative_to(bundled)
    }


def sign(factory: Factory, key: Ed25519PrivateKey) -> bytes:
    """Return the content of the signature file of a configuration.

    It is dated after the signature that the same key has made before, whatever the clock says: machines refuse an
    older signature.
    """
    public = public_text(key.public_key())
    content: dict[str, Any] = {
        "format": 1, "main": factory.file.name, "files": signed_files(factory),
        "time": _time_after(_own_time(factory, public)), "key": public,
    }  # fmt: skip
    signed = Signature.model_validate(content | {"signature": ""}).signed
    content["signature"] = b64encode(key.sign(signed)).decode()
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _own_time(factory: Factory, public: str) -> datetime | None:
    """Return the time of the signature that is there, if it is right and of this key: others could write any time."""
    try:
        found = Signature.model_validate_json(read_regular(signature_file(factory.file), MOST_BYTES))
        if found.key != public or _wrong(found):
            return None
        return datetime.strptime(found.time, _TIME).replace(tzinfo=UTC)
    except (OSError, ValueError):
        return None


def _time_after(last: datetime | None) -> str:
    now = datetime.now(UTC)
    return (now if last is None else max(now, last + timedelta(seconds=1))).strftime(_TIME)


def verified(factory: Factory, policy: Policy) -> Signature | None:
    """Return the signature of a configuration, as a signer of the policy has made it; None if none is required.

    Raises `Untrusted` with all differences.
    """
    if policy.signers is None:
        return None
    found = _read(factory, policy)
    name = _signer(found, policy.signers)
    file, again = signature_file(factory.file), _again(factory)
    if name is None:
        right = f"{policy.file} has the keys of {', '.join(sorted(policy.signers)) or 'nobody'}"
        raise Untrusted([Problem(file, 1, 1, "key", f"the key {found.key} may not sign; {right}")])
    if reason := _wrong(found):
        raise Untrusted([Problem(file, 1, 1, "", f"{reason}; {again}")])
    since = f"after {name} had signed it at {found.time}; review it, and {again}"
    if problems := list(_differences(factory, found, since)):
        raise Untrusted(problems)
    return found


def _signer(found: Signature, signers: Mapping[str, str]) -> str | None:
    """Return the name of the key of a signature; None if it is of nobody there."""
    try:
        key = canonical(found.key)
    except UnusableKey:
        return None
    return next((name for name, public in signers.items() if public == key), None)


def _again(factory: Factory) -> str:
    return f"sign it: lineside sign {factory.file} --key KEY"


def _read(factory: Factory, policy: Policy) -> Signature:
    """Return the signature beside a configuration, unchecked. Raises `Untrusted`."""
    file = signature_file(factory.file)
    problem = Problem(file, 1, 1, "", f"is not a signature of a configuration; {_again(factory)}")
    try:
        return Signature.model_validate_json(read_regular(file, MOST_BYTES))
    except FileNotFoundError:
        message = f"is not signed, which {policy.file} requires; {_again(factory)}"
        problem = Problem(factory.file, 1, 1, "", message)
    except OSError as error:
        problem = Problem(file, 1, 1, "", f"can't be read: {error.strerror}")
    except ValidationError:
        pass
    raise Untrusted([problem])


def _wrong(found: Signature) -> str:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to import

    try:
        public_key(found.key).verify(b64decode(found.signature, validate=True), found.signed)
    except (InvalidSignature, ValueError):
        return "the signature is wrong: the file was changed, or belongs to another key"
    return ""


def _differences(factory: Factory, found: Signature, since: str) -> Iterator[Problem]:
    folder = factory.file.parent
    if found.main != factory.file.name:
        yield Problem(factory.file, 1, 1, "", f"was signed as {found.main}; give it that name, or sign it again")
        return
    present = signed_files(factory)
    for name in sorted(present.keys() | found.files.keys()):
        if name not in present:
            yield Problem(folder / name, 1, 1, "", f"is signed, and was removed {since}")
        elif name not in found.files:
            yield Problem(folder / name, 1, 1, "", f"was added {since}")
        elif present[name] != found.files[name]:
            yield Problem(folder / name, 1, 1, "", f"was changed {since}")
