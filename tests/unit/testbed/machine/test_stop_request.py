"""A signal is a request that stops a run at its next check and nowhere else."""

import os
import signal

import pytest

from testbed.cli import main as cli
from testbed.machine.stop_request import Stopped, StopRequest


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


def test_a_stop_can_be_asked_for_without_a_signal() -> None:
    with StopRequest() as stop:
        stop.ask("the live page")
        with pytest.raises(Stopped):
            stop.check()
        assert (stop.asker, stop.exit_code) == ("the live page", 130)


def test_ctrl_c_while_subcommands_load_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "spaceverse: stopped\n"
