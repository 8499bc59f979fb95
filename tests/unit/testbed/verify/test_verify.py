"""Theory, judgement and table of `spaceverse verify`, without a network."""

import argparse
import json
import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS
from scapy.layers.l2 import ARP, Ether

from testbed.cli.main import main
from testbed.cli.verify import run
from testbed.errors import CapabilityError, InputError
from testbed.network.link_state import GilbertElliott, LinkState
from testbed.network.shapers.nfqueue.model import Fates
from testbed.verify.checks import (
    at_most_check,
    binomial_interval,
    burst_checks,
    delay_check,
    goodput_bit_s,
    jitter_checks,
    loss_check,
    message_s,
    none_check,
    share_check,
    shown_delay,
)
from testbed.verify.frames import make_frames
from testbed.verify.link import Probed, Stream, link_rtt_s, rtt_s
from testbed.verify.pass_measurement import AlongPass
from testbed.verify.table import bound_text, checks_table, plot_pass, quantity
from testbed.verify.trace import quickened, steepest_pass, steepest_piece
from testbed.verify.verify import GROUPS
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace


def test_theory() -> None:
    assert message_s(10_000, 100e3, 0.002) == pytest.approx(0.839, abs=1e-3)  # the 0.84 s
    assert goodput_bit_s(100e6) == pytest.approx(95.64e6, rel=1e-4)


def test_a_binomial_interval_holds_what_it_says() -> None:
    low, high = binomial_interval(1000, 0.2, 0.999)
    assert (low, high) == (159, 243)  # 0.0005 and 0.9995 quantiles of B(1000, 0.2)
    lost = np.random.default_rng(1).binomial(1000, 0.2, 20_000)
    assert np.mean((lost >= low) & (lost <= high)) >= 0.999
    assert binomial_interval(100, 0.0, 0.999) == (0, 0)
    assert binomial_interval(100, 1.0, 0.999) == (100, 100)


@pytest.mark.parametrize(("lost", "ok"), [(159, True), (243, True), (150, False), (260, False), (0, False)])
def test_loss_is_judged_on_both_sides(lost: int, ok: bool) -> None:
    assert loss_check("loss", "loss", 0.2, 1000, lost).ok is ok


def arrivals_of(chain: GilbertElliott, sent: int, seed: int) -> npt.NDArray[np.int64]:
    fates = Fates(seed)
    state = LinkState(True, 1e6, 0.0, bursty_loss=chain)
    return np.flatnonzero([not fates.next(state)[0] for _ in range(sent)])


def test_bursts_of_the_right_chain_pass_and_of_another_fail() -> None:
    chain = GilbertElliott.of(0.1, 5)
    requested = [
        check for seed in range(50) for check in burst_checks(chain, 4000, arrivals_of(chain, 4000, seed))
    ]
    assert [check for check in requested if not check.ok] == []
    single, frequent = GilbertElliott.of(0.1, 1), GilbertElliott.of(0.2, 5)
    for wrong, failing in ((single, "mean burst of losses"), (frequent, "loss in bursts")):
        checks = burst_checks(chain, 4000, arrivals_of(wrong, 4000, 1))
        assert [check.what for check in checks if not check.ok] == [failing]
    assert not any(check.ok for check in burst_checks(chain, 4000, np.arange(4000)))


def test_jitter_of_the_right_width_passes_and_another_fails() -> None:
    chance = np.random.default_rng(3)

    def judge(low_s: float, high_s: float) -> list[str]:
        checks = jitter_checks(0.02, 0.005, chance.uniform(low_s, high_s, 200), 0.8e-3)
        return [check.what for check in checks if not check.ok]

    assert judge(0.0152, 0.0252) == []
    assert judge(0.0175, 0.0225) == ["standard deviation of +-5 ms"]
    assert judge(0.0145, 0.0245) == ["earlier than the jitter"]
    assert judge(0.0165, 0.0265) == ["later than the jitter, p99"]


def test_frames_of_every_kind_are_what_scapy_reads_back() -> None:
    frames = make_frames("02:00:00:00:00:01", "02:00:00:00:00:02", of_each=3)
    assert len({frame.octets for frame in frames}) == 12
    layers = {"ARP": ARP, "IPv4": IP, "IPv6": UDP, "neighbour solicitation": ICMPv6ND_NS}
    assert all(Ether(frame.octets).haslayer(layers[frame.kind]) for frame in frames)
    assert {frame.kind for frame in frames} == set(layers)


def test_what_is_only_shown_is_right_whatever_it_is_but_must_be_there() -> None:
    requested = np.full(10, 0.01)
    shown = shown_delay("rtt", "as programs see it", requested, requested + 5, 50)
    assert (shown.ok, shown.checked, bound_text(shown)) == (True, False, "shown")
    assert (shown.to_json()["least"], shown.to_json()["most"]) == (None, None)
    assert not shown_delay("rtt", "as programs see it", requested[:0], requested[:0], 50).ok
    assert delay_check("rtt", "RTT", requested, requested, 50, 1.0).checked


def test_what_did_not_arrive_fails() -> None:
    nothing = np.array([])
    assert not delay_check("rtt", "RTT", nothing, nothing, 50, 1.0).ok
    assert not share_check("tcp", "TCP", "bit/s", 1e6, None, 0.02).ok
    assert not at_most_check("contact", "AOS", [], 0.02).ok
    assert not at_most_check("contact", "AOS", [0.001, math.nan], 0.02).ok
    assert not loss_check("loss", "loss", 0.2, 0, 0).ok


def test_an_error_counts_on_either_side() -> None:
    requested = np.full(100, 0.01)
    assert delay_check("rtt", "RTT", requested, requested + 1e-4, 99, 2e-4).ok
    assert not delay_check("rtt", "RTT", requested, requested - 3e-4, 50, 2e-4).ok
    assert share_check("tcp", "TCP", "bit/s", 100.0, 98.1, 0.02).ok
    assert not share_check("tcp", "TCP", "bit/s", 100.0, 102.1, 0.02).ok
    assert not none_check("pass", "reordered", 1, 1000).ok


def test_a_judged_figure_is_fit_for_json() -> None:
    some = np.array([0.01, 0.02])
    checks = [
        delay_check("rtt", "RTT", some, some, 99, 1.0),
        share_check("tcp", "TCP", "bit/s", np.float64(1e6), np.float64(1e6), 0.02),
        loss_check("loss", "loss", 0.2, 100, int(np.int64(20))),
        at_most_check("contact", "AOS", [np.float64(0.001)], 0.02),
        at_most_check("contact", "AOS", [math.nan], 0.02),
    ]
    for check in checks:  # neither numpy's numbers nor NaN, which JSON does not have
        assert json.loads(json.dumps(check.to_json(), allow_nan=False)) == check.to_json()
    assert [check.to_json()["ok"] for check in checks] == [True] * 4 + [False]
    assert {type(check.to_json()["ok"]) for check in checks} == {bool}


def test_reordered_and_lost_packets_are_counted() -> None:
    arrived = np.array([0, 1, 4, 2, 3, 6])
    stream = Stream(64, np.arange(8), arrived, arrived)
    assert (stream.reordered, stream.lost) == (2, 2)
    assert Stream(64, np.arange(8), arrived[:0], arrived[:0]).reordered == 0


def test_an_rtt_leaves_out_the_time_at_the_ground() -> None:
    there_and_back = [0, 10_000_000, 50_000_000, 61_000_000, 100_000, 50_300_000]
    probed = Probed(np.array([there_and_back, [5, 0, 0, 0, 6, 0]]), None, None)
    assert probed.lost == 1
    assert rtt_s(probed.answered_ns) == pytest.approx([0.021])
    assert link_rtt_s(probed.answered_ns) == pytest.approx([0.021 - 0.0001 - 0.0003])


def test_a_probe_without_a_stamp_of_leaving_counts_from_its_send_call() -> None:
    stamped = np.array([[0, 10_000_000, 50_000_000, 61_000_000, 0, 50_300_000]])
    assert link_rtt_s(stamped) == pytest.approx([0.021 - 0.0003])


def test_the_steepest_pass_changes_ten_times_a_second_and_is_steeper_than_the_real_one() -> None:
    trace = steepest_pass(5.0)
    (contact,) = trace.contacts()
    up = trace.time_s[trace.up]
    assert np.median(np.diff(up)) == pytest.approx(0.1)
    assert contact.duration_s == pytest.approx(353 / 50, abs=0.1)
    steepness = np.abs(np.diff(trace.down_delay_s[trace.up]) / np.diff(up)).max()
    assert steepness == pytest.approx(50 * 23.9e-6, rel=0.03)
    assert trace.down_delay_s[trace.up].min() == pytest.approx(0.82e-3, rel=0.01)


def long_trace() -> Trace:
    time_s = np.arange(0.0, 100.0)
    up = (time_s >= 10) & (time_s < 90)
    delay_s = np.where(up, 0.005 + 1e-4 * np.clip(time_s - 60, 0, 10), 0.0)
    rate = np.where(up, 1e6, 0.0)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    zero = np.zeros(100)
    return Trace(header, time_s, up, up, rate, rate, delay_s, delay_s, zero, zero, end_s=100.0)


def test_the_steepest_piece_of_a_users_trace_is_taken() -> None:
    piece = steepest_piece(long_trace(), 12.0)
    assert piece.end_s == 12.0
    assert np.ptp(piece.down_delay_s) == pytest.approx(1e-3)
    assert steepest_piece(piece, 60.0) == piece
    assert quickened(piece, 4.0).end_s == 3.0


def test_the_table_says_which_bound_was_missed_and_fits_80_columns() -> None:
    checks = [
        share_check("tcp", "TCP goodput, 200 Mbit/s", "bit/s", 191e6, 180e6, 0.02),
        none_check("pass", "lost along the pass", 0, 1000),
        loss_check("loss", "loss down", 0.2, 1000, 200),
        at_most_check("contact", "AOS to first packet", [0.012], 0.02),
    ]
    console = Console(width=90, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(checks_table(checks, "title", "caption"))
    text = console.export_text()
    assert text.count("FAIL") == 1
    assert text.count("pass ") >= 3
    assert "191.000 Mbit/s" in text
    assert "<= 20 ms" in text
    assert "-5.76 %" in text
    assert bound_text(checks[1]) == "0"
    assert quantity(None, "s") == "-"


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    times = np.linspace(0, 1, 50)
    plot_pass(AlongPass(times, times, times + 1e-4), "title", tmp_path / "pass.svg")
    assert "measured" in (tmp_path / "pass.svg").read_text()


def arguments(**given: object) -> argparse.Namespace:
    usual = {"shaper": "auto", "trace": None, "capture": None, "quick": True, "plot": None, "json": True}
    return argparse.Namespace(**usual | {"only": GROUPS} | given)


def test_what_cannot_be_done_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CapabilityError, match="needs root: use sudo"):
        run(arguments())
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(InputError, match=r"plot .*pass\.txt: expected a name ending in \.png"):
        run(arguments(plot=tmp_path / "pass.txt"))
    with pytest.raises(InputError, match="there is no folder"):
        run(arguments(plot=tmp_path / "none/pass.png"))
    with pytest.raises(InputError, match="--plot needs the pass: add pass to --only"):
        run(arguments(plot=tmp_path / "pass.png", only=["rtt"]))
    whole = long_trace()
    write_trace(whole.cut(0.0, 9.0), tmp_path / "silent.csv")
    with pytest.raises(InputError, match=r"silent\.csv has no contact"):
        run(arguments(trace=tmp_path / "silent.csv"))


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "sudo spaceverse verify --shaper nfqueue --plot pass.png" in said
    assert "exit codes: 0 every bound was kept" in said
