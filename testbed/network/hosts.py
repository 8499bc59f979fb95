"""Emulated hosts: Mininet's, without what Mininet does to the machine beside them, and how to use one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mininet.net import Mininet
from mininet.node import Host

from testbed.errors import CapabilityError, LinkError, TestbedError
from testbed.forks.forks import Forks
from testbed.kernel.host_namespace import HostNamespace
from testbed.machine.system_path import find_program, system_path
from testbed.network.programs import Process, ask_session_to_end, end_session, spawn

MARK = "SPACEVERSE_HOST"  # variable in the environment of a host's programs


class ContactHost(Host):  # type: ignore[misc]  # Mininet is untyped
    """A Mininet host whose shell is started when it is first used.

    Without one, a host costs a millisecond and no process.

    Attributes:
        namespace: its namespaces, which outlive its shell.
    """

    def __init__(self, name: str, **params: Any) -> None:
        self.namespace = HostNamespace.make(f"of {name}")
        self._shell: subprocess.Popen[Any] | None = None
        self._starts = False
        self._ended = False
        try:
            super().__init__(name, **params)
        except BaseException:
            self.namespace.close()
            raise

    @property
    def shell(self) -> subprocess.Popen[Any] | None:
        """The shell, which is started by the first look; None once the host has ended."""
        if self._shell is None and not (self._ended or self._starts):
            self._starts, self.inNamespace = True, False  # or mnexec makes further namespaces
            try:
                super().startShell()
            finally:
                self._starts, self.inNamespace = False, True
        return self._shell

    @shell.setter
    def shell(self, shell: subprocess.Popen[Any] | None) -> None:
        self._shell = shell

    @property
    def pid(self) -> int | None:
        """Process id of the shell, which is started by the first look."""
        shell = self.shell
        return None if shell is None else shell.pid

    @pid.setter
    def pid(self, pid: int | None) -> None:
        """Do nothing: it is the shell's."""

    @property
    def shell_pid(self) -> int | None:
        """Process id of the shell if that runs."""
        running = self._shell is not None and self._shell.poll() is None
        return self._shell.pid if running and self._shell is not None else None

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's names
        """Do nothing yet; see `shell`."""

    def _popen(self, cmd: Sequence[str], **params: Any) -> subprocess.Popen[Any]:
        """Start a program in the host's namespaces."""
        return self.namespace.call(lambda: subprocess.Popen(cmd, cwd=Path.cwd(), **params))

    def config(
        self,
        mac: str | None = None,
        ip: str | None = None,
        defaultRoute: str | None = None,  # noqa: N803 - Mininet's name
        lo: str = "up",
        **_: Any,
    ) -> dict[str, Any]:
        """Apply Mininet's parameters, without a shell as far as possible."""
        result: dict[str, Any] = {}
        self.setParam(result, "setMAC", mac=mac)
        self.setParam(result, "setIP", ip=ip)
        self.setParam(result, "setDefaultRoute", defaultRoute=defaultRoute)
        self.namespace.set_up("lo", lo == "up")
        return result

    def terminate(self) -> None:
        """End the shell and everything in the namespaces."""
        try:
            if self._shell is not None:
                super().terminate()
        finally:
            self._ended = True
            self.namespace.release()


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
        return super().addHost(name, cls=cls or ContactHost, **{"ip": None, **params})

    def __enter__(self) -> HostNetwork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:  # a link that cannot be deleted keeps no host alive
            for host in self.hosts:
                host.terminate()
                if isinstance(host, ContactHost):
                    host.namespace.close()


class EmulatedHost:
    """A host of an emulated network; runs programs.

    Args:
        name: what a scenario or a script calls it.
        node: the Mininet host.
        addresses: the IPv4 address of each host of the network, by name; read when a command is given.

    Attributes:
        processes: programs that were started and not ended.
        has_run: whether there were any, which may have left others behind.
        mark: variable in their environment, and in nobody else's.
    """

    def __init__(self, name: str, node: Any, addresses: Mapping[str, str]) -> None:
        self.name = name
        self.node = node
        self._addresses = addresses
        self._space: HostNamespace = node.namespace
        self.has_run = False
        self.processes: list[subprocess.Popen[Any]] = []
        self._stand_in: subprocess.Popen[Any] | None = None
        self.mark = f"{MARK}={uuid.uuid4().hex}".encode()

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
        """Id of a process in the host's namespaces: its shell if that runs, or one that does nothing."""
        if (pid := self.node.shell_pid) is not None:
            return int(pid)
        if self._stand_in is None or self._stand_in.poll() is not None:
            self._stand_in = self._space.call(self._start_stand_in)
        return self._stand_in.pid

    @property
    def namespace_path(self) -> str:
        """Path of the host's network namespace, for setns or `nsenter --net=`."""
        return self._space.path

    def popen(self, command: str | Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the host; it ends with the network at the latest.

        Args:
            command: a program with its arguments, or text for the shell. In text, a host's name in braces
                stands for its address: `iperf3 -c {ground}`.
            options: for `subprocess.Popen`; the streams are text unless `text=False`.
        """
        words = self._words(command)
        settings = {"text": True, "stdin": subprocess.DEVNULL, **options}
        mark, _, value = self.mark.decode().partition("=")
        settings["env"] = {**(settings.get("env") or os.environ), mark: value}

        def start() -> subprocess.Popen[Any]:
            process = spawn(words, netns_pid=self.pid, **settings)
            self.has_run = True
            self.processes.append(process)  # here, so that no interrupt of the caller comes in between
            return process

        # A program ends with the thread that started it. The namespace's thread lives as long as the host.
        return self._space.call(start)

    def fork(self, forks: Forks, command: Sequence[str], output: BinaryIO) -> Process:
        """Start a Python program in the host, as a fork if `forks` has its module.

        Args:
            forks: forks programs; they end with it, too.
            command: a program with its arguments.
            output: file for what it prints.
        """
        if command[:2] == [sys.executable, "-m"] and command[2] in forks.modules:
            with self._space.descriptors() as namespaces:
                return forks.start(command[2], command[3:], output.fileno(), namespaces=namespaces)
        return spawn(command, netns_pid=self.pid, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

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
            self.processes.remove(process)
        if check and process.returncode != 0:
            lines = (errors.strip() or out.strip() or "it printed nothing").splitlines()
            raise TestbedError(
                f"{self.name}: {shown!r} ended with exit code {process.returncode}: {lines[-1]}"
            )
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def end_programs(self) -> None:
        """End every program in the host, also those that left their session."""
        end_programs_of([self])

    def _start_stand_in(self) -> subprocess.Popen[Any]:
        process = spawn(["sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def _words(self, command: str | Sequence[str]) -> list[str]:
        if not isinstance(command, str):
            return list(command)
        for name, address in self._addresses.items():
            command = command.replace(f"{{{name}}}", address)
        return ["sh", "-c", command]


def end_programs_of(hosts: Sequence[EmulatedHost]) -> None:
    """End every program in some hosts, also those that left their session, side by side."""
    processes = [process for host in hosts for process in host.processes]
    for process in processes:
        ask_session_to_end(process)
    for process in reversed(processes):
        end_session(process)
    # Programs that have left the session in which they were started are told by their environment.
    marks = {host.mark for host in hosts if host.has_run}
    for entry in Path("/proc").glob("[0-9]*/environ") if marks else ():
        with suppress(OSError):  # it has ended meanwhile
            if not marks.isdisjoint(entry.read_bytes().split(b"\0")):
                os.kill(int(entry.parent.name), signal.SIGKILL)
    for host in hosts:
        host.processes.clear()
        host.has_run = False
