"""A board on a separate VLAN, on a kernel with 802.1Q: attached, shaped by netem, detached."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.boards.attachment import Attachment
from testbed.boards.check.attachability import check_attachment
from testbed.boards.check.findings import usable
from testbed.boards.inventory import Board
from testbed.boards.link import BoardLink, ground_endpoint
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.link_state import LinkState
from testbed.network.sky import Sky
from tests.support.boards.played_host import (
    BOARD_ADDRESS,
    BOARD_NIC,
    NIC,
    look,
    look_until,
    management,
    played_host,
    settle,
)

GROUND, SATELLITE, VLAN = "10.0.0.2", "10.0.0.1", 102

needs_ethtool = pytest.mark.skipif(shutil.which("ethtool") is None, reason="apt-get install ethtool")


@needs_ethtool
def test_a_board_on_a_vlan_beside_what_else_the_trunk_carries(tmp_path: Path) -> None:
    board = Board.model_validate(
        {
            "name": "pi-2",
            "management": BOARD_ADDRESS,
            "attach": {"kind": "vlan", "interface": NIC, "vlan": VLAN},
        }
    )
    with (
        played_host(settled=False) as (host, far),
        management(host, far),
        NetworkNamespace.create("ground") as ground,
    ):
        host.add_address(NIC, "203.0.113.1", 24)  # a trunk may carry the machine's own packets
        for command in (
            f"ip link add link {BOARD_NIC} name access type vlan id {VLAN}",
            f"ip addr add {SATELLITE}/30 dev access",
            "ip link set access up",
            f"ip addr add 203.0.113.2/24 dev {BOARD_NIC}",
        ):
            assert far.run(command.split()).returncode == 0, command
        for name in (BOARD_NIC, "access"):
            far.disable_super_packets(name)
        assert host.run(["ethtool", "-K", NIC, "gro", "on"]).returncode == 0
        settle(host)
        before = look(host)
        with ExitStack() as stack:
            attachment = Attachment(board, ground_endpoint(GROUND), tmp_path)
            host.call(attachment.attach)
            stack.callback(attachment.detach)
            sky = stack.enter_context(Sky("netem"))
            link = BoardLink(
                attachment, sky, "pi - G", host_path=ground.path, interface="l0", board_address=SATELLITE
            )
            stack.callback(link.close)
            link.set(LinkState(True, 20e6, 0.02), LinkState(True, 5e6, 0.01))
            rtts_ms = ping(ground, SATELLITE)
            assert len(rtts_ms) == 20
            assert 30 <= sorted(rtts_ms)[10] < 32 + link.path.rtt_s * 1e3
            assert sorted(ping(host, "203.0.113.2"))[10] < 5  # not shaped: not the board's VLAN
        assert look_until(host, before) == before
        assert host.run(f"ip link add link {NIC} name taken type vlan id {VLAN}".split()).returncode == 0
        found = host.call(lambda: check_attachment(board, environment={}))
        assert not usable(found)
        assert f"VLAN {VLAN} of {NIC} is in use by taken" in {one.detail for one in found}


def ping(space: NetworkNamespace, address: str) -> list[float]:
    said = space.run(["ping", "-n", "-i", "0.05", "-c", "20", "-W", "1", address]).stdout
    return [float(rtt) for rtt in re.findall(r"time=([0-9.]+) ms", said)]
