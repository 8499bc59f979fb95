"""One pair of hosts for all tests of a module that do not break it."""

from collections.abc import Iterator

import pytest

from testbed.network.hosts import HostNetwork
from testbed.network.sky import Sky
from tests.support.network.pair import Pair, Stream


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with HostNetwork() as network, Sky("nfqueue") as sky:
        yield Pair(sky, network)


@pytest.fixture
def stream(pair: Pair) -> Iterator[Stream]:
    stream = Stream(pair)
    yield stream
    stream.close()
