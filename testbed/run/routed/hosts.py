"""The hosts of a run whose routes follow its contacts."""

from __future__ import annotations

from contextlib import ExitStack

from testbed.network.emulation import EmulatedNetwork
from testbed.network.routes.routed_hosts import Neighbour, RoutedHost
from testbed.run.plan import RunPlan


def routed_hosts(stack: ExitStack, plan: RunPlan, network: EmulatedNetwork) -> dict[str, RoutedHost]:
    """Give the hosts of a run their own addresses, and let them forward packets; {} without mission control.

    Args:
        stack: gives them back at its end.
        plan: the run.
        network: its hosts and links.
    """
    if plan.routing is None:
        return {}
    neighbours: dict[str, dict[str, Neighbour]] = {name: {} for name in plan.routing.addresses}
    for link in plan.scenario.network_links:
        for ground, (node, other) in enumerate((link.ends, link.ends[::-1])):
            if {node, other} <= neighbours.keys():
                peer = plan.address(link, ground=not ground)
                neighbours[node][other] = Neighbour(plan.interface(link), peer)
    made = {}
    for name, address in plan.routing.addresses.items():
        path = network.hosts[name].namespace_path
        made[name] = host = RoutedHost(name, path, address, neighbours[name])
        stack.callback(host.close)
    return made
