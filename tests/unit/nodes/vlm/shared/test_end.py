"""The process of shared models ends as requested, however often it is asked to."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from nodes.vlm.shared import __main__ as program


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_second_request_does_not_interrupt_the_end(handlers: None) -> None:
    signal.signal(signal.SIGTERM, program._leave)
    with pytest.raises(program._Ended):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
