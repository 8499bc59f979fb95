"""A satellite and two ground stations in plain Mininet, with contact links and Mininet's command line.

    sudo python topologies/three_hosts.py
    mininet> sat ping -c 3 svalbard
    mininet> sat iperf3 -c 10.0.2.2
    mininet> py net.linksBetween(sat, inuvik)[0].states()

It shows how little a Mininet script of your own needs: `cls=ContactLink`, and a state or a trace per link.
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

from testbed.errors import TestbedError
from testbed.network.contact_link import ContactLink
from testbed.network.link_state import LinkState
from testbed.network.sky import Sky

DOWNLINK = LinkState(up=True, rate_bit_s=8e6, delay_s=0.004, queue_s=0.2)
UPLINK = LinkState(up=True, rate_bit_s=250e3, delay_s=0.004, queue_s=0.2)


class ThreeHosts(Topo):  # type: ignore[misc]  # Mininet is untyped
    """sat --- svalbard and sat --- inuvik, each link a network of its own.

    Args:
        trace: a trace file that the link to Svalbard follows; without one both links are up all the time.
    """

    def build(self, *, sky: Sky, trace: Path | None = None) -> None:
        """Add hosts and links; Mininet calls this."""
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
    """Build the network, hand it to Mininet's command line, and take it away."""
    parser = argparse.ArgumentParser(
        description="A satellite and two ground stations in plain Mininet. Needs root.",
        epilog="example: sudo python topologies/three_hosts.py --trace pass.csv",
    )
    parser.add_argument(
        "--shaper", choices=["nfqueue", "netem"], help="the better one of this machine if not given"
    )
    parser.add_argument("--trace", type=Path, help="trace file that the link to Svalbard follows from now on")
    parser.add_argument("--commands", type=Path, help="Mininet commands to run, instead of asking for them")
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
