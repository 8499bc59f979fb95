"""Run the user's programs on two hosts, joined by a link that plays a trace.

server (satellite's end) ---- link: down = server to client, as a download is ---- client (ground's end)
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from testbed.errors import CapabilityError, InputError
from testbed.machine.processor_load import ProcessorLoad
from testbed.machine.stop_request import Stopped, StopRequest
from testbed.measure.fidelity import WAYS, LinkFidelity
from testbed.measure.requested import Way
from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.hosts import EmulatedHost
from testbed.network.link_probe import LinkProbe
from testbed.network.player import unplayable
from testbed.network.programs import DIE_WITH_PARENT, Program, end_session, exit_code, spawn
from testbed.network.traffic import TrafficMonitor, busy_intervals
from testbed.replay import drawing
from testbed.replay.report import render
from testbed.replay.table import Tables, tables
from testbed.replay.timeline import BIN_S, Timeline, timeline
from testbed.run.folder import RunFolder
from traces.trace import Trace
from traces.trace_file import write_trace
from traces.utc import format_utc

SATELLITE, GROUND = "10.66.0.1", "10.66.0.2"  # inside the hosts' own namespaces
INTERFACE = "link0"
LEAD_S = 0.3
TICK_S = 0.05
DRAWN_BINS = 240  # so many at least, where bins of `SHORTEST_BIN_S` are enough for them
SHORTEST_BIN_S = 0.2
ASK_QUEUES_S = 60.0  # the shaper keeps 17 minutes
LISTENING_WITHIN_S = 5.0
LISTENING_ANYWAY_S = 1.0  # a server that opens no port is started all the same
_LISTEN = "0A"


@dataclass(frozen=True)
class ReplayPlan:
    """A replay: the trace and the programs that run across it.

    Args:
        trace: the link.
        name: name of the run's folder and of the trace's file in it.
        client, server: shell commands; {server} and {client} are replaced by addresses. None runs nothing.
        server_end: "satellite" (down is server to client) or "ground".
        shaper: "auto", "nfqueue" or "netem".
        client_at_s: scenario time at which the client starts, in seconds; None for the first contact.
        probe: whether to measure the link while the programs run.
        shell: whether to open an interactive shell in the client's host.
    """

    trace: Trace
    name: str
    client: str | None = None
    server: str | None = None
    server_end: str = "satellite"
    shaper: str = "auto"
    client_at_s: float | None = None
    probe: bool = True
    shell: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """Of {server} and {client}."""
        ends = (SATELLITE, GROUND) if self.server_end == "satellite" else (GROUND, SATELLITE)
        return dict(zip(("server", "client"), ends, strict=True))

    def command(self, text: str) -> list[str]:
        """Return the shell's command line for a client or server."""
        for word, address in self.addresses.items():
            text = text.replace(f"{{{word}}}", address)
        return ["sh", "-c", text]


@dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Args:
        folder: with the trace as played, logs and results.json.
        client_exit: the client's exit code; None if it was stopped at the trace's end, or there was none.
        fidelity: requested against measured; None without probes.
        played: what was requested, offered and carried over time.
        files: of the result, by what they hold.
        lateness_s: of each change of the link.
        counters: what became of the packets.
        exit_code: of the command.
    """

    folder: Path
    shaper: str
    start_utc: datetime
    client_exit: int | None
    fidelity: LinkFidelity | None
    played: Timeline
    files: Mapping[str, Path]
    lateness_s: tuple[float, ...]
    counters: dict[str, Any]
    notes: tuple[str, ...]
    exit_code: int

    def to_json(self) -> dict[str, Any]:
        """Return all but the samples, which are in the folder's fidelity.json."""
        late = np.array(self.lateness_s or (0.0,))
        return {
            "folder": str(self.folder),
            "shaper": self.shaper,
            "start_utc": format_utc(self.start_utc),
            "client_exit": self.client_exit,
            "traffic": self.played.to_json(),
            "fidelity": self.fidelity.summary() if self.fidelity else None,
            "files": {what: str(path) for what, path in self.files.items()},
            "changes": len(self.lateness_s),
            "lateness_p50_s": float(np.percentile(late, 50)),
            "lateness_p99_s": float(np.percentile(late, 99)),
            "counters": self.counters,
            "notes": list(self.notes),
        }

    def tables(self) -> Tables:
        """Return the tables to show."""
        return tables(self.played, self.fidelity, self.counters)


def at_speed(trace: Trace, speed: float | Literal["auto"]) -> Trace:
    """Let the same rates and delays follow each other `speed` times as fast. Raises InputError."""
    if speed == "auto" or not (0.001 <= speed <= 1000):
        raise InputError(f"--speed {speed}: expected 0.001 to 1000")
    if speed == 1:
        return trace
    header = replace(trace.header, notes=(*trace.header.notes, f"played at {speed:g} times its speed"))
    return replace(trace, header=header, time_s=trace.time_s / speed, end_s=trace.end_s / speed)


def replay(
    plan: ReplayPlan, parent: Path, say: Callable[[str], None], output: IO[Any] | None
) -> Replayed | int:
    """Play the trace under the programs; needs root.

    Args:
        plan: what to play.
        parent: where the run's folder is made.
        say: shows a line of progress.
        output: where the client's output goes; None: this process's own.

    Returns:
        The result, or the exit code if it was stopped by a signal.

    Raises:
        InputError: it cannot be run; nothing was left.
        TestbedError: something broke on the way.
    """
    if os.geteuid() != 0:
        raise CapabilityError("a replay creates network namespaces, which needs root: use sudo")
    if not plan.trace.contacts():
        raise InputError(f"the trace has no contact in its {plan.trace.end_s:g} s: nothing could pass")
    if (why := unplayable(plan.trace)) is not None:
        raise InputError(f"the trace cannot be played: {why}")
    if plan.client_at_s is not None and not 0 <= plan.client_at_s < plan.trace.end_s:
        raise InputError(
            f"--client-at {plan.client_at_s:g}: the trace plays from 0 to {plan.trace.end_s:g} s"
        )
    new_folder = RunFolder.new(parent, f"replay-{plan.name}", ("traces", "logs"))
    with StopRequest() as stop, new_folder as folder:
        try:
            return _Replay(plan, folder, stop, say, output).go()
        except Stopped:
            say("Stopped. All namespaces, interfaces and processes were removed.")
            return stop.exit_code


class _Replay:
    """The parts of a replay while it goes on."""

    def __init__(
        self,
        plan: ReplayPlan,
        folder: RunFolder,
        stop: StopRequest,
        say: Callable[[str], None],
        output: IO[Any] | None,
    ) -> None:
        self.plan, self.folder, self.stop, self.say, self.output = plan, folder, stop, say, output
        self.client_exit: int | None = None
        self.notes: list[str] = []
        self.queues_met: dict[Way, list[tuple[float, float]]] = {}
        self.next_ask_s = ASK_QUEUES_S

    def go(self) -> Replayed:
        trace_path = self.folder.traces / f"{self.plan.name}.csv"
        write_trace(self.plan.trace, trace_path)
        with EmulatedNetwork(self.plan.shaper, check_stop=self.stop.check) as network, ExitStack() as stack:
            self.network, self.hosts = network, network.hosts
            self._build()
            monitor = stack.enter_context(
                TrafficMonitor(self.hosts["satellite"].pid, self.hosts["ground"].pid, INTERFACE)
            )
            probe = self._start_probe() if self.plan.probe else None
            stack.callback(network.stop_probes)
            server = self._start_server(stack)
            start_monotonic_s = time.monotonic() + LEAD_S
            start_utc = datetime.now(timezone.utc) + timedelta(seconds=LEAD_S)
            clock = RealClock(start_monotonic_s)
            stack.callback(network.stop)
            player = network.play({self.plan.name: self.plan.trace}, clock)
            load = ProcessorLoad()
            self._run_programs(stack, clock, server)
            played_s = clock.now_s()
            self._ask_queues()
            processor, counters = load.record(), network.counters(self.plan.name)
            network.stop()
            if player.error is not None:
                raise player.error
            lateness_s, shaper = tuple(player.lateness_s[1:]), network.shaper_text
        fidelity = None
        if probe is not None:
            fidelity = probe.fidelity(
                shaper=shaper,
                start_monotonic_s=start_monotonic_s,
                trace_name=trace_path.name,
                busy=busy_intervals(monitor.readings, self.plan.trace, start_monotonic_s, probe.records),
                load=processor,
                queues_met=self.queues_met,
                counters=counters,
            )
        self.folder.check_room()
        if self.folder.trouble is not None:
            self.notes.append(self.folder.trouble)
        curves = self.plan.trace, monitor.readings, start_monotonic_s, played_s, fidelity
        notes = [note for note in self.plan.trace.header.notes if "CellReplay" in note]
        done = Replayed(
            folder=self.folder.path,
            shaper=shaper,
            start_utc=start_utc,
            client_exit=self.client_exit,
            fidelity=fidelity,
            played=timeline(*curves),
            files={
                "timeline": self.folder.timeline,
                "plot": self.folder.plot,
                "report": self.folder.report,
            },
            lateness_s=lateness_s,
            counters=counters,
            notes=(*notes, *self.notes),
            exit_code=1 if self.client_exit else 0,
        )
        if fidelity is not None:
            self.folder.keep_json(self.folder.fidelity, fidelity.to_json())
        self.folder.keep(self.folder.timeline, done.played.to_csv())
        bin_s = min(BIN_S, max(SHORTEST_BIN_S, done.played.played_s / DRAWN_BINS))
        self._draw(done, timeline(*curves, bin_s=bin_s))
        self.folder.keep_json(self.folder.results, done.to_json())
        return done

    def _draw(self, done: Replayed, drawn: Timeline) -> None:
        trace = self.plan.trace
        figure = drawing.figure_of(trace, drawn, done.fidelity)
        self.folder.keep(self.folder.plot, drawing.png(figure))
        facts = {
            "started": format_utc(done.start_utc),
            "played": f"{done.played.played_s:.1f} s of {trace.end_s:g} s",
            "client": self.plan.client or "none",
            "server": self.plan.server or "none",
            "shaper": done.shaper,
        }
        report = render(
            f"Replay of {self.plan.name}", trace, done.tables(), drawing.svg(figure), facts, done.notes
        )
        self.folder.keep(self.folder.report, report)

    def _ask_queues(self) -> None:
        met = self.network.queues_met(self.plan.name) or {}
        for way in WAYS:
            self.queues_met.setdefault(way, []).extend(met.get(way, ()))

    def _build(self) -> None:
        for end in ("satellite", "ground"):
            self.network.add_host(end)
        self.network.add_link(
            "satellite",
            "ground",
            name=self.plan.name,
            interface=INTERFACE,
            addresses=(f"{SATELLITE}/24", f"{GROUND}/24"),
        )
        self.network.start()

    def _host(self, who: str) -> EmulatedHost:
        other = "ground" if self.plan.server_end == "satellite" else "satellite"
        return self.hosts[self.plan.server_end if who == "server" else other]

    def _start_probe(self) -> LinkProbe:
        return self.network.probe_link(
            self.plan.name, ("satellite", "ground"), self.plan.trace, self.folder.logs
        )

    # -- the user's programs -----------------------------------------------------------------------------

    def _start_server(self, stack: ExitStack) -> Program | None:
        if self.plan.server is None:
            return None
        host = self._host("server")
        before = _ports(host.pid)
        server = Program(
            "the server",
            self.plan.command(self.plan.server),
            log=self.folder.logs / "server.log",
            netns_pid=host.pid,
        )
        stack.callback(end_session, server.process)
        started_s = time.monotonic()
        while time.monotonic() < started_s + LISTENING_WITHIN_S:
            self.stop.check()
            self.folder.check_place()
            if _ports(host.pid) - before:
                return server
            server.check(started=False)
            if time.monotonic() > started_s + LISTENING_ANYWAY_S and not _uses_python(self.plan.server):
                break
            time.sleep(TICK_S)
        self.say("warning: the server has not opened a port yet; continuing")
        return server

    def _run_programs(self, stack: ExitStack, clock: RealClock, server: Program | None) -> None:
        """Start the client in time; wait for its end, for the trace's, or for a signal."""
        at_s, ending_s = self.plan.client_at_s, self.plan.trace.end_s
        if at_s is None:
            # Programs need replies, where there are any.
            contacts = self.plan.trace.contacts("both") or self.plan.trace.contacts()
            at_s = min(contacts[0].aos_s + 0.05, ending_s)
        client: subprocess.Popen[bytes] | None = None
        if self.plan.shell:
            client, at_s = self._shell(), -1.0
            stack.callback(end_session, client)
        said_the_end = False
        while True:
            self._check()
            now_s = clock.now_s()
            if now_s >= self.next_ask_s:
                self._ask_queues()
                self.next_ask_s = now_s + ASK_QUEUES_S
            if client is None and self.plan.client is not None and now_s >= at_s:
                self.say(f"{now_s:7.2f} s  client starts: {self.plan.client}")
                client = spawn(
                    self.plan.command(self.plan.client),
                    netns_pid=self._host("client").pid,
                    stdin=subprocess.DEVNULL,
                    stdout=self.output,
                )
                stack.callback(end_session, client)
            if client is not None and (code := exit_code(client)) is not None:
                self.client_exit = 0 if self.plan.shell else code
                if code and not self.plan.shell:
                    self.say(f"the client ended with exit code {code}")
                return
            if server is not None and client is None:
                server.check(started=True)
            if now_s >= ending_s and self.plan.shell and not said_the_end:
                said_the_end = True
                self.say("The trace has ended and the link is down. Leave the shell with exit.")
            elif now_s >= ending_s and not self.plan.shell:
                if client is not None:
                    self.notes.append("the client was stopped at the end of the trace")
                    end_session(client, signal.SIGINT)
                return
            time.sleep(TICK_S)

    def _check(self) -> None:
        if not self.plan.shell:  # there Ctrl-C belongs to what runs in the shell
            self.stop.check()
            self.folder.check_place()
        self.network.check_links()
        for probe in self.network.take_ended_probes():
            note = f"{probe.name} {probe.ending()}: what it measured ends there"
            self.say(note)
            self.notes.append(note)

    def _shell(self) -> subprocess.Popen[bytes]:
        """Open a shell on this terminal; the kernel ends it with us."""
        host, other = self._host("client"), self._host("server")
        shell = os.environ.get("SHELL", "/bin/sh")
        self.say(
            f"This shell is the client ({self.plan.addresses['client']}); the other end is"
            f" {self.plan.addresses['server']}.\n"
            f"A shell there, in another terminal:  sudo mnexec -a {other.pid} {shell}\n"
            f"The trace plays {self.plan.trace.end_s:g} s from now. Leave with exit."
        )
        return subprocess.Popen([*DIE_WITH_PARENT, "mnexec", "-a", str(host.pid), shell])


def _ports(pid: int) -> set[str]:
    """Return the sockets of a process's network namespace that programs listen on: TCP listeners, any UDP."""
    found = set()
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
                fields = line.split()
                if kind.startswith("udp") or fields[3] == _LISTEN:
                    found.add(f"{kind} {fields[1]}")
    return found


def _uses_python(command: str) -> bool:
    return "python" in command or "spaceverse" in command  # they take a second or two to begin
