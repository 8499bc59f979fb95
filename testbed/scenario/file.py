"""Loads a scenario: a Python file with a function `scenario()`, or the scenario.json of an earlier run."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from testbed.errors import ScenarioError
from testbed.scenario.model import Scenario, one_line


def load_scenario(path: Path) -> Scenario:
    """Read the scenario at `path` (.py or .json); raises ScenarioError with one line."""
    if not path.is_file():
        raise ScenarioError(f"no scenario file at {path}")
    if path.suffix == ".json":
        return build_scenario(lambda: Scenario.model_validate_json(path.read_bytes()), path)
    if path.suffix != ".py":
        raise ScenarioError(f"{path}: a scenario is a .py file with a function scenario(), or a .json file")
    try:
        # The file's own `if __name__ == "__main__"` part must not run: we only want its function.
        names = runpy.run_path(str(path), run_name="scenario")
    except ValidationError as error:
        raise ScenarioError(f"{path}: {one_line(error)}") from None
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, OSError) as error:
        raise ScenarioError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from None
    make = names.get("scenario")
    if not callable(make):
        raise ScenarioError(
            f"{path} has no function scenario() that returns a testbed.scenario.model.Scenario"
        )
    return build_scenario(make, path)


def build_scenario(make: Callable[[], object], where: Path | str) -> Scenario:
    """Call `make`; whatever is wrong with the scenario becomes one ScenarioError that names `where`."""
    try:
        scenario = make()
    except ValidationError as error:
        raise ScenarioError(f"{where}: {one_line(error)}") from None
    except (TypeError, NameError, AttributeError, ValueError, OSError) as error:
        raise ScenarioError(f"{where}: {type(error).__name__}: {error}") from None
    if not isinstance(scenario, Scenario):
        raise ScenarioError(f"{where}: scenario() returned {type(scenario).__name__}, not a Scenario")
    scenario.check_files()
    return scenario
