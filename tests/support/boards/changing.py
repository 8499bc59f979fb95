"""Makes and undoes every kind of change, and kills itself at the moments given as input.

A moment is a number of function calls, so that it does not depend on the speed of the machine.
"""

from __future__ import annotations

import os
import signal
import sys

from testbed.boards.machine_network.changes import HostChanges
from testbed.boards.machine_network.journal import Journal


def change_everything(changes: HostChanges) -> None:
    changes.stop_merging_received("nic0")
    changes.set_up("spare0")
    changes.set_promiscuous("nic0")
    changes.set_mtu("nic0", 1400)
    changes.set_master("spare0", "bridge0")
    changes.write_sysctl("ipv4/conf/nic0/forwarding", "1", interface="nic0")
    changes.write_sysctl("ipv4/conf/nic0/rp_filter", "2", interface="nic0")
    changes.add_address("nic0", "192.0.2.1/24")
    changes.add_address("nic0", "2001:db8::1/64")
    changes.add_route("nic0", "198.51.100.7/32")
    changes.add_route("nic0", "203.0.113.0/24", table=77)
    changes.add_rule("198.51.100.7/32", table=77, priority=4711)


def one_round(kill_at: int) -> int:
    """Make and undo all changes; return the number of calls, unless killed before."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    changes = HostChanges(Journal("test"))
    change_everything(changes)
    changes.undo()
    sys.setprofile(None)
    return calls


def main() -> None:
    one_round(0)  # calls that Python makes only the first time
    print(one_round(0), flush=True)
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            one_round(int(line))
            os._exit(0)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
