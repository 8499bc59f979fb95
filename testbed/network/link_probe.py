"""The pair of probe programs that measures one link, one at each end; see `testbed.measure.probe`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nodes.clocks.timescale import Timescale
from testbed.measure.fidelity import Interval, LinkFidelity, QueuesMet, compare
from testbed.measure.probe import PORT
from testbed.network.link_state import LOWEST_RATE_BIT_S
from testbed.network.programs import Program
from traces.trace import Trace


def probe_command(peer: str, rate_bit_s: float, out: Path, *, asks: bool, port: int = PORT) -> list[str]:
    """Return the command of the probe at one end.

    Args:
        peer: IPv4 address of the other end.
        rate_bit_s: highest rate of the direction away from this end.
        out: file for its records.
        asks: whether this end sends the round-trip probes.
        port: UDP port at both ends.
    """
    command = [sys.executable, "-m", "testbed.measure.probe", "--peer", peer, "--rate", str(rate_bit_s)]
    command += ["--output", str(out), "--port", str(port)]
    return [*command, "--asks"] if asks else command


@dataclass(frozen=True)
class ProbeEnd:
    """One end of a probed link.

    Args:
        pid: a process in the host, whose network namespace the probe joins.
        address: IPv4 address of the host.
        records: file for what the probe measures there.
        log: file for what the probe prints.
    """

    pid: int
    address: str
    records: Path
    log: Path


class LinkProbe:
    """Measures one link while its trace is played.

    Args:
        link: the link's name.
        trace: what the link follows.
        satellite, ground: the ends.
        port: UDP port at both ends; links that share a host need different ones.
    """

    def __init__(
        self, link: str, trace: Trace, satellite: ProbeEnd, ground: ProbeEnd, port: int = PORT
    ) -> None:
        self.link, self.trace = link, trace
        self.records = (satellite.records, ground.records)
        self.programs: list[Program] = []
        rates_bit_s = (
            float(trace.down_bit_s[trace.downlink_up].max(initial=LOWEST_RATE_BIT_S)),
            float(trace.up_bit_s[trace.uplink_up].max(initial=LOWEST_RATE_BIT_S)),
        )
        for name, end, peer, rate_bit_s in (
            ("satellite", satellite, ground, rates_bit_s[0]),
            ("ground", ground, satellite, rates_bit_s[1]),
        ):
            asks = end is satellite
            command = probe_command(peer.address, rate_bit_s, end.records, asks=asks, port=port)
            self.programs.append(
                Program(f"probe at the {name}", command, log=end.log, netns_pid=end.pid),
            )

    def fidelity(
        self,
        *,
        shaper: str,
        start_monotonic_s: float,
        trace_name: str,
        busy: Sequence[Interval] = (),
        queues_met: QueuesMet | None = None,
        load: Mapping[str, Any] | None = None,
        counters: Mapping[str, Any] | None = None,
    ) -> LinkFidelity:
        """Compare what was measured so far with the trace.

        Args:
            shaper: the shaper's name and how it works, for the record.
            start_monotonic_s: CLOCK_MONOTONIC of scenario second 0.
            trace_name: the trace's file name, for the record.
            busy: intervals of scenario time in which other traffic was on the link.
            queues_met: what the link told of the queues that the probes met.
            load: how busy the machine was, see `ProcessorLoad.record`.
            counters: of the shaper, by direction.
        """
        record = compare(
            link=self.link,
            shaper=shaper,
            trace_name=trace_name,
            trace=self.trace,
            scale=Timescale.starting(start_monotonic_s),
            logs=self.records,
            busy=busy,
            queues_met=queues_met,
        )
        return replace(record, load=load, counters=counters)
