"""Keys of OPC UA points and connections, as several formats describe them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from drivers.opcua.node_address import BrowsePath, Step
from gateway.importers.environment import VARIABLE
from gateway.settings.parameters import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.importers.found import Found, Import, Where

Keys = dict[str, Any]

POLICIES = {
    "none": "none", "basic256sha256": "Basic256Sha256", "aes128sha256rsaoaep": "Aes128_Sha256_RsaOaep",
    "aes128sha256": "Aes128_Sha256_RsaOaep", "aes256sha256rsapss": "Aes256_Sha256_RsaPss",
}  # fmt: skip
"""Policies by their names in small letters, without signs."""

TYPES = {
    "boolean": "bool", "bool": "bool", "float": "float", "double": "float", "number": "float", "sbyte": "int",
    "byte": "int", "int16": "int", "uint16": "int", "int32": "int", "uint32": "int", "int64": "int", "uint64": "int",
    "integer": "int", "uinteger": "int", "string": "string", "datetime": "string", "utctime": "string",
    "localizedtext": "string", "guid": "string", "bytestring": "string", "qualifiedname": "string",
    "xmlelement": "string", "nodeid": "string", "statuscode": "string",
}  # fmt: skip
"""Types of points by the names of built-in types (OPC UA 6, 5.1.2) in small letters."""


def endpoint(written: str) -> str:
    """Return the URL of a server, with the scheme that may be left out. Raises `ValueError`."""
    url = written.strip()
    url = url if "://" in url else f"opc.tcp://{url}"
    if re.search(r"[{}\s]", VARIABLE.sub("", url)):
        raise ValueError(f"{url[:100]!r} is not a URL")
    return url


def security(policy: str, mode: str, where: Where, what: str, found: Import) -> Keys:
    """Return the security keys of a connection; deprecated policies become the strongest that the server offers."""
    plain = "".join(filter(str.isalnum, policy.lower()))
    if plain == "none" or "".join(filter(str.isalnum, mode.lower())) == "none":
        return {"security": "none"}
    if plain not in POLICIES and plain not in {"auto", ""}:
        found.note(where, what, f"{policy[:40]} is insecure; the strongest policy of the server is used")
    keys = {"security": POLICIES[plain]} if plain in POLICIES else {}
    return keys | ({"security_mode": "sign"} if mode.lower() == "sign" else {})


def user(name: str, machine: str, where: Where, found: Import) -> Keys:
    """Return the keys of a user, and note the secret of the password, which is not copied."""
    secret = f"{machine}_password"
    found.note(where, machine, f"the password is not copied: put it into the secret {secret}")
    return {"username": plain(name), "password": {"secret": secret}}


def browse_path(steps: Iterable[str]) -> str:
    """Return a path from browse names such as `2:Drum`. Raises `ValueError` without a name."""
    found = []
    for written in steps:
        index, colon, name = written.partition(":")
        qualified = colon and index.isdecimal() and name
        step = Step(int(index), name) if qualified else Step(None, written)
        if not step.name:
            raise ValueError("a browse name is empty")
        found.append(step)
    if not found:
        raise ValueError("the path has no browse name below Objects")
    return str(BrowsePath(tuple(found)))


def note_types(machine: Found, kind: str, found: Import) -> None:
    """Note that the types of a machine's points are those of an option."""
    message = f"types of nodes are not in the file: all are {kind}; correct those that are not, or say --type"
    found.note(machine.where, machine.machine, message)
