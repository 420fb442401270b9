"""Shared fixtures and hooks: real servers end with the test that started them, and their logs explain a failure."""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import re
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import forked
import fuzzing
import packages
import processes
import pytest
import servers
import structlog

from drivers import redaction
from gateway.common.logging import reset_logging

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


TESTS = Path(__file__).parent

DURATIONS: dict[str, int] = json.loads((TESTS / "durations.json").read_text(encoding="utf-8"))
"""Seconds of the files whose tests take long, measured by tools/test_durations.py. Others take a second or two."""


SLOW = (
    "end_to_end/test_packages.py",
    "end_to_end/test_operations.py",
    "end_to_end/test_alarms_of_devices.py",
    "end_to_end/test_truth.py",
    "end_to_end/test_demo.py",
    "end_to_end/test_check_simulated.py",
    "end_to_end/test_case_real_services.py",
    "contract/test_opcua_recovery.py",
    "contract/test_simulator_faults_seen.py",
    "unit/test_modbus_diagnosis.py",
    "unit/test_modbus_dial_in.py",
    "unit/test_modbus_field.py",
    "unit/test_modbus_isolation.py",
    "unit/test_modbus_reported.py",
    "unit/test_modbus_tolerances.py",
    "unit/test_models.py",
    "unit/test_opcua_pki.py",
    "unit/test_opcua_trust.py",
    "unit/test_probe.py",
    "unit/test_sim_faults.py",
    "unit/test_sim_lines.py",
    "unit/test_sim_truth.py",
    "unit/test_wire_trace.py",
)
"""Files of tests that take minutes on a busy machine, or wait for devices: marked `slow`, as all of chaos/."""

WITH_PROCESSES = (
    "browser/*.py",
    "contract/*.py",
    "end_to_end/*.py",
    "unit/test_apparmor.py",
    "unit/test_audit_kills.py",
    "unit/test_audit_lifecycle.py",
    "unit/test_audit_trust_files.py",
    "security/*.py",
    "unit/test_imports.py",
    "unit/test_self_test.py",
    "unit/test_software.py",
    "unit/test_update_command.py",
    "unit/test_supply_chain.py",
    "unit/test_prose.py",
    "unit/test_repeat_failed.py",
    "unit/test_settings.py",
    "unit/test_sim_command.py",
    "unit/test_storage_zfs.py",
    "unit/test_spool_full_disk.py",
    "unit/test_spool_kills.py",
    "unit/test_units.py",
)
"""Files of tests that start processes: marked `services`."""

MARKERS = ("slow", "services", "fast")

STAGES = ("fast", "not fast")
"""Expressions of `-m` with which `make test` runs all tests; each collects only the files that have such tests."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `make test-random`."""
    parser.addoption("--shuffle", metavar="SEED", help="run the tests in a random order, which the seed repeats")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector not look at the tests while they are collected: a million objects that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file in vain: each worker collects all tests."""
    stage = config.option.markexpr
    if stage not in STAGES or collection_path.suffix != ".py":
        return None
    return True if stage not in _stages(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test as fast, services or slow, and put the tests in order."""
    for item in items:
        if not any(item.get_closest_marker(name) for name in MARKERS):
            item.add_marker(_marker(item.path))
        stage = STAGES[item.get_closest_marker("fast") is None]
        if stage not in _stages(item.path):
            raise pytest.UsageError(
                f"{item.nodeid} is {stage}: `make test` runs it if its file has the name of its mark"
            )
        if item.name.partition("[")[0] in _fuzzers(item.path):
            item.add_marker("fuzz")
            if fuzzing.LONG:
                item.add_marker(pytest.mark.timeout(0))
    seed = config.getoption("--shuffle")
    if seed is None:
        _long_first(items)
    else:
        items.sort(key=lambda item: item.nodeid)
        random.Random(seed).shuffle(items)  # noqa: S311 - to be repeated


@functools.cache
def _fuzzers(file: Path) -> set[str]:
    """Return the names of the tests of a file that run damaged inputs."""
    return {name for pattern, name in fuzzing.FUZZERS if file.match(pattern)}


@functools.cache
def _marker(file: Path) -> str:
    if any(file.match(pattern) for pattern in (*SLOW, "chaos/*.py")):
        return "slow"
    return "services" if any(file.match(pattern) for pattern in WITH_PROCESSES) else "fast"


@functools.cache
def _stages(file: Path) -> set[str]:
    """Return the stages that have tests of a file: that of its marker, and those of the marks that it names."""
    marks = set(re.findall(r"\bmark\.(\w+)", file.read_text(encoding="utf-8"))) | {_marker(file)}
    return {STAGES[mark != "fast"] for mark in marks & set(MARKERS)}


@pytest.fixture(autouse=True)
def _fast_tests_start_no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the marker true: `make test-fast` needs no server."""
    if request.node.get_closest_marker("fast"):

        def refuse(_: object, *arguments: object, **__: object) -> None:
            pytest.fail(f"a fast test starts a process: {arguments}; add its file to WITH_PROCESSES in conftest.py")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(forked.Forked, "__init__", refuse)


def _long_first(items: list[pytest.Item]) -> None:
    """Sort the files of tests, the longest first.

    With `--dist loadfile` a worker takes the next when it has finished one. So no long file begins last.
    """
    items.sort(key=lambda item: -DURATIONS.get(item.path.relative_to(TESTS).as_posix(), 0))


@pytest.fixture(autouse=True)
def _logging_stays_with_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reset the logging that a command in this process has configured: the next test may check the log."""
    monkeypatch.setattr(redaction._Secrets, "forms", ())  # noqa: SLF001 - secrets of other tests stay in texts
    yield
    reset_logging()
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _umask_stays_with_its_test() -> Iterator[None]:
    """Reset the umask that a service in this process has set: others could not read the files of later tests."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _processes_end_with_their_test() -> Iterator[None]:
    yield
    end_processes("function")


@pytest.fixture(scope="module", autouse=True)
def _processes_end_with_their_module() -> Iterator[None]:
    """A server at rest needs processor time as well."""
    yield
    end_processes("module")


@pytest.fixture(scope="session", autouse=True)
def _processes_end_with_the_session() -> Iterator[None]:
    yield
    end_processes("function", "module", "session")  # of an interrupted run, too
    forked.stop()


def end_processes(*scopes: processes.Scope) -> None:
    """Kill the processes of these scopes that a test has started."""
    for process in [one for one in processes.STARTED if one.scope in scopes]:
        process.kill()
        processes.STARTED.remove(process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:  # noqa: ARG001
    """Put the ends of the processes' logs into the report of a test that failed."""
    report = yield
    if report.failed:
        for process in processes.STARTED:
            if words := process.last_words():
                report.sections.append((f"{process.name}: {process.log}", words))
    return report


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> servers.Influxd:
    """One InfluxDB 1.x for all tests; see `influx_database`."""
    server = servers.Influxd(tmp_path_factory.mktemp("influxd"), scope="session")
    server.up_and_wait()
    return server


@pytest.fixture
def influx_database(influxd: servers.Influxd) -> str:
    """A database that no other test has."""
    name = f"test-{uuid.uuid4().hex}"
    influxd.create(name)
    return name


@pytest.fixture(scope="session")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> servers.VictoriaMetrics:
    """One VictoriaMetrics for all tests; see `enterprise`."""
    server = servers.VictoriaMetrics(tmp_path_factory.mktemp("victoria-metrics"), scope="session")
    server.up_and_wait()
    return server


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of this tree for two processors; built once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return packages.build_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def enterprise() -> str:
    """Return the name of an enterprise of this test alone, which separates tests that share a server."""
    return f"e-{uuid.uuid4().hex}"


def pytest_collection_finish() -> None:
    """Exclude the tests and their imports from garbage collection, which would scan them again and again."""
    gc.collect()
    gc.freeze()
