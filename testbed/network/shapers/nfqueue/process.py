"""The process that plays every link of a sky.

`python -m testbed.network.shapers.nfqueue.process`, run by NfqueueShaper.

The kernel parks each packet in an NFQUEUE, one per link and direction, and sends its number and size here. A
`LinkModel` computes when it leaves; one batch verdict then releases every packet up to that number, so a
packet costs one small read. The process has real-time priority where the machine allows it, so that inference
on the same machine does not delay packets.

It ends with its control socket, also when the other end is killed. The kernel then drops all packets: the
links fail closed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import heapq
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any

import msgpack

from testbed.kernel.timestamps import stamp_arrivals
from testbed.network.link_state import LinkState
from testbed.network.shapers.nfqueue.packet_queue import kernel_drops
from testbed.network.shapers.nfqueue.played_direction import READ_AT_MOST, PlayedDirection
from testbed.network.shapers.nfqueue.timer import Timer
from testbed.network.shapers.super_packets import SLOT_S

REALTIME_PRIORITY = 50

# A timer wakes this process late by tens of microseconds. It is therefore set early by the 80th percentile of
# its recent lateness, and the rest is spun away. Spins keep a distance, since the process would otherwise
# spin all the time in a dense stream, where so little lateness does not matter.
LEAD_UP_S, LEAD_DOWN_S = 2e-6, 0.5e-6  # the lead settles where these balance: at the 80th percentile
LEAD_MOST_S = 150e-6
SPIN_EVERY_S = 1e-3

# A packet is late by its way to the queue before its stamp, and by most of the system call that releases it:
# together about the duration of the call, so the call is made its usual duration early. With half of that,
# links were late by 30 us in each direction; so they are by 2 to 8. The usual duration is a moving average
# over VERDICT_MEMORY releases.
VERDICT_MEMORY = 32
EARLY_MOST_S = 80e-6

# The kernel stops real-time processes that never sleep for 50 ms of every second, at any moment
# (sched_rt_runtime_us; since Linux 6.12 the fair server). Short rests prevent that.
BUSY_AT_MOST_S, REST_S, SLEPT_S = 10e-3, 0.8e-3, 50e-6

# A dense stream's packets are taken in and let out by slots: to wake up for each costs more than the packet
# itself. The kernel has stamped their arrival, so that only their release is off, by half a slot at most.
DENSE_PACKETS_S, DENSE_OVER_S = 20_000, 1e-3

PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29
MCL_CURRENT_AND_FUTURE = 3

_libc = ctypes.CDLL(None, use_errno=True)


class Density:
    """Whether packets come so densely that they are handled by slots.

    Attributes:
        dense: as of the last look.
    """

    def __init__(self) -> None:
        self.dense = False
        self._packets = 0
        self._from_s = 0.0

    def count(self, packets: int) -> None:
        """Count packets that came in."""
        self._packets += packets

    def is_dense(self, now_s: float) -> bool:
        """Look anew if the last look is DENSE_OVER_S ago, and return `dense`."""
        since_s = now_s - self._from_s
        if since_s >= DENSE_OVER_S:
            self.dense = self._packets > DENSE_PACKETS_S * since_s
            self._packets, self._from_s = 0, now_s
        return self.dense


class Player:
    """Serves all directions and the control socket in one loop."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._directions: dict[tuple[str, str], PlayedDirection] = {}
        self._by_fd: dict[int, PlayedDirection] = {}
        self._agenda: list[tuple[float, int]] = []  # (due, fd), a heap; stale entries are skipped
        self._timer = Timer()
        self._lead_s = LEAD_MOST_S / 2
        self._early_s = 0.0
        self._may_spin_from_s = 0.0
        self._busy_from_s = time.monotonic()
        self._density = Density()
        self._slot_ends_s = 0.0
        self._behind = False  # whether more packets waited than were read
        self._poll = select.epoll()
        for source in (control, self._timer):
            self._poll.register(source.fileno(), select.EPOLLIN)

    def serve(self) -> None:
        """Play until the control socket is closed at the other end."""
        while True:
            events, self._behind = self._wait(), False
            for fd, _ in events:
                direction = self._by_fd.get(fd)
                if direction is not None:
                    taken = direction.take_in()
                    self._density.count(taken)
                    self._behind = self._behind or taken == READ_AT_MOST
                    self._plan(fd, direction)
                elif fd == self._timer.fileno():
                    self._learn_lead()
                elif not self._answer():
                    return
            self._let_out()

    def _wait(self) -> list[tuple[int, int]]:
        """Return the next events; rest first if the process has been busy for too long."""
        began_s = time.monotonic()
        was_dense, dense = self._density.dense, self._density.is_dense(began_s)
        if dense and not self._behind and (left_s := self._slot_ends_s - began_s) > 0:
            time.sleep(left_s)
            self._busy_from_s = time.monotonic()
            self._slot_ends_s = self._busy_from_s + SLOT_S
            return self._poll.poll(0)
        if began_s - self._busy_from_s > BUSY_AT_MOST_S:
            time.sleep(REST_S)
            self._busy_from_s = time.monotonic()
            return self._poll.poll(0)
        if dense or was_dense:  # at the end of a dense stream, its last packets have yet to set the timer
            self._slot_ends_s = began_s + SLOT_S
            return self._poll.poll(0)
        events = self._poll.poll()
        now_s = time.monotonic()
        if now_s - began_s > SLEPT_S:
            self._busy_from_s = now_s
        return events

    def _learn_lead(self) -> None:
        late_s = time.monotonic() - self._timer.acknowledge()
        if late_s > self._lead_s:
            self._lead_s = min(self._lead_s + LEAD_UP_S, LEAD_MOST_S)
        else:
            self._lead_s = max(self._lead_s - LEAD_DOWN_S, 0.0)

    def _learn_early(self, took_s: float) -> None:
        self._early_s += (min(took_s, EARLY_MOST_S) - self._early_s) / VERDICT_MEMORY

    def _is_due(self, due_s: float) -> bool:
        """Return whether `due_s` has come; spin if it is very near, else set the timer."""
        due_s -= self._early_s
        now_s = time.monotonic()
        left_s = due_s - now_s
        if left_s <= 0:
            return True
        if self._density.dense:
            return left_s <= SLOT_S / 2
        if now_s < self._may_spin_from_s:
            self._timer.arm(due_s)
            return False
        if left_s > self._lead_s:
            self._timer.arm(due_s - self._lead_s)
            return False
        while time.monotonic() < due_s:
            pass
        self._may_spin_from_s = due_s + SPIN_EVERY_S
        return True

    def _let_out(self) -> None:
        agenda = self._agenda
        while agenda:
            due_s, fd = agenda[0]
            direction = self._by_fd.get(fd)
            if direction is None or direction.planned_s != due_s:
                heapq.heappop(agenda)
                continue
            if not self._is_due(due_s):
                return
            heapq.heappop(agenda)
            direction.planned_s = float("inf")
            began_s = time.monotonic()
            if self._density.dense:
                direction.let_out(max(began_s + SLOT_S / 2, due_s))
            else:
                direction.let_out(max(began_s + self._early_s, due_s))
                self._learn_early(time.monotonic() - began_s)
            self._plan(fd, direction)

    def _plan(self, fd: int, direction: PlayedDirection) -> None:
        due_s = direction.model.next_due_s
        if due_s is None:
            direction.planned_s = float("inf")
        elif due_s != direction.planned_s:
            direction.planned_s = due_s
            heapq.heappush(self._agenda, (due_s, fd))

    def _answer(self) -> bool:
        packed = self._control.recv(1 << 17)
        if not packed:
            return False
        try:
            reply = self._obey(msgpack.unpackb(packed))
        except (OSError, KeyError, ValueError, TypeError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        self._control.send(msgpack.packb(reply))
        return True

    def _apply(self, states: list[Any]) -> dict[str, Any]:
        held = []
        for key, row in states:
            direction = self._directions[tuple(key)]
            direction.set(LinkState.from_row(row))
            self._plan(direction.queue.fileno(), direction)
            held.append(direction.model.state.to_row())
            self._let_out()  # an order may change hundreds of links; packets must not wait for all
        return {"states": held}

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "apply":
            return self._apply(order["states"])
        key = (order["link"], order["direction"])
        if order["do"] == "attach":
            direction = PlayedDirection(order["queue"], order["seed"], super_packets=order["super_packets"])
            self._directions[key] = self._by_fd[direction.queue.fileno()] = direction
            self._poll.register(direction.queue.fileno(), select.EPOLLIN)
        direction = self._directions[key]
        fd = direction.queue.fileno()
        if order["do"] == "detach":
            self._poll.unregister(fd)
            del self._directions[key], self._by_fd[fd]
            direction.queue.close()
        elif order["do"] == "counters":
            return {
                **vars(direction.model.counters),
                "inside": direction.model.inside,
                **direction.lateness.summary(),
                **kernel_drops(order["queue"]),
            }
        elif order["do"] == "queues_met":
            met = list(direction.queues_met)
            direction.queues_met.clear()
            return {"met": met}
        return direction.model.state.to_json()


def main() -> int:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="Plays emulated links; started by the testbed, not by hand.")
    parser.add_argument("--control-fd", type=int, required=True, help="socket that states come in by")
    parser.add_argument("--parent-pid", type=int, required=True, help="end with this process")
    arguments = parser.parse_args()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != arguments.parent_pid:
        return 1  # the parent ended before we could ask to end with it
    _libc.prctl(PR_SET_TIMERSLACK, 1)
    _libc.mlockall(MCL_CURRENT_AND_FUTURE)  # best effort: a page fault would delay a packet
    with socket.socket(fileno=arguments.control_fd) as control, _kernel_stamps():
        realtime = _ask_for_realtime()
        _keep_processors_awake()
        player = Player(control)
        gc.collect()
        gc.freeze()
        gc.disable()  # the loop makes no reference cycles; a collection would delay packets
        control.send(msgpack.packb({"realtime": realtime}))
        player.serve()
    return 0


def _keep_processors_awake() -> None:
    """Keep idle processors from deep sleep, from which waking up takes time, until this process ends.

    PM quality of service, Documentation/power/pm_qos_interface.rst. In a virtual machine it avoids exits to
    the hypervisor, on others the deep C-states. It costs power; without such a file, nothing happens.
    """
    with suppress(OSError):
        latency = os.open("/dev/cpu_dma_latency", os.O_WRONLY)  # holds as long as it is open
        os.write(latency, struct.pack("=i", 0))


def _kernel_stamps() -> socket.socket:
    """Return a socket that makes the kernel stamp every packet on arrival, as long as it is open.

    The link's time then begins when a packet arrives, and not when this process has woken up for it.
    """
    any_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stamp_arrivals(any_socket)
    return any_socket


def _ask_for_realtime() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except OSError:
        return False
    return os.sched_getscheduler(0) == os.SCHED_FIFO


if __name__ == "__main__":
    sys.exit(main())
