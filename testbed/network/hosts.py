"""Mininet hosts for the testbed's own runs, without what Mininet does to the machine beside them."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from mininet.net import Mininet

from testbed.errors import CapabilityError
from testbed.machine.system_path import find_program, system_path


class HostNetwork(Mininet):  # type: ignore[misc]  # Mininet is untyped
    """A Mininet of hosts only: no switch, no controller, and no change to the machine's sysctls and limits.

    A context manager: leaving it stops every host. Links are added with `addLink(a, b, cls=ContactLink)`.
    """

    def __init__(self, **options: Any) -> None:
        if os.geteuid() != 0:
            raise CapabilityError("emulated hosts need root; run with sudo")
        for program in ("mnexec", "ifconfig"):
            if find_program(program) is None:
                raise CapabilityError(
                    f"Mininet needs the program {program}: apt-get install mininet net-tools"
                )
        os.environ["PATH"] = system_path()  # of the hosts' shells, in which Mininet calls ifconfig
        # Mininet's first object raises rlimits and a dozen sysctls of the machine and never lowers them;
        # told that this was done, it does not.
        done, Mininet.inited = Mininet.inited, True
        try:
            super().__init__(topo=None, build=False, controller=None, **options)
        finally:
            Mininet.inited = done

    def addHost(self, name: str, cls: Any = None, **params: Any) -> Any:  # noqa: N802 - Mininet's name
        """Add a host; its addresses are those of its links, unless `ip` gives its first interface one."""
        return super().addHost(name, cls=cls, **{"ip": None, **params})

    def __enter__(self) -> HostNetwork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:  # a link that cannot be deleted keeps no host alive
            for host in self.hosts:
                if host.shell is not None:
                    host.terminate()
