"""What `spaceverse doctor` says of each shaper."""

from __future__ import annotations

import os
import platform

from testbed.errors import TestbedError
from testbed.machine.capabilities import AS_ROOT, Capability
from testbed.network.shapers.netem.shaper import netem_fix, netem_lack
from testbed.network.shapers.nfqueue.hook import NFQUEUE_FIX, nfqueue_way


def shaper_capabilities() -> list[Capability]:
    """Try each shaper; never raises."""
    found = []
    for name, tried in (("netem", _netem), ("nfqueue", _nfqueue)):
        try:
            found.append(tried())
        except TestbedError as error:
            found.append(Capability(name, False, str(error), "shapes links", "try again with fewer programs"))
    return found


def _netem() -> Capability:
    lack = netem_lack()
    why = "shapes links inside the kernel: many links, high rates"
    if lack is None:
        return Capability("netem", True, f"sch_netem works in Linux {platform.release()}", why)
    fix = AS_ROOT if os.geteuid() != 0 else netem_fix()
    return Capability("netem", False, lack, why, fix)


def _nfqueue() -> Capability:
    why = "shapes links from user space where the kernel has no netem"
    if os.geteuid() != 0:
        return Capability("nfqueue", False, "not probed without root", why, AS_ROOT)
    way = nfqueue_way()
    if way is None:
        return Capability("nfqueue", False, "neither nft nor iptables can queue packets", why, NFQUEUE_FIX)
    return Capability("nfqueue", True, f"by {way}", why)
