"""The modules that a command loads. The import contracts in pyproject.toml define the allowed imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_import_contracts_hold() -> None:
    """Data flows one way, and drivers do not depend on the gateway; a run of the tests alone shows it, too."""
    lint = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        pytest.param(
            "from pathlib import Path; from gateway.settings.load import load_factory; "
            "load_factory(Path('config/tire-plant.yaml'))",
            {"asyncua", "pymodbus", "amqtt", "influxdb_client", "aiomqtt", "gateway.gateway_service"},
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
                "gateway.gateway_service",
                "gateway.demo.demo",
                "gateway.trial.trial",
            },
            id="asking for help",
        ),
        pytest.param(
            "import gateway.gateway_service",
            {"asyncua", "pymodbus", "amqtt", "influxdb_client", "prometheus_client", "simulators"},
            id="running",
        ),
    ],
)
def test_a_command_loads_only_the_modules_that_it_uses(code: str, unwanted: set[str]) -> None:
    """Commands start fast, and a gateway without OPC UA has 40 MB more to itself."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert unwanted & set(ran.stdout.split()) == set()


def test_list_of_commands_loads_no_command() -> None:
    """Help comes at once, on an edge box, too."""
    code = "from gateway.cli import main; import sys\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "export-points" in ran.stdout
    assert loaded & {"pydantic", "yaml", "structlog", "drivers", "gateway.settings", "gateway.cli.common"} == set()


def test_a_service_loads_no_package_for_tracebacks_that_it_does_not_write() -> None:
    """The log library loads them where they are installed, as beside the demo; the demo can still use them."""
    code = (
        "import sys; from gateway.cli import main\ntry: main(['run', '--help'])\n"
        "finally: print(*sys.modules); import rich.console, structlog; print('afterwards')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, loaded, after = ran.stdout.splitlines()
    assert "structlog" in loaded.split()
    assert not {"rich", "greenlet", "pygments"} & set(loaded.split())
    assert after == "afterwards"
