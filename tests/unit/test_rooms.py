"""The house rules on the size of rooms; import-linter checks who imports whom."""

from __future__ import annotations

from tests.support import ROOT

MODULES_MAX = 14


def test_no_folder_holds_more_modules_than_a_reader_can_scan() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): len(modules)
        for package in ("testbed", "nodes")
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]
        if len(modules := list(folder.glob("*.py"))) > MODULES_MAX
    }
    assert not crowded


def test_the_testbed_itself_holds_its_public_api_and_its_errors_only() -> None:
    assert {path.name for path in (ROOT / "testbed").glob("*.py")} == {"__init__.py", "errors.py"}
