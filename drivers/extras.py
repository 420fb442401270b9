"""The extras of the distribution: optional libraries, their purposes, and the command that installs them.

Drivers, stores, codecs, simulators and commands import an optional library where they use it, after `require`. The
table is here because all of them may import `drivers`, and drivers import nothing else.
"""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from typing import NamedTuple


class Extra(NamedTuple):
    """Optional libraries of one purpose. `modules` are imported, `requirements` are those of pyproject.toml."""

    purpose: str
    modules: tuple[str, ...]
    requirements: tuple[str, ...]


EXTRAS: dict[str, Extra] = {
    "influxdb": Extra("the store influxdb", ("influxdb_client",), ("influxdb-client>=1.48",)),
    "serial": Extra("a serial line", ("serial",), ("pyserial>=3.5",)),
    "parquet": Extra("a Parquet file", ("pyarrow",), ("pyarrow>=18",)),
    "zstd": Extra("the codec binary", ("zstandard",), ("zstandard>=0.23",)),
    "simulators": Extra("a simulated machine", ("pymodbus",), ("pymodbus>=3.16,<3.17",)),
    "xlsx": Extra("a workbook of Excel", ("openpyxl", "defusedxml"), ("openpyxl>=3.1.3", "defusedxml>=0.7.1")),
    "metrics": Extra("metrics", ("prometheus_client",), ("prometheus-client>=0.21",)),
    "dashboard": Extra(
        "the page",
        ("starlette", "uvicorn", "websockets", "polib", "argon2"),
        ("argon2-cffi>=23.1", "polib>=1.2", "starlette>=1.0", "uvicorn>=0.47", "websockets>=15"),
    ),
    "oidc": Extra(
        "sign-in by an identity provider",
        ("authlib", "httpx2", "joserfc"),
        ("authlib>=1.9", "httpx2>=2", "joserfc>=1.8"),
    ),
    "notify": Extra("notification", ("apprise",), ("apprise>=2.3,<3",)),
    "plot": Extra("a plot", ("pymodbus", "matplotlib"), ("pymodbus>=3.16,<3.17", "matplotlib>=3.10")),
    "demo": Extra(
        "a trial with simulated machines and an embedded broker",
        ("pymodbus", "amqtt", "rich", "starlette", "uvicorn", "websockets", "polib", "argon2"),
        (
            "pymodbus>=3.16,<3.17",
            "amqtt>=0.12,<0.13",
            "rich>=14",
            "argon2-cffi>=23.1",
            "polib>=1.2",
            "starlette>=1.0",
            "uvicorn>=0.47",
            "websockets>=15",
        ),
    ),
}
"""Each extra by its name. A test compares the requirements with pyproject.toml."""


class MissingExtra(Exception):
    """An optional library is not installed; the text is one line with the command that installs it."""


def is_installed(name: str) -> bool:
    """Return whether all libraries of an extra are installed. Nothing is imported."""
    return all(find_spec(module) is not None for module in EXTRAS[name].modules)


def require(name: str, purpose: str = "") -> None:
    """Check that an extra is installed, for a purpose other than that of the table. Raises `MissingExtra`."""
    purpose = purpose or EXTRAS[name].purpose
    if "pymodbus" in EXTRAS[name].modules and find_spec("simulators") is None:
        raise MissingExtra(f"{purpose} needs the package simulators, which this installation of Lineside leaves out")
    if not is_installed(name):
        raise MissingExtra(f"{purpose} needs the extra {name}; {instruction(name)}")


def instruction(name: str) -> str:
    """Return the command that installs an extra where this Python finds it, as `install it with: ...`.

    The libraries are named in place of `lineside[NAME]`: they are on public package indexes, and a package or an
    archive of Lineside is where its user has put it.
    """
    pip = [sys.executable, "-m", "pip", "install"]
    if find_spec("pip") is None:  # an environment made by uv
        pip = ["uv", "pip", "install", "--python", sys.executable]
    return f"install it with: {shlex.join([*pip, *EXTRAS[name].requirements])}"
