"""The house rules of who may know whom: drivers nothing of the gateway, steps of the flow nothing of each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

STEPS = ("normalize", "filter", "spool", "publish", "ingest", "runner", "states", "tail")
"""The steps of the flow; `PARTS` names what else belongs to them."""

PARTS = {
    "gateway.spool_file": "gateway.spool",
    "gateway.spool_waiting": "gateway.spool",
    "gateway.lending": "gateway.spool",
    "gateway.outbox": "gateway.spool",
    "gateway.sending": "gateway.publish",
}

DRIVER_CONTRACTS = ("drivers.base", "drivers.readings", "drivers.sample", "drivers.written", "drivers.secret")
"""What every driver may know, and the gateway knows of all drivers."""

CONTRACTS = (
    "drivers.base",
    "drivers.sample",
    "gateway.model",
    "gateway.settings",
    "gateway.codecs",
    "gateway.stores.base",
)

WIRING = ("gateway.app", "gateway.app_ingest", "gateway.cli", "gateway.check", "gateway.demo", "gateway.trial",
          "gateway.pytest_plugin", "gateway.__main__")  # fmt: skip
"""What puts steps together, and what is above that."""

WITH_SIMULATORS = ("gateway.cli", "gateway.check.simulated", "gateway.demo", "gateway.trial")
"""What shows simulated machines, or tries a factory with them."""


class Import(NamedTuple):
    """One import of our own: who, whom, and whether it is there for type hints alone."""

    module: str
    imported: str
    for_types: bool
    line: int

    def __str__(self) -> str:
        return f"{self.module} imports {self.imported} (line {self.line})"


def modules() -> dict[str, Path]:
    found = {}
    for package in ("drivers", "gateway", "simulators"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


MODULES = modules()


def of(module: str, file: Path) -> list[Import]:
    """Return a module's imports of our packages; `from package import module` is one of the module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hints = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: names are written in full"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in full]
        found += [Import(module, name, id(node) in hints, getattr(node, "lineno", 0)) for name in names]
    return [one for one in found if one.imported.split(".")[0] in {"drivers", "gateway", "simulators"}]


IMPORTS = [one for module, file in MODULES.items() for one in of(module, file)]


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def step(name: str) -> str | None:
    """Return the step that a module is, or belongs to."""
    name = PARTS.get(name, name)
    return next((one for one in STEPS if under(name, f"gateway.{one}")), None)


def forbidden(found: list[Import]) -> None:
    assert [str(one) for one in found] == []


def test_the_imports_are_found() -> None:
    """A test that looks at nothing finds nothing wrong."""
    found = {(one.module, one.imported, one.for_types) for one in IMPORTS}
    assert ("gateway.app", "gateway.spool", False) in found
    assert ("drivers.modbus", "drivers.base", False) in found
    assert any(for_types for _, _, for_types in found)
    assert all(f"gateway.{one}" in MODULES for one in STEPS)


def test_drivers_know_nothing_of_the_gateway() -> None:
    """They are of use without it; and somebody else's driver knows no more than ours."""
    forbidden([one for one in IMPORTS if under(one.module, "drivers") and not under(one.imported, "drivers")])


def test_a_driver_knows_nothing_of_another() -> None:
    """Adding a protocol is a folder and a line in a table; so is taking one away."""
    below = {name for name in MODULES if name.count(".") == 1 and name.startswith("drivers.")}
    folders = below.difference(DRIVER_CONTRACTS)
    forbidden([
        one for one in IMPORTS
        for folder in folders
        if under(one.module, folder) and not under(one.imported, folder, *DRIVER_CONTRACTS)
    ])  # fmt: skip


def test_the_gateway_knows_drivers_by_their_contract_alone() -> None:
    """Or every new protocol would be a change to it. Commands that look at one protocol's devices are of that one."""
    forbidden([
        one for one in IMPORTS
        if under(one.module, "gateway") and not under(one.module, "gateway.cli") and under(one.imported, "drivers")
        and one.imported not in {"drivers", *DRIVER_CONTRACTS}
    ])  # fmt: skip


def test_steps_know_nothing_of_each_other() -> None:
    """The flow is seen in one place, and a step can be tested, and exchanged, alone."""
    forbidden([
        one for one in IMPORTS
        if not one.for_types and step(one.module) and step(one.imported) not in {None, step(one.module)}
    ])  # fmt: skip


def test_steps_know_models_contracts_settings_and_helpers() -> None:
    """Nothing that is above them."""
    helpers = tuple(
        name for name in MODULES
        if name.count(".") == 1 and under(name, "gateway") and step(name) is None and not under(name, *WIRING)
    )  # fmt: skip
    forbidden([
        one for one in IMPORTS
        if (mine := step(one.module)) and not under(one.imported, *CONTRACTS, *helpers)
        and step(one.imported) != mine and not one.for_types
    ])  # fmt: skip


def test_helpers_know_no_step() -> None:
    """Else one could reach another step through them."""
    forbidden([
        one for one in IMPORTS
        if under(one.module, "gateway") and step(one.module) is None and not under(one.module, *WIRING)
        and (step(one.imported) or under(one.imported, *WIRING)) and not one.for_types
    ])  # fmt: skip


def test_only_the_wiring_puts_steps_together() -> None:
    """They show the flow, up to the broker and behind it; `tail` is a step by itself, and `check` normalizes."""
    forbidden([
        one for one in IMPORTS
        if step(one.imported) not in {None, step(one.module), "tail"}
        and one.module not in {"gateway.app", "gateway.app_ingest"}
        and (one.module, one.imported) != ("gateway.check.devices", "gateway.normalize") and not one.for_types
    ])  # fmt: skip


def test_simulators_know_drivers_and_settings() -> None:
    """They serve what is configured, and must not be right for the same wrong reason as the gateway."""
    forbidden([
        one for one in IMPORTS
        if under(one.module, "simulators") and not under(one.imported, "simulators", "drivers", "gateway.settings")
    ])  # fmt: skip


def test_the_gateway_needs_no_simulators() -> None:
    """They are an extra, which an edge box does not install: only the commands that show them import them."""
    forbidden([
        one for one in IMPORTS
        if under(one.module, "gateway") and not under(one.module, *WITH_SIMULATORS)
        and under(one.imported, "simulators")
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        pytest.param(
            "from pathlib import Path; from gateway.settings.load import load_factory; "
            "load_factory(Path('config/tire-plant.yaml'))",
            {"asyncua", "pymodbus", "amqtt", "influxdb_client", "aiomqtt", "gateway.app"},
            id="checking a file",
        ),
        pytest.param(
            "import gateway.cli",
            {
                "asyncua",
                "pymodbus",
                "amqtt",
                "influxdb_client",
                "aiomqtt",
                "rich",
                "gateway.app",
                "gateway.demo.demo",
                "gateway.trial.trial",
            },
            id="asking for help",
        ),
        pytest.param(
            "import gateway.app",
            {"asyncua", "pymodbus", "amqtt", "influxdb_client", "simulators"},
            id="running",
        ),
    ],
)
def test_only_what_is_used_is_loaded(code: str, unwanted: set[str]) -> None:
    """Commands start fast, and a gateway without OPC UA has 40 MB more to itself."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert unwanted & set(ran.stdout.split()) == set()
