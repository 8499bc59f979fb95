"""iperf3 and ping through a link while a player replays a pass; the same for every shaper."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import LinkState
from tests.support.starved import unless_starved
from traces.trace import Trace, TraceHeader

SATELLITE, GROUND = "10.66.0.1", "10.66.0.2"
RTT_FRAME_BITS = 98 * 8  # ping's default: Ethernet 14, IP 20, ICMP 8, data 56


@dataclass(frozen=True)
class Measured:
    """Measurements of programs on a played link.

    `able_bit_s` is the link's rate, or that of a TCP flow over a constant link if the machine is slower.
    """

    goodput_bit_s: float
    able_bit_s: float
    rtt_errors_s: list[float]
    changes: int

    @property
    def median_rtt_error_s(self) -> float:
        return statistics.median(abs(error_s) for error_s in self.rtt_errors_s)


def pass_like_trace(rate_bit_s: float, length_s: float = 20.0) -> Trace:
    """Return a contact from 0.5 s on: ten changes of delay per second, 7 to 2 ms, at a constant rate."""
    time_s = np.array([0.0, *np.arange(0.5, length_s, 0.1)])
    up = time_s > 0
    delay_s = np.where(up, 0.0045 + 0.0025 * np.cos(2 * np.pi * time_s / length_s), 0.0)
    rate, loss = np.where(up, rate_bit_s, 0.0), np.zeros_like(time_s)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    return Trace(header, time_s, up, up, rate, rate, delay_s, delay_s, loss, loss, end_s=length_s)


def measure(shaper: str, rate_bit_s: float) -> Measured:
    """Ping for 3 s on the idle link, then one TCP flow for 4 s, while the trace is played."""
    trace = pass_like_trace(rate_bit_s)
    with EmulatedNetwork(shaper) as network:
        satellite, ground = (network.add_host(name).node for name in ("s", "g"))
        link = network.add_link("s", "g", name="link", addresses=(f"{SATELLITE}/24", f"{GROUND}/24"))
        network.start()
        clock = RealClock()
        changes: list[Any] = []
        network.play({link.name: trace}, clock, changes.append)
        errors_s = ping_errors_s(satellite, trace, clock)
        goodput_bit_s = tcp_goodput_bit_s(satellite, ground)
        network.stop()
        network.check()
        able_bit_s = rate_bit_s
        if goodput_bit_s < 0.9 * rate_bit_s:
            constant = LinkState(True, rate_bit_s, 0.0045, queue_bytes=round(rate_bit_s / 8 * 0.2))
            link.set(constant, constant)
            able_bit_s = min(rate_bit_s, tcp_goodput_bit_s(satellite, ground) * 1514 / 1448)
    return Measured(goodput_bit_s, able_bit_s, errors_s, len(changes))


def check_follows_a_pass(shaper: str, rate_bit_s: float) -> None:
    """Check delays to 1 ms at the median and TCP goodput to 90 % of the rate, with ten changes per second.

    On a slow machine the goodput over a constant link replaces the rate if it is lower.
    """

    def keeps(measured: Measured) -> bool:
        return measured.goodput_bit_s >= 0.9 * measured.able_bit_s and measured.median_rtt_error_s < 1e-3

    measured = unless_starved(lambda: measure(shaper, rate_bit_s), keeps)
    print(
        f"{shaper}, {rate_bit_s / 1e6:.0f} Mbit/s: goodput {measured.goodput_bit_s / 1e6:.1f} "
        f"of {measured.able_bit_s / 1e6:.1f} Mbit/s, "
        f"RTT error {measured.median_rtt_error_s * 1e3:.3f} ms, {measured.changes} changes"
    )
    assert len(measured.rtt_errors_s) >= 50
    assert measured.changes > 50


def ping_errors_s(satellite: Any, trace: Trace, clock: RealClock) -> list[float]:
    """Return the measured RTTs minus those of the trace at the same moments."""
    clock_wall_s = datetime.now(timezone.utc).timestamp() - clock.now_s()
    out, _, _ = satellite.pexec("ping", "-D", "-c", "100", "-i", "0.03", "-W", "1", GROUND)
    errors_s = []
    for stamp, rtt_ms in re.findall(r"\[([\d.]+)\].*time=([\d.]+) ms", out):
        rtt_s = float(rtt_ms) / 1e3
        row = trace.row_at(float(stamp) - clock_wall_s - rtt_s)
        if row.up:
            serialisation_s = RTT_FRAME_BITS / row.down_bit_s + RTT_FRAME_BITS / row.up_bit_s
            errors_s.append(rtt_s - row.down_delay_s - row.up_delay_s - serialisation_s)
    return errors_s


def tcp_goodput_bit_s(client: Any, server: Any, for_s: float = 4.0) -> float:
    """Return the payload rate at the receiver of one cubic flow, without its first second."""
    listening = server.popen(["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE)
    try:
        while b"listening" not in (line := listening.stdout.readline()):
            assert line, "iperf3's server ended"
        out, err, code = client.pexec(
            "iperf3", "-c", GROUND, "-t", str(for_s), "-O", "1", "-C", "cubic", "-J"
        )
        assert code == 0, err or out
        return float(json.loads(out)["end"]["sum_received"]["bits_per_second"])
    finally:
        listening.terminate()
        listening.communicate()
