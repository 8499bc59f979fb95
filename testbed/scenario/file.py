"""Loading a scenario from a Python file with a function `scenario()`, or from a run's scenario.json."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from testbed.errors import ScenarioError
from testbed.scenario.model import Scenario, one_line


def load_scenario(path: Path) -> Scenario:
    """Load the scenario at `path`, a .py or .json file.

    Raises:
        ScenarioError: the file is missing or the scenario is invalid; the message is one line.
    """
    if not path.is_file():
        raise ScenarioError(f"no scenario file at {path}: check the path")
    if path.suffix == ".json":
        return build_scenario(lambda: Scenario.model_validate_json(path.read_bytes()), path)
    if path.suffix != ".py":
        raise ScenarioError(f"{path}: a scenario is a .py file with a function scenario(), or a .json file")
    try:
        # Any name but "__main__": the file's own start of a run must not be executed.
        names = runpy.run_path(str(path), run_name="scenario")
    except ValidationError as error:
        raise ScenarioError(f"{path}: {one_line(error)}") from None
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, OSError) as error:
        raise ScenarioError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from None
    make = names.get("scenario")
    if not callable(make):
        raise ScenarioError(f"{path} has no function scenario() that returns a testbed.Scenario")
    return build_scenario(make, path)


def build_scenario(make: Callable[[], object], where: Path | str) -> Scenario:
    """Call `make` and check the scenario that it returns.

    Args:
        make: function that returns a scenario.
        where: name of its file, for errors.

    Raises:
        ScenarioError: the function failed, or its scenario is invalid.
    """
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
