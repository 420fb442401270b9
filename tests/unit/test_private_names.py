"""Private names of libraries that this code uses: an upgrade that drops one fails here, and not in a plant."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import asyncua
import pytest
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.client.ua_session import UaSession
from asyncua.common.utils import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

LIBRARIES = ("asyncua", "pymodbus", "paho", "aiomqtt")


async def _made_in_a_loop() -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1")


MQTT = asyncio.run(_made_in_a_loop())

USED: dict[str, tuple[object, set[str]]] = {
    "asyncua.Client": (
        asyncua.Client("opc.tcp://127.0.0.1:4840"),
        {
            "_activate_with_credentials",
            "_password",
            "_connect_sequence",
            "_policy_ids",
            "_renew_channel_loop",
            "_server_url",
            "_server_nonce",
            "_try_resume_persisted_session",
        },
    ),
    "UASocketProtocol": (
        UASocketProtocol(),
        {
            "_callbackmap",
            "_connection",
            "_fail_all_pending",
            "_open_secure_channel_exchange",
            "_request_handle",
            "_request_id",
            "_send_request",
        },
    ),
    "UaClient": (
        UaClient(),
        {
            "_is_session_closing",
            "_make_protocol",
            "_on_transport_lost",
            "_pre_request_hook",
            "_send_request",
            "_timeout",
        },
    ),
    "UaSession": (UaSession(UaClient()), {"_client", "_set_state"}),
    "aiomqtt.Client": (
        MQTT,
        {
            "_client_connect",
            "_connected",
            "_disconnected",
            "_hostname",
            "_keepalive",
            "_loop",
            "_misc_loop",
            "_misc_task",
            "_on_connect",
            "_on_disconnect",
            "_on_socket_open",
            "_on_socket_register_write",
            "_port",
            "_wait_for",
        },
    ),
    "paho.mqtt.client.Client": (
        MQTT._client,  # noqa: SLF001 - aiomqtt has no other way to it
        {
            "_in_packet",
            "_keepalive",
            "_last_bytes_received",
            "_loop_rc_handle",
            "_max_inflight_messages",
            "_mid_generate",
            "_out_messages",
            "_out_packet",
            "_packet_handle",
            "_sock_close",
        },
    ),
    "Buffer": (Buffer(b""), {"_cur_pos", "_data", "_size"}),
}
"""By the class of a library that has them: an instance, and the names that `drivers` and `gateway.mqtt` use."""


@pytest.mark.parametrize("owner", USED)
def test_private_names_of_a_library_exist_in_the_installed_version(owner: str) -> None:
    """The version is pinned to a minor release, and patch releases may rename private names."""
    instance, names = USED[owner]
    assert {name for name in names if not hasattr(instance, name)} == set()


@pytest.mark.slow
def test_every_private_name_in_use_is_listed() -> None:
    """A name that is not listed here would not be looked at when a library is upgraded."""
    listed = set().union(*(names for _, names in USED.values()))
    files = [*sorted((ROOT / "drivers").rglob("*.py")), *sorted((ROOT / "gateway" / "mqtt").rglob("*.py"))]
    used = {name for file in files for name in _foreign_names(file)}
    assert used == listed


def _foreign_names(file: Path) -> Iterator[str]:
    """Yield private names that a file uses from classes of a library: by inheritance, or with a waiver of SLF001."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and (getattr(node, "module", None) or node.names[0].name).partition(".")[0] in LIBRARIES
        for alias in node.names
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and _private(node.attr)
            and "SLF001" in lines[node.end_lineno - 1]
            and not _is_own(node)
        ):  # type: ignore[operator] # parsed nodes have lines
            yield node.attr
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).partition(".")[0] in imported for base in node.bases
        ):
            own = {one.attr for one in ast.walk(node) if _is_own(one) and isinstance(one.ctx, ast.Store)}  # type: ignore[attr-defined] # an attribute
            methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
            bases = [_resolve(ast.unparse(base)) for base in node.bases]
            for name in {one.attr for one in ast.walk(node) if _is_own(one)} | methods:  # type: ignore[attr-defined] # as above
                if _private(name) and (name not in own | methods or _has(bases, name)):
                    yield name


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_own(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _resolve(base: str) -> object:
    return USED.get(base, (None, set()))[0]


def _has(bases: list[object], name: str) -> bool:
    return any(hasattr(base, name) for base in bases)
