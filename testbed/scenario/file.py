"""Loading a scenario from a Python file with a function `scenario()`, or from a run's scenario.json."""

from __future__ import annotations

import os
import runpy
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from nodes.contract.files import IMAGE_FORMATS, is_policy_file
from testbed.errors import ScenarioError
from testbed.scenario.model import Scenario, one_line


def load_scenario(path: Path, *, allow_code: bool = False) -> Scenario:
    """Load the scenario at `path`, a .py or .json file.

    A .py file is a program, and is run. A .json file is data, which may come from somebody else: it must not
    make root run a file that it names, or copy one that is no image.

    Args:
        path: the file.
        allow_code: whether a .json file may name programs: policies, schedulers, choices of routes.

    Raises:
        ScenarioError: the file is missing or the scenario is invalid; the message is one line.
    """
    try:
        found = path.is_file()
        data = path.read_bytes() if found else b""
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}") from None
    if path.is_dir():
        raise ScenarioError(f"{path} is a folder: name a file in it, such as the scenario.json of a run")
    if not found:
        raise ScenarioError(f"no scenario file at {path}: check the path")
    if path.suffix == ".json":
        scenario = build_scenario(lambda: Scenario.model_validate_json(data), path)
        _check_data(scenario, path, allow_code)
        return scenario
    if path.suffix != ".py":
        raise ScenarioError(f"{path}: a scenario is a .py file with a function scenario(), or a .json file")
    # Any name but "__main__": the file's own start of a run must not be executed.
    names: dict[str, Any] = _called(lambda: runpy.run_path(str(path), run_name="scenario"), path)
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
    scenario = _called(make, where)
    if not isinstance(scenario, Scenario):
        raise ScenarioError(f"{where}: scenario() returned {type(scenario).__name__}, not a Scenario")
    scenario.check_files()
    return scenario


def _check_data(scenario: Scenario, path: Path, allow_code: bool) -> None:
    """Check what a scenario from somebody else could use a run for. Raises ScenarioError."""
    for satellite in scenario.satellites:
        if is_policy_file(satellite.policy) and not allow_code:
            raise ScenarioError(
                f"{path}: satellite {satellite.name}: the policy {satellite.policy} is a program, which the "
                "run would execute; read it, and allow it with --allow-code"
            )
    if is_policy_file(scenario.routes) and not allow_code:
        raise ScenarioError(
            f"{path}: the choice of routes {scenario.routes} is a program, which the run would execute; "
            "read it, and allow it with --allow-code"
        )
    for name in (scenario.scheduler, *(station.scheduler for station in scenario.stations)):
        if name is not None and is_policy_file(name) and not allow_code:
            raise ScenarioError(
                f"{path}: the scheduler {name} is a program, which the run would execute; read it, "
                "and allow it with --allow-code"
            )
    for node in scenario.nodes:
        if node.programs and not allow_code:
            raise ScenarioError(
                f"{path}: {node.name}: the run would execute {node.programs[0].executed}; read it, "
                "and allow it with --allow-code"
            )
    for frame in scenario.frames().values():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large ones
                Image.open(frame.image, formats=IMAGE_FORMATS).close()  # reads the header
        except Image.DecompressionBombError:
            pass  # an image; its frame will fail, with the reason
        except Exception:  # Pillow's decoders raise many types for damaged bytes
            kinds = ", ".join(IMAGE_FORMATS)
            raise ScenarioError(
                f"{path}: frame {frame.frame}: {frame.image} is not an image ({kinds})"
            ) from None


def _called(user_code: Callable[[], Any], where: Path | str) -> Any:
    """Call code of the user's file; its errors become one line that names the file and the line in it."""
    try:
        return user_code()
    except ValidationError as error:
        raise ScenarioError(f"{_place(error, where)}: {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ScenarioError(f"{_place(error, where)}: {_text(error)}") from error


def _place(error: BaseException, where: Path | str) -> str:
    """Return the file and, if the error has one, the line in it: of the code nearest to the error."""
    if isinstance(error, SyntaxError) and error.filename is not None and _is_same(error.filename, where):
        return f"{where}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_same(frame.filename, where)]
    return f"{where}, line {lines[-1]}" if lines else str(where)


def _text(error: BaseException) -> str:
    if isinstance(error, TypeError) and "BaseModel.__init__() takes 1 positional" in str(error):
        return "an argument without its name; write for example Satellite(name=..., model=...)"
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_same(filename: str, where: Path | str) -> bool:
    return os.path.realpath(filename) == os.path.realpath(where)
