"""The kernel holds the netem that was written, as read by us and by tc."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from testbed.errors import CapabilityError, LinkError
from testbed.network.link import differences
from testbed.network.link_state import DOWN_STATE, HELD_STATE, Direction, GilbertElliott, LinkState
from testbed.network.shapers.netem.parameters import NetemParameters
from testbed.network.shapers.netem.shaper import CHECK_EVERY_S
from testbed.network.shapers.netem.socket import QdiscSocket

from .conftest import Line, arrivals, numbered

STATES = [
    LinkState(True, 1e5, 0.3),
    LinkState(True, 220e6, 0.00187, loss=0.013),
    LinkState(True, 40e9, 0.0, queue_bytes=3000),  # more than 32 bits of bytes per second
    LinkState(True, 9600, 1.35, loss=1.0),
    LinkState(True, 50e6, 0.02, jitter_s=0.004, queue_s=0.1),
    LinkState(True, 50e6, 0.02, bursty_loss=GilbertElliott(0.01, 0.2, 0.9, 0.001)),
]


def tc_reads(line: Line, port: str) -> dict[str, Any]:
    said = line.sky.run(["tc", "-json", "qdisc", "show", "dev", port, "root"])
    assert said.returncode == 0, said.stderr
    (qdisc,) = json.loads(said.stdout)
    assert qdisc["kind"] == "netem"
    options: dict[str, Any] = qdisc["options"]
    return options


@pytest.mark.parametrize("state", STATES, ids=str)
def test_whole_state_is_held_by_the_kernel(line: Line, state: LinkState) -> None:
    line.set(LinkState(True, 5e6, 0.05, loss=0.5))
    line.shaper.apply("line", Direction.DOWN, state)
    held = line.shaper.read_back("line", Direction.DOWN)
    assert (held.up, held.rate_bit_s) == (True, state.rate_bit_s)
    assert held.delay_s == pytest.approx(state.delay_s, abs=1e-9)
    assert held.loss == pytest.approx(state.loss, abs=1e-9)
    assert held.jitter_s == pytest.approx(state.jitter_s, abs=1e-9)
    assert 0 <= held.queue_limit_bytes - state.queue_limit_bytes < 1514
    assert differences(state, held) == ""
    other = line.shaper.read_back("line", Direction.UP)
    assert (other.rate_bit_s, other.delay_s) == (5e6, 0.05)


@pytest.mark.parametrize("state", STATES, ids=str)
def test_tc_reads_the_same_at_the_exit_port(line: Line, state: LinkState) -> None:
    line.shaper.apply("line", Direction.UP, state)
    options = tc_reads(line, line.ports.exit(Direction.UP))
    assert options.get("delay", {"delay": 0})["delay"] == pytest.approx(state.delay_s, abs=1e-6)
    assert options["rate"]["rate"] * 8 == state.rate_bit_s
    assert options.get("loss-random", {"loss": 0})["loss"] == pytest.approx(state.loss, abs=1e-6)
    assert options["limit"] >= (state.rate_bit_s * state.delay_s / 8 + state.queue_limit_bytes) / 1514
    assert options.get("delay", {"jitter": 0})["jitter"] == pytest.approx(state.jitter_s, abs=1e-6)
    if (chain := state.bursty_loss) is not None:
        found = options["loss-gemodel"]
        assert [found[name] for name in ("p", "r", "1-h", "1-k")] == pytest.approx(
            [chain.good_to_bad, chain.bad_to_good, chain.bad_loss, chain.good_loss], abs=1e-4
        )


@pytest.mark.parametrize("state", STATES, ids=str)
def test_the_kernel_tells_a_netem_in_the_bytes_that_were_written(line: Line, state: LinkState) -> None:
    """Which is what makes comparing cheap; one that tells it otherwise is still understood."""
    line.shaper.apply("line", Direction.UP, state)
    index = line.sky.read(line.ports.exit(Direction.UP)).index
    socket = line.sky.call(QdiscSocket)
    try:
        assert NetemParameters.of(state).options() in socket.root_messages()[index]
        assert socket.roots()[index] == socket.get(index) == NetemParameters.of(state)
    finally:
        socket.close()


def test_more_states_than_one_call_writes(line: Line) -> None:
    requested = [("line", way, LinkState(True, 8e6 + 8 * n, 0.01)) for n in range(50) for way in Direction]
    held = line.shaper.apply_all(requested)
    assert [state.rate_bit_s for state in held] == [state.rate_bit_s for _, _, state in requested]
    assert line.shaper.read_back("line", Direction.UP).rate_bit_s == 8e6 + 8 * 49
    line.shaper.check()


def test_many_states_at_once_are_held_as_each_by_itself(line: Line) -> None:
    for state, other in pairwise(STATES):
        requested = [("line", Direction.DOWN, state), ("line", Direction.UP, other)]
        assert line.shaper.apply_all(requested) == [line.shaper.read_back("line", way) for way in Direction]
        assert differences(state, line.shaper.read_back("line", Direction.DOWN)) == ""
        assert differences(other, line.shaper.read_back("line", Direction.UP)) == ""
        line.shaper.check()


def test_many_states_of_which_the_kernel_refuses_one(line: Line) -> None:
    port = line.ports.exit(Direction.UP)
    line.sky.run(["tc", "qdisc", "del", "dev", port, "root"])
    try:
        with pytest.raises(LinkError, match=f"line up: netem on {port} was refused"):
            line.shaper.apply_all([("line", way, LinkState(True, 7e6, 0.01)) for way in Direction])
        assert line.shaper.read_back("line", Direction.DOWN).rate_bit_s == 7e6
    finally:
        line.sky.run(["tc", "qdisc", "add", "dev", port, "root", "netem", "limit", "0", "loss", "100%"])


def test_a_closed_direction_reads_as_down(line: Line) -> None:
    line.shaper.apply("line", Direction.DOWN, DOWN_STATE)
    assert line.shaper.read_back("line", Direction.DOWN) == DOWN_STATE
    assert line.shaper.read_back("line", Direction.UP).up


def test_a_change_from_outside_is_seen(line: Line) -> None:
    line.set(LinkState(True, 5e6, 0.05, loss=0.5))
    port = line.ports.exit(Direction.DOWN)
    # tc's `change` keeps the rate and silently resets the loss: the reason why states are written whole.
    assert (
        line.sky.run(["tc", "qdisc", "change", "dev", port, "root", "netem", "delay", "7ms"]).returncode == 0
    )
    held = line.shaper.read_back("line", Direction.DOWN)
    assert (held.delay_s, held.loss, held.rate_bit_s) == (0.007, 0.0, 5e6)


def test_a_netem_that_was_taken_away_is_an_error(line: Line) -> None:
    port = line.ports.exit(Direction.DOWN)
    assert line.sky.run(["tc", "qdisc", "del", "dev", port, "root"]).returncode == 0
    try:
        with pytest.raises(LinkError, match=f"line down.*{port}"):
            line.shaper.apply("line", Direction.DOWN, STATES[0])
        with pytest.raises(LinkError, match=f"line down.*{port}.*not there"):
            line.shaper.read_back("line", Direction.DOWN)
        with pytest.raises(LinkError, match=f"line down.*{port}.*not there"):
            line.shaper.counters("line", Direction.DOWN)
    finally:
        line.sky.run(["tc", "qdisc", "add", "dev", port, "root", "netem", "limit", "0", "loss", "100%"])


def test_a_link_is_attached_once_and_named_when_unknown(line: Line) -> None:
    with pytest.raises(LinkError, match="line is attached already"):
        line.shaper.attach(line.ports)
    with pytest.raises(LinkError, match="link other is not attached"):
        line.shaper.apply("other", Direction.UP, STATES[0])


def check_now(line: Line) -> None:
    time.sleep(CHECK_EVERY_S)
    line.shaper.check()


@pytest.mark.parametrize("command", ["del", "replace", "change"])
def test_somebody_elses_tc_on_an_idle_link_is_noticed(line: Line, command: str) -> None:
    line.set(STATES[1])
    check_now(line)
    port = line.ports.exit(Direction.DOWN)
    what = {"del": [], "replace": ["pfifo"], "change": ["netem", "delay", "7ms"]}[command]
    assert line.sky.run(["tc", "qdisc", command, "dev", port, "root", *what]).returncode == 0
    try:
        with pytest.raises(LinkError, match=f"line down: netem on {port} was changed from outside"):
            check_now(line)
    finally:
        line.sky.run(["tc", "qdisc", "replace", "dev", port, "root", "netem", "limit", "0", "loss", "100%"])
    line.set(STATES[1])
    check_now(line)


def test_holding_is_refused_and_nothing_changes(line: Line) -> None:
    line.set(STATES[1])
    with pytest.raises(CapabilityError, match="netem cannot hold"):
        line.shaper.apply("line", Direction.DOWN, HELD_STATE)
    assert line.shaper.read_back("line", Direction.DOWN).up


def test_the_kernels_counters(line: Line) -> None:
    line.set(LinkState(True, 1e6, 0.0, queue_bytes=20 * 1514))
    before = line.shaper.counters("line", Direction.DOWN)
    sender, receiver = line.udp()
    for number in range(50):
        sender.send(numbered(number, 1000))
    got = len(arrivals(receiver, 0.5))
    after = line.shaper.counters("line", Direction.DOWN)
    assert after["delivered"] - before["delivered"] == got
    assert after["delivered_bytes"] - before["delivered_bytes"] == 1000 * got
    assert after["dropped"] - before["dropped"] == 50 - got
    assert after["inside"] == 0
