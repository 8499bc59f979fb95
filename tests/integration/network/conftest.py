"""A pair of hosts, shared by all tests of a module that do not break it."""

from collections.abc import Iterator

import pytest

from testbed.network.emulation import EmulatedNetwork
from tests.support.network.pair import Pair, Stream


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with EmulatedNetwork("nfqueue") as network:
        yield Pair(network)


@pytest.fixture
def stream(pair: Pair) -> Iterator[Stream]:
    stream = Stream(pair)
    yield stream
    stream.close()
