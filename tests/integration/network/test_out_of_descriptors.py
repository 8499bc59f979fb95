"""A machine without free descriptors is not taken for one without netem and NFQUEUE."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.network.shapers import choice
from testbed.network.shapers.capabilities import shaper_capabilities
from testbed.network.shapers.nfqueue.hook import nfqueue_way

# pyroute2's event loop, which could not be made
pytestmark = [
    pytest.mark.root,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def forget() -> None:
    for answer in (choice.has_netem, choice.has_nfqueue, nfqueue_way):
        answer.cache_clear()


@pytest.fixture(autouse=True)
def unlimited() -> object:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    forget()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    forget()


def open_files() -> int:
    return 1 + max(int(path.name) for path in Path("/proc/self/fd").iterdir())


def test_lack_of_descriptors_is_named_as_such_and_found_a_shaper_later() -> None:
    hard, told = resource.getrlimit(resource.RLIMIT_NOFILE)[1], []
    for spare in range(12):
        forget()
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + spare, hard))
        try:
            choice.choose_shaper()
        except TestbedError as error:
            told.append(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        choice.choose_shaper()
    assert told, "there were enough descriptors"
    for text in told:
        assert "Too many open files; this process may open" in text and os.linesep not in text


def test_doctor_says_so_and_does_not_end() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files(), hard))
    try:
        found = shaper_capabilities()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert all("Too many open files" in capability.detail for capability in found if not capability.ok)
    assert not all(capability.ok for capability in found)
