"""A machine without free descriptors is not taken for one without netem and NFQUEUE."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Iterator
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


@contextlib.contextmanager
def spare_descriptors(count: int) -> Iterator[None]:
    """Leave this process so many descriptors to open, also where it has closed some out of order."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    gc.collect()  # or it would give some back meanwhile
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    with contextlib.ExitStack() as fillers:
        while fillers.enter_context(Path(os.devnull).open("rb")).fileno() < highest:
            pass
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + count, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def test_lack_of_descriptors_is_named_as_such_and_found_a_shaper_later() -> None:
    told = []
    for spare in range(12):
        forget()
        with spare_descriptors(spare):
            try:
                choice.choose_shaper()
            except TestbedError as error:
                told.append(str(error))
        choice.choose_shaper()
    assert told, "there were enough descriptors"
    for text in told:
        assert "Too many open files; this process may open" in text and os.linesep not in text


def test_doctor_says_so_and_does_not_end() -> None:
    with spare_descriptors(0):
        found = shaper_capabilities()
    assert [capability.ok for capability in found] == [False, False]
    assert all("Too many open files" in capability.detail for capability in found)


def test_doctor_examines_what_it_can() -> None:
    plain = shaper_capabilities()
    for spare in range(1, 12):
        forget()
        with spare_descriptors(spare):
            found = shaper_capabilities()
        for capability, usual in zip(found, plain, strict=True):
            assert capability == usual or "Too many open files" in capability.detail
