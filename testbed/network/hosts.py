"""Emulated hosts: Mininet's, without what Mininet does to the machine beside them, and how to use one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mininet.net import Mininet

from testbed.errors import CapabilityError, LinkError, TestbedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine.system_path import find_program, system_path
from testbed.network.programs import end_session, spawn

MARK = "SPACEVERSE_HOST"  # variable in the environment of a host's programs
STANDS_IN_WITHIN_S = 2.0


class HostNamespaces:
    """The network and mount namespaces of a host, kept by descriptors, so that no process has to live there.

    Args:
        pid: a process in them.

    Attributes:
        net: path of the network namespace, for setns or `nsenter --net=`.
        mount: path of the mount namespace.
    """

    def __init__(self, pid: int) -> None:
        self._descriptors: list[int] = []
        try:
            self.net, self.mount = self._keep(pid, "net"), self._keep(pid, "mnt")
        except BaseException:
            self.close()
            raise

    def hold(self, process: subprocess.Popen[Any]) -> bool:
        """Return whether a process is in these namespaces."""
        with suppress(OSError):
            return all(
                os.path.samestat(Path(f"/proc/{process.pid}/ns/{kind}").stat(), os.fstat(descriptor))
                for kind, descriptor in zip(("net", "mnt"), self._descriptors, strict=True)
            )
        return False

    def release(self) -> None:
        """Let the namespaces go, and keep the paths from leading to others."""
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for descriptor in self._descriptors:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)

    def close(self) -> None:
        """Let the namespaces go; the paths may lead to others from now on. May be called twice."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _keep(self, pid: int, kind: str) -> str:
        descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors.append(descriptor)
        return f"/proc/{os.getpid()}/fd/{descriptor}"


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
        node = super().addHost(name, cls=cls, **{"ip": None, **params})
        node.namespaces = HostNamespaces(node.pid)
        terminate = node.terminate

        def terminate_and_release() -> None:
            try:
                terminate()
            finally:
                node.namespaces.release()

        node.terminate = terminate_and_release
        return node

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
                host.namespaces.close()


class EmulatedHost:
    """A host of an emulated network; runs programs.

    Args:
        name: what a scenario or a script calls it.
        node: the Mininet host.
        addresses: the IPv4 address of each host of the network, by name; read when a command is given.
    """

    def __init__(self, name: str, node: Any, addresses: Mapping[str, str]) -> None:
        self.name = name
        self.node = node
        self._addresses = addresses
        self._namespace: NetworkNamespace | None = None
        self._processes: list[subprocess.Popen[Any]] = []
        self._stand_in: subprocess.Popen[Any] | None = None
        self._mark = f"{MARK}={uuid.uuid4().hex}".encode()

    def __repr__(self) -> str:
        return f"<host {self.name}, {self._addresses.get(self.name, 'no address')}>"

    @property
    def address(self) -> str:
        """IPv4 address of its first link."""
        try:
            return self._addresses[self.name]
        except KeyError:
            raise LinkError(f"host {self.name} has no address: it has no link") from None

    @property
    def pid(self) -> int:
        """Process id of the host's shell, whose namespaces are the host's; of another one if it has died."""
        if self.node.shell is None or self.node.shell.poll() is None:
            return int(self.node.pid)
        if self._stand_in is None or self._stand_in.poll() is not None:
            self._stand_in = self._enter().call(self._start_stand_in)
        return self._stand_in.pid

    @property
    def namespace_path(self) -> str:
        """Path of the host's network namespace, for setns or `nsenter --net=`."""
        return str(self.node.namespaces.net)

    def popen(self, command: str | Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the host; it ends with the network at the latest.

        Args:
            command: a program with its arguments, or text for the shell. In text, a host's name in braces
                stands for its address: `iperf3 -c {ground}`.
            options: for `subprocess.Popen`; the streams are text unless `text=False`.
        """
        words = self._words(command)
        settings = {"text": True, "stdin": subprocess.DEVNULL, **options}
        mark, _, value = self._mark.decode().partition("=")
        settings["env"] = {**(settings.get("env") or os.environ), mark: value}

        def start() -> subprocess.Popen[Any]:
            process = spawn(words, netns_pid=self.pid, **settings)
            self._processes.append(process)  # here, so that no interrupt of the caller comes in between
            return process

        # A program ends with the thread that started it. The namespace's thread lives as long as the host.
        return self._enter().call(start)

    def run(
        self, command: str | Sequence[str], *, timeout_s: float | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the host to its end and return its output.

        Args:
            command: as for `popen`.
            timeout_s: seconds after which the program is ended and TestbedError raised.
            check: raise TestbedError with its last line if it ends with another exit code than 0.
        """
        process = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        shown = command if isinstance(command, str) else " ".join(command)
        try:
            out, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TestbedError(f"{self.name}: {shown!r} did not end within {timeout_s:g} s") from None
        finally:
            end_session(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            self._processes.remove(process)
        if check and process.returncode != 0:
            lines = (errors.strip() or out.strip() or "it printed nothing").splitlines()
            raise TestbedError(
                f"{self.name}: {shown!r} ended with exit code {process.returncode}: {lines[-1]}"
            )
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def end_programs(self) -> None:
        """End every program in the host, also those that left their session."""
        while self._processes:
            end_session(self._processes[-1])
            self._processes.pop()
        if self._namespace is not None:
            self._kill_others()
            self._namespace.close()
            self._namespace = None

    def _start_stand_in(self) -> subprocess.Popen[Any]:
        """Start a process that does nothing, in the host's namespaces."""
        namespaces = self.node.namespaces
        command = ["nsenter", f"--net={namespaces.net}", f"--mount={namespaces.mount}", "sleep", "infinity"]
        process = spawn(command, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        give_up_s = time.monotonic() + STANDS_IN_WITHIN_S
        while not namespaces.hold(process):
            if process.poll() is not None or time.monotonic() > give_up_s:
                raise TestbedError(
                    f"{self.name}: its shell has died, and nsenter cannot enter its namespaces"
                )
            time.sleep(0.005)
        return process

    def _words(self, command: str | Sequence[str]) -> list[str]:
        if not isinstance(command, str):
            return list(command)
        for name, address in self._addresses.items():
            command = command.replace(f"{{{name}}}", address)
        return ["sh", "-c", command]

    def _enter(self) -> NetworkNamespace:
        if self._namespace is None:
            self._namespace = NetworkNamespace.enter(self.namespace_path, f"of {self.name}")
        return self._namespace

    def _kill_others(self) -> None:
        """Kill programs that have left the session in which they were started, told by their environment."""
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has ended meanwhile
                if self._mark in entry.read_bytes().split(b"\0"):
                    os.kill(int(entry.parent.name), signal.SIGKILL)
