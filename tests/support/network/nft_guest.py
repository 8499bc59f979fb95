"""Program for User-Mode Linux: tests the nfqueue shaper with nft's own queue, and prints one JSON line."""

import json

from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import DOWN_STATE, Direction
from tests.support.network.pair import GROUND, Pair, state


def main() -> None:
    """Ping through a link of 2 x 20 ms, then with an unknown neighbour, then while the link is down."""
    with EmulatedNetwork("nfqueue") as network:
        pair = Pair(network)
        pair.link.set(state(20e6, 0.020), state(20e6, 0.020))
        seen = {"hook": pair.shaper.hook, "rtts_ms": pair.rtts_ms(20, "-i", "0.05")}
        pair.satellite.cmd(f"ip neigh del {GROUND} dev s0-eth0")
        seen["rtt_with_arp_ms"] = pair.rtts_ms(1)[0]
        pair.link.set(DOWN_STATE, DOWN_STATE)
        seen["rtts_while_down_ms"] = pair.rtts_ms(1)
        seen["arrived"] = pair.shaper.counters("s0-g0", Direction.DOWN)["arrived"]
        print(json.dumps(seen))


main()
