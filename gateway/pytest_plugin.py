"""Fixtures by which a repository tests its factory's YAML against simulated machines; see docs/ci.md.

pytest finds this by its entry point. Where no test asks for a fixture, nothing but this file is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.trial.background import Background
    from gateway.trial.readings import Readings

MARKER = "lineside"
"""The name of the marker that chooses a configuration."""

OPTION = "lineside_config"
"""The key of pytest's configuration that does the same for all tests."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the key to pytest's configuration."""
    parser.addini(
        OPTION, "the factory's YAML that simulated_factory runs, from the root folder", default="factory.yaml"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker."""
    config.addinivalue_line("markers", f"{MARKER}(config, seed='1'): the factory's YAML that simulated_factory runs")


class Trials:
    """The factories that run in this session: each configuration, with each seed, once."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._running: dict[tuple[Path, str], Background] = {}

    def of(self, config: Path, seed: str) -> Background:
        """Return the trial of a configuration, started where it does not run yet. The test fails where it can't."""
        __tracebackhide__ = True
        key = config.resolve(), seed
        if key not in self._running:
            self._running[key] = _started(self._folders.mktemp("lineside"), config, seed)
        return self._running[key]

    def stop(self) -> None:
        """Stop all."""
        for trial in self._running.values():
            trial.stop()


def _started(folder: Path, config: Path, seed: str) -> Background:
    __tracebackhide__ = True
    from drivers.extras import MissingExtra, require  # noqa: PLC0415 - only where it is used

    try:
        require("demo", "a simulated factory")
    except MissingExtra as error:
        pytest.fail(str(error), pytrace=False)
    from gateway.settings.load import load_factory  # noqa: PLC0415 - only where it is used
    from gateway.settings.problems import ConfigurationError  # noqa: PLC0415 - as above
    from gateway.trial.background import Background  # noqa: PLC0415 - an extra, and only where it is used
    from gateway.trial.trial import Options, TrialFailed  # noqa: PLC0415 - as above

    trial = Background(folder, config, Options(seed, patient=True))
    try:
        load_factory(config)
        trial.start()
    except ConfigurationError as error:
        pytest.fail(f"{config} is not right:\n" + "\n".join(map(str, error.problems)), pytrace=False)
    except TrialFailed as error:
        pytest.fail(f"{config}: {error}", pytrace=False)
    return trial


@pytest.fixture(scope="session")
def _lineside_trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    trials = Trials(tmp_path_factory)
    yield trials
    trials.stop()


@pytest.fixture
def simulated_factory(request: pytest.FixtureRequest, _lineside_trials: Trials) -> Background:
    """Run a factory with simulated machines, gateway, broker and store, from here to the end of the session.

    Which one the marker `lineside` says, else the key `lineside_config` of pytest's configuration, else it is
    factory.yaml in the root folder. Tests of one configuration share it.
    """
    __tracebackhide__ = True
    written, seed = str(request.config.getini(OPTION)), "1"
    marker = request.node.get_closest_marker(MARKER)
    if marker is not None:
        written = str(marker.args[0]) if marker.args else written
        seed = str(marker.kwargs.get("seed", seed))
    return _lineside_trials.of(Path(request.config.rootpath, written), seed)


@pytest.fixture
def readings(simulated_factory: Background) -> Readings:
    """Return the stored readings of `simulated_factory`: `readings("press-01/*")` or `readings.wait("*", good=3)`."""
    from gateway.trial.readings import Readings  # noqa: PLC0415 - only where it is used

    return Readings(simulated_factory.factory, simulated_factory.store, simulated_factory.check)
