"""The code that ships: it executes nothing that it receives, and verifies who is at the other end of TLS."""

from __future__ import annotations

import ast
import ssl
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drivers.tls import TlsFiles, client_context

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

EXECUTES = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load",
    "marshal.loads", "shelve.open", "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.full_load",
    "yaml.unsafe_load", "runpy.run_path", "runpy.run_module",
}  # fmt: skip
"""Calls, and classes, that run code out of data."""

KNOWN = {
    # code that the gateway makes of a checked expression, in which no name of Python is
    "gateway/settings/expressions/runtime.py": {"eval", "compile"},
    # the compiled files of the installation are compared with their sources, and not run; in a process of its own
    "gateway/software/compiled.py": {"compile", "marshal.loads"},
    # a worker reads its supervisor, over a pair of sockets that only the two have
    "gateway/workers/messages.py": {"pickle.loads", "pickle.Unpickler"},
}
"""The places that have such a call, each with its reason."""

WEAKENS = {"verify", "verify_ssl", "check_hostname", "ssl_verify"}
"""Arguments and attributes that turn the verification of TLS off where they are False."""


@cache
def shipped() -> dict[str, ast.Module]:
    """Return the syntax tree of each file of the packages that run in a plant."""
    files = [file for package in ("gateway", "drivers") for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 300
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def dotted(node: ast.expr) -> str:
    """Return a name such as `pickle.loads`, empty for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def used(tree: ast.Module) -> Iterator[str]:
    """Yield the names of `EXECUTES` that a file uses, and of modules that it imports them from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node)) in EXECUTES:
            yield name
        elif isinstance(node, ast.ImportFrom):
            yield from {f"{node.module}.{one.name}" for one in node.names} & EXECUTES
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            yield "shell="


def weakened(tree: ast.Module) -> Iterator[str]:
    """Yield what turns the verification of certificates off."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {
            "CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context", "tls_insecure_set",
        }:  # fmt: skip
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg in WEAKENS and is_false(node.value):
            yield str(node.arg)
        elif isinstance(node, ast.Assign) and is_false(node.value):
            yield from (one.attr for one in node.targets if isinstance(one, ast.Attribute) and one.attr in WEAKENS)


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_nothing_that_is_received_is_executed() -> None:
    """A record, a template or a backup is data; a place that runs code has to be known, with its reason."""
    found: dict[str, set[str]] = defaultdict(set)
    for file, tree in shipped().items():
        for name in used(tree):
            found[file].add(name)
    assert found == KNOWN


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "from pickle import loads",
        "import yaml\nyaml.load(text)",
        "run(line, shell=True)",
        "f = os.system",
    ],
)
def test_each_way_to_execute_is_found(source: str) -> None:
    """The search above must not be blind."""
    assert list(used(ast.parse(source)))


def test_every_connection_with_tls_verifies_the_other_side() -> None:
    """No setting and no file turns the verification off, and a client takes TLS 1.2 or newer."""
    assert {file: found for file, tree in shipped().items() if (found := list(weakened(tree)))} == {}
    context = client_context(TlsFiles())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "source",
    [
        "c.verify_mode = ssl.CERT_NONE",
        "get(url, verify=False)",
        "c.check_hostname = False",
        "client.tls_insecure_set(1)",
    ],
)
def test_each_way_not_to_verify_is_found(source: str) -> None:
    """The search for weakened verification must find it."""
    assert list(weakened(ast.parse(source)))


def test_only_servers_make_a_context_of_their_own() -> None:
    """`ssl.SSLContext` verifies nothing by default: clients begin with `ssl.create_default_context`."""
    made = [
        (file, dotted(node.args[0]) if node.args else "")
        for file, tree in shipped().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "ssl.SSLContext"
    ]
    assert made
    assert {protocol for _, protocol in made} == {"ssl.PROTOCOL_TLS_SERVER"}
