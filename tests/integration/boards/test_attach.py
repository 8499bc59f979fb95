"""A board instead of an emulated satellite: attached, shaped, and detached without traces on the host."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.boards.attachment import Attachment, BoardRefusedError
from testbed.boards.inventory import Board
from testbed.boards.link import BoardLink, ground_endpoint
from testbed.boards.machine_network import changes as host_changes
from testbed.boards.machine_network import journal
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.clock import RealClock
from testbed.network.link_end import HostEnd
from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.network.player import Player
from testbed.network.sky import Sky
from tests.support.boards.played_host import (
    BOARD_ADDRESS,
    BOARD_NIC,
    HOST_ADDRESS,
    NIC,
    ROOT,
    look,
    look_until,
    management,
    played_host,
    settle,
)
from traces.trace import Trace
from traces.trace_file import parse_trace

pytestmark = pytest.mark.root
MOMENTS = int(os.environ.get("KILLS", "4"))  # of each of the three kinds
GRO_ON = "generic-receive-offload: on"
GROUND, SATELLITE = "10.0.0.2", "10.0.0.1"
KINDS = {
    "nic": {"kind": "nic", "interface": NIC},
    "vxlan": {"kind": "vxlan", "remote": BOARD_ADDRESS, "vni": 7},
    "route": {"kind": "route", "address": BOARD_ADDRESS},
}
MTU_BYTES = {"nic": 1500, "vxlan": 1450, "route": 1500}


class Desk:
    """A host, a board that is ready for each kind of attachment, and a ground host."""

    def __init__(self, host: NetworkNamespace, board: NetworkNamespace, ground: NetworkNamespace) -> None:
        self.host, self.board, self.ground = host, board, ground
        board.disable_super_packets(BOARD_NIC)  # a real NIC sends no larger frames than its MTU
        board.disable_super_packets("wlan0")
        for name in (NIC, "mgmt0"):  # as real NICs have it
            assert host.run(["ethtool", "-K", name, "gro", "on"]).returncode == 0

    def ready(self, kind: str) -> None:
        """What the board itself does for this kind."""
        if kind == "nic":
            self.board.add_address(BOARD_NIC, SATELLITE, 30)
        elif kind == "vxlan":
            self.run(f"ip link add vx0 type vxlan id 7 remote {HOST_ADDRESS} dstport 4789")
            self.board.disable_super_packets("vx0")
            self.board.set_up("vx0", True)
            self.board.add_address("vx0", SATELLITE, 30)
        else:
            self.run(f"ip route add {GROUND}/32 via {HOST_ADDRESS}")

    def run(self, command: str) -> str:
        done = self.board.run(command.split())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attach(self, stack: ExitStack, kind: str, state: Path) -> tuple[Attachment, BoardLink]:
        attachment = self.attachment(kind, state)
        self.host.call(attachment.attach)
        stack.callback(attachment.detach)
        sky = stack.enter_context(Sky())
        link = BoardLink(
            attachment, sky, "b - G", host_path=self.ground.path, interface="link0", board_address=SATELLITE
        )
        stack.callback(link.close)
        return attachment, link

    def attachment(self, kind: str, state: Path) -> Attachment:
        board = Board.model_validate({"name": "b", "management": BOARD_ADDRESS, "attach": KINDS[kind]})
        return Attachment(board, ground_endpoint(GROUND), state)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with (
        played_host(settled=False) as (host, board),
        management(host, board),
        NetworkNamespace.create("ground") as ground,
    ):
        ground.set_up("lo", True)
        yield Desk(host, board, ground)


def ping(space: NetworkNamespace, address: str, *options: str) -> tuple[int, list[float]]:
    """(how many were sent, round trips in ms)."""
    said = space.run(["ping", "-n", "-i", "0.02", "-W", "0.4", *options, address]).stdout
    sent = re.search(r"(\d+) packets transmitted", said)
    assert sent, said
    return int(sent[1]), [float(rtt) for rtt in re.findall(r"time=([0-9.]+) ms", said)]


@pytest.mark.light
@pytest.mark.parametrize("kind", KINDS)
def test_a_board_is_plugged_in_shaped_and_let_go(desk: Desk, kind: str, tmp_path: Path) -> None:
    desk.ready(kind)
    settle(desk.host)
    before = look(desk.host)
    with ExitStack() as stack:
        attachment, link = desk.attach(stack, kind, tmp_path)
        assert 0 < link.path.rtt_s < 2e-3 and link.path.lost == 0
        assert link.path.rate_bit_s is not None and link.path.rate_bit_s > 20e6
        assert attachment.mtu_bytes == MTU_BYTES[kind]
        far = BOARD_ADDRESS if kind == "route" else SATELLITE
        assert ping(desk.ground, far, "-c", "3")[1] == []  # the link starts down
        if kind != "route":  # there this machine is asked, which the gap does not concern
            desk.run(f"ip neigh flush to {GROUND}")
        link.set(LinkState(True, 20e6, 0.02), LinkState(True, 5e6, 0.01))
        if kind != "route":
            assert ground_endpoint(GROUND).mac in desk.run(f"ip neigh show {GROUND}")
        for space, address in ((desk.ground, far), (desk.board, GROUND)):
            sent, rtts = ping(space, address, "-c", "20")
            assert sent == len(rtts)
            assert 30 <= sorted(rtts)[10] < 31 + link.path.rtt_s * 1e3
        # The largest packet passes, and what is a byte longer is not sent.
        size = MTU_BYTES[kind] - 28
        assert len(ping(desk.ground, far, "-c", "1", "-M", "do", "-s", f"{size}")[1]) == 1
        assert ping(desk.ground, far, "-c", "1", "-M", "do", "-s", f"{size + 1}")[1] == []
        link.set(DOWN_STATE, DOWN_STATE)
        assert ping(desk.board, GROUND, "-c", "3")[1] == []
        assert desk.board.read(BOARD_NIC).carrier  # no negotiation at the next contact
        assert before.count(GRO_ON) - look(desk.host).count(GRO_ON) == 1
    assert look_until(desk.host, before) == before
    assert not list((tmp_path / "journal").glob("*.jsonl"))


TRACE = """# spaceverse-trace 2
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 100.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,1,{rate},1000000.0,{delay},0.02,0.0,0.0
"""


def trace(delay_s: float, rate_bit_s: float = 10e6) -> Trace:
    return parse_trace(TRACE.format(delay=delay_s, rate=rate_bit_s))


@pytest.mark.light
def test_the_boards_own_delay_is_measured_and_taken_out(tmp_path: Path) -> None:
    """The board is behind a real way of 3 ms and 30 Mbit/s: another emulated link."""
    with (
        played_host(settled=False) as (host, board),
        management(host, board),
        NetworkNamespace.create("ground") as ground,
        Sky() as between,
    ):
        host.delete(NIC)
        far = between.add_link("cable", HostEnd(host.path, NIC), HostEnd(board.path, BOARD_NIC))
        cable = LinkState(True, 30e6, 0.003)
        far.set(cable, cable)
        desk = Desk(host, board, ground)
        desk.ready("nic")
        with ExitStack() as stack:
            _, link = desk.attach(stack, "nic", tmp_path)
            path = link.path
            assert 6e-3 < path.rtt_s < 7e-3 and path.rtt_s <= path.rtt_p95_s
            assert path.rate_bit_s == pytest.approx(30e6, rel=0.05)
            played = link.compensated(trace(0.01))
            row = played.row_at(0)
            assert row.down_delay_s == pytest.approx(0.01 - path.rtt_s / 2)
            assert row.up_delay_s == pytest.approx(0.02 - path.rtt_s / 2)
            assert "half the RTT of the path to board b" in played.header.notes[-1]
            player = Player(RealClock(), {link: played})
            player.start()
            stack.callback(player.stop)
            _, rtts = ping(ground, SATELLITE, "-c", "50")
            serial_ms = 98 * 8 / 10e6 * 1e3 + 98 * 8 / 1e6 * 1e3
            assert abs(sorted(rtts)[25] - 30 - serial_ms) < 0.5
            with pytest.raises(
                BoardRefusedError, match=r"path to board b takes 3\.\d+ ms .* down to 2\.900 ms"
            ):
                link.compensated(trace(0.0029))
            with pytest.raises(BoardRefusedError, match=r"carries \d+\.\d Mbit/s, .* up to 60\.0 Mbit/s"):
                link.compensated(trace(0.01, 60e6))


def test_what_cannot_be_attached_is_refused_and_nothing_is_touched(desk: Desk, tmp_path: Path) -> None:
    desk.host.add_address(NIC, "203.0.113.1", 24)
    settle(desk.host)
    before = look(desk.host)
    attachment = desk.attachment("nic", tmp_path)
    with pytest.raises(BoardRefusedError, match=f"{NIC} has the address 203.0.113.1/24; instead: "):
        desk.host.call(attachment.attach)
    assert look(desk.host) == before
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_board_is_attached_once(desk: Desk, tmp_path: Path) -> None:
    first, second = desk.attachment("nic", tmp_path), desk.attachment("nic", tmp_path)
    desk.host.call(first.attach)
    with pytest.raises(BoardRefusedError, match=f"board b is already attached by process {os.getpid()}"):
        desk.host.call(second.attach)
    first.detach()
    desk.host.call(second.attach)
    second.detach()


def test_a_board_without_its_address_is_refused_and_let_go(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.boards.link.ANSWER_WITHIN_S", 0.3)
    settle(desk.host)
    before = look(desk.host)
    refused = pytest.raises(BoardRefusedError, match=f"no device .* has the address {SATELLITE}; assign it")
    with refused, ExitStack() as stack:
        desk.attach(stack, "nic", tmp_path)
    assert look_until(desk.host, before) == before


def test_a_nic_that_was_down_is_brought_up_and_taken_down_again(desk: Desk, tmp_path: Path) -> None:
    desk.ready("nic")
    desk.host.set_up(NIC, False)
    settle(desk.host)
    before = look(desk.host)
    with ExitStack() as stack:
        desk.attach(stack, "nic", tmp_path)
        assert desk.host.is_up(NIC)
    assert look_until(desk.host, before) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_is_cleaned_up_after_at_any_moment(desk: Desk, kind: str, tmp_path: Path) -> None:
    desk.ready(kind)
    settle(desk.host)
    before = look(desk.host)
    chance = random.Random(kind)  # noqa: S311  # the same moments every time
    program = [sys.executable, "-m", "tests.support.boards.attaching"]
    program += [json.dumps(KINDS[kind]), desk.ground.path, SATELLITE]
    environment = {**os.environ, "SPACEVERSE_STATE": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    standing = set()
    with desk.host.popen(program, cwd=ROOT, env=environment, **pipes) as maker:
        assert maker.stdin is not None and maker.stdout is not None

        def one_round(kill_after: str) -> tuple[float, int]:
            assert maker.stdin is not None and maker.stdout is not None
            maker.stdin.write(f"{kill_after}\n".encode())
            maker.stdin.flush()
            took_s, status = maker.stdout.readline().split()
            return float(took_s), int(status)

        whole_s, status = one_round("never")
        assert status == 0 and look_until(desk.host, before) == before
        for number in range(MOMENTS):  # one in each part of the time that it takes
            _, status = one_round(f"{0.02 + 0.95 * whole_s * (number + chance.random()) / MOMENTS}")
            assert status in (0, signal.SIGKILL)  # 0: it was quicker than before
            found = journal.found_journals(tmp_path)
            standing.add(tuple(len(one.changes) for one in found))
            lines, well = desk.host.call(lambda: journal.clean(host_changes.undo, tmp_path))
            assert well, lines
            assert look_until(desk.host, before) == before
            assert not list((tmp_path / "journal").glob("*.jsonl"))
        maker.stdin.close()
    assert len(standing) >= 2, "too few different moments to prove anything"
