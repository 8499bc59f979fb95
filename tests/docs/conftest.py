"""Runs of these tests share one process for their models."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _models(models_of_all_runs: None) -> None:
    """Start it with the first test."""
