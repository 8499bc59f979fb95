"""A signal is a wish: it stops the run where the run looks, and nowhere else."""

import os
import signal

import pytest

from testbed.stop_request import Stopped, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_seen_at_the_next_check(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            stop.check()
        assert stop.exit_code == 128 + number
    assert signal.getsignal(number) is before
