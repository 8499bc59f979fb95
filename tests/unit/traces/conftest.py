"""One real satellite over one real station, as the project's first run has it."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import settings

from traces.orbits.element_set import ElementSet
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.stations import GroundStation, station
from traces.orbits.tle import FLOCK_TLE

# A busy machine is no fault of a function: no deadline for one example.
settings.register_profile("traces", deadline=None)
settings.load_profile("traces")


@pytest.fixture(scope="session")
def flock() -> list[ElementSet]:
    return read_elements(FLOCK_TLE)


@pytest.fixture(scope="session")
def dove(flock: list[ElementSet]) -> ElementSet:
    return find_satellite(flock, "FLOCK 2P-1")


@pytest.fixture(scope="session")
def svalbard() -> GroundStation:
    return station("Svalbard")


@pytest.fixture(scope="session")
def day() -> datetime:
    return datetime(2018, 1, 20, tzinfo=timezone.utc)
