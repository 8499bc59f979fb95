"""A satellite and two ground stations in plain Mininet, with contact links and Mininet's command line.

    sudo python topologies/three_hosts.py
    mininet> sat ping -c 3 svalbard
    mininet> sat iperf3 -c 10.0.2.2
    mininet> py net.linksBetween(sat, inuvik)[0].states()

A Mininet script of your own needs `cls=ContactLink`, and a state or a trace per link.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mininet.cli import CLI
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.topo import Topo

from testbed import ContactLink, LinkState, Sky, TestbedError

DOWNLINK = LinkState(up=True, rate_bit_s=8e6, delay_s=0.004, queue_s=0.2)
UPLINK = LinkState(up=True, rate_bit_s=250e3, delay_s=0.004, queue_s=0.2)


class ThreeHosts(Topo):  # type: ignore[misc]  # Mininet is untyped
    """Links sat --- svalbard and sat --- inuvik, each an IP network of its own."""

    def build(self, *, sky: Sky, trace: Path | None = None) -> None:
        """Add hosts and links; called by Mininet.

        Args:
            sky: the sky that holds the links.
            trace: trace file of the link to Svalbard; if None, both links are up all the time.
        """
        satellite = self.addHost("sat", ip=None)
        for number, name in enumerate(("svalbard", "inuvik"), start=1):
            follows: dict[str, Any] = {"down": DOWNLINK, "up": UPLINK}
            if trace is not None and name == "svalbard":
                follows = {"trace": trace}
            self.addLink(
                satellite,
                self.addHost(name, ip=None),
                cls=ContactLink,
                sky=sky,
                params1={"ip": f"10.0.{number}.1/30", "ip6": f"fd00:{number}::1/64"},
                params2={"ip": f"10.0.{number}.2/30", "ip6": f"fd00:{number}::2/64"},
                **follows,
            )


def main() -> int:
    """Build the network, start Mininet's command line, and remove the network."""
    parser = argparse.ArgumentParser(
        description="A satellite and two ground stations in plain Mininet. Needs root.",
        epilog="example: sudo python topologies/three_hosts.py --trace pass.csv",
    )
    parser.add_argument(
        "--shaper", choices=["nfqueue", "netem"], help="default: the best one that this machine supports"
    )
    parser.add_argument(
        "--trace", type=Path, help="trace file of the link to Svalbard, played from the start"
    )
    parser.add_argument("--commands", type=Path, help="file of Mininet commands to run instead of a prompt")
    arguments = parser.parse_args()
    setLogLevel("info")
    try:
        with Sky(arguments.shaper) as sky:
            net = Mininet(topo=ThreeHosts(sky=sky, trace=arguments.trace), controller=None)
            try:
                net.start()
                CLI(net, script=arguments.commands and str(arguments.commands))
                sky.check()
            finally:
                net.stop()
    except (TestbedError, ValueError) as error:
        print(f"three_hosts: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
