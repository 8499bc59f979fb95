"""`spaceverse board check` on a real interface in each state: usable, or refused with the reason."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.boards.check.attachability import check_attachment
from testbed.boards.check.findings import Finding, usable
from testbed.boards.inventory import Board, read_inventory
from testbed.kernel.namespace import NetworkNamespace
from tests.support.boards.played_host import (
    BOARD_ADDRESS,
    BOARD_NIC,
    HOST_ADDRESS,
    NIC,
    command,
    look,
    management,
    played_host,
    settle,
)

pytestmark = pytest.mark.root
MANAGED = "this network"  # the finding about network managers
FAR_BOARD = "198.51.100.7"


class Scene:
    """A host with a NIC to a board, and a second cable to it for management, where the board has an sshd."""

    def __init__(self, host: NetworkNamespace, board: NetworkNamespace, state: Path) -> None:
        self.host, self.board, self.state = host, board, state

    def ip(self, arguments: str, space: NetworkNamespace | None = None) -> None:
        done = (space or self.host).run(["ip", *arguments.split()])
        assert done.returncode == 0, done.stderr

    def inventory(self, attach: str | None = None, management: str = BOARD_ADDRESS) -> Path:
        path = self.state / "boards.toml"
        attach = attach or f'kind = "nic", interface = "{NIC}"'
        path.write_text(f'[boards.b]\nmanagement = "{management}"\nattach = {{ {attach} }}\n')
        return path

    def check(self, *asked: str, **more: str) -> list[Finding]:
        board = read_inventory(self.inventory(*asked, **more)).board("b")
        return self.host.call(lambda: check_attachment(board, environment={}))

    def refusals(self, *asked: str, **more: str) -> list[Finding]:
        """What is refused, which must be something."""
        refused = [finding for finding in self.check(*asked, **more) if finding.verdict == "refused"]
        assert refused and all(finding.instead for finding in refused)
        return refused

    def refusal(self, *asked: str, **more: str) -> str:
        """The only reason for which it is refused."""
        (refused,) = self.refusals(*asked, **more)
        return refused.detail


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with played_host(settled=False) as (host, board), management(host, board):
        yield Scene(host, board, tmp_path)


def details(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.detail for finding in findings}


def verdicts(findings: list[Finding]) -> set[str]:
    """Of all findings but those about network managers, which may run on the tests' machine."""
    return {finding.verdict for finding in findings if finding.what != MANAGED}


def test_a_free_nic_can_be_used_and_looking_changes_nothing(scene: Scene, tmp_path: Path) -> None:
    settle(scene.host)
    before = look(scene.host)
    done = command(scene.host, f"board check b --no-login --json --boards {scene.inventory()}", tmp_path)
    assert look(scene.host) == before
    answer = json.loads(done.stdout)
    said = details([Finding(**finding) for finding in answer["findings"]])
    assert done.returncode == 0 and answer["usable"] and answer["board"] == "b"
    assert verdicts([Finding(**finding) for finding in answer["findings"]]) == {"ok"}
    assert said["link"] == "up, 10000 Mbit/s"  # what veth says of itself
    assert said["MTU"] == "1500 bytes"
    assert said["emulated plane"] == f"{scene.board.read(BOARD_NIC).mac} answers"
    assert said["management plane"] == f"ssh server at {BOARD_ADDRESS}, port 22"
    scene.host.set_mtu(NIC, 1400)
    said = details(scene.check())
    assert said["MTU"].startswith("1400 bytes; the run sets it at the ground's end")


def give_address(scene: Scene) -> None:
    scene.ip(f"addr add 203.0.113.1/24 dev {NIC}")


def give_default_route(scene: Scene) -> None:
    scene.ip(f"route add default dev {NIC} table 77")


def give_ssh_session(scene: Scene) -> None:
    """The session's own address is on another interface; its packets leave by the NIC."""
    scene.ip(f"route add {FAR_BOARD}/32 dev {NIC} src {HOST_ADDRESS}")
    scene.ip(f"addr add {FAR_BOARD}/32 dev lo", scene.board)
    server = scene.host.call(lambda: socket.create_server((HOST_ADDRESS, 22)))
    client = scene.board.call(lambda: socket.create_connection((HOST_ADDRESS, 22), 5, (FAR_BOARD, 0)))
    SESSIONS.extend([server, client, server.accept()[0]])


SESSIONS: list[socket.socket] = []


def make_port(scene: Scene) -> None:
    scene.host.add_bridge("bridge0")
    scene.host.plug(NIC, "bridge0")


def put_something_on_it(scene: Scene) -> None:
    scene.ip(f"link add link {NIC} name above0 type macvlan mode bridge")


def give_twin(scene: Scene) -> None:
    scene.ip(f"link add twin0 address {scene.host.read(NIC).mac} type bridge")


def give_board_the_same_mac(scene: Scene) -> None:
    scene.board.set_up(BOARD_NIC, False)
    scene.board.set_mac(BOARD_NIC, scene.host.read(NIC).mac)
    scene.board.set_up(BOARD_NIC, True)


def pull_cable(scene: Scene) -> None:
    scene.board.set_up(BOARD_NIC, False)


def put_a_switch_between(scene: Scene) -> None:
    """The board's end becomes a switch, with two boards."""
    scene.board.add_bridge("switch0")
    for number in (1, 2):
        scene.board.add_veth(f"p{number}", peer_name=f"e{number}", peer_path=scene.board.path)
        scene.board.set_up(f"p{number}", True)
        scene.board.set_up(f"e{number}", True)
        scene.board.plug(f"p{number}", "switch0")
    scene.board.plug(BOARD_NIC, "switch0")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (give_address, f"{NIC} has the address 203.0.113.1/24"),
        (give_default_route, f"{NIC} carries the default route"),
        (give_ssh_session, f"{NIC} carries an ssh session from {FAR_BOARD}"),
        (make_port, f"{NIC} is a port of bridge0"),
        (put_something_on_it, f"{NIC} is the lower interface of above0"),
        (give_twin, f"{NIC} and twin0 have the same Ethernet address"),
        (give_board_the_same_mac, f"a device on the link has the Ethernet address of {NIC} itself"),
        (pull_cable, f"{NIC} has no link"),
        (put_a_switch_between, "devices answer on the link"),
    ],
)
def test_a_nic_that_cannot_be_taken_is_refused(
    scene: Scene, make: Callable[[Scene], None], reason: str
) -> None:
    try:
        make(scene)
        assert reason in scene.refusal()
    finally:
        for one in SESSIONS:
            one.close()
        SESSIONS.clear()


def test_a_nic_with_everything_on_it_is_told_all_of_it(scene: Scene) -> None:
    give_address(scene)
    scene.ip("route add default via 203.0.113.9")
    said = [finding.detail for finding in scene.refusals()]
    assert said == [f"{NIC} carries the default route", f"{NIC} has the address 203.0.113.1/24"]


def test_the_session_that_the_environment_tells_of_is_respected(scene: Scene) -> None:
    """sshd may listen on any port; then $SSH_CONNECTION alone knows it."""
    scene.ip(f"route add {FAR_BOARD}/32 dev {NIC} src {HOST_ADDRESS}")
    board = Board.model_validate(
        {"name": "b", "management": BOARD_ADDRESS, "attach": {"kind": "nic", "interface": NIC}}
    )
    told = {"SSH_CONNECTION": f"{FAR_BOARD} 50000 {HOST_ADDRESS} 2222"}
    found = scene.host.call(lambda: check_attachment(board, environment=told))
    assert any(f"carries an ssh session from {FAR_BOARD}" in one.detail for one in found)
    assert usable(scene.host.call(lambda: check_attachment(board, environment={})))


@pytest.mark.parametrize("mark", ["wireless", "phy80211"])
def test_wifi_is_refused(scene: Scene, tmp_path: Path, mark: str) -> None:
    """By the kernel's marks in sysfs, on a tree of our own: there is no Wi-Fi here to be had."""
    (tmp_path / "sys/class/net" / NIC / mark).mkdir(parents=True)
    for kind in ('{"kind": "nic"', '{"kind": "vlan", "vlan": 7'):
        attach = json.loads(f'{kind}, "interface": "{NIC}"}}')
        board = Board.model_validate({"name": "b", "management": BOARD_ADDRESS, "attach": attach})
        found = scene.host.call(
            lambda board=board: check_attachment(board, sysfs=tmp_path / "sys", environment={})
        )
        (refused,) = [one for one in found if one.what == "wired"]
        assert refused.detail.startswith(f"{NIC} is Wi-Fi") and "VXLAN or by route" in refused.instead


def test_what_is_not_a_nic_is_refused(scene: Scene) -> None:
    scene.host.add_bridge("bridge0")
    said = [f.detail for f in scene.refusals('kind = "nic", interface = "bridge0"')]
    assert "bridge0 is a bridge, not a NIC" in said
    assert scene.refusal('kind = "nic", interface = "none0"') == "this machine has no interface none0"


def test_a_nic_that_is_down_is_worth_a_note(scene: Scene) -> None:
    scene.host.set_up(NIC, False)
    findings = scene.check()
    assert usable(findings)
    (note,) = [one for one in findings if one.verdict == "note" and one.what != MANAGED]
    assert note.detail == f"{NIC} is down, so its cable cannot be checked; attaching brings it up"


def test_the_management_plane_must_answer_and_go_another_way(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.boards.check.attachability.MANAGEMENT_WITHIN_S", 0.5)
    assert "no ssh server at 192.0.2.9, port 22" in scene.refusal(management="192.0.2.9")
    scene.ip(f"route add {FAR_BOARD}/32 dev {NIC} src {HOST_ADDRESS}")
    scene.ip(f"addr add {FAR_BOARD}/32 dev lo", scene.board)
    scene.ip(f"route add {HOST_ADDRESS}/32 dev {BOARD_NIC}", scene.board)
    said = scene.refusal(management=FAR_BOARD)
    assert said == f"{FAR_BOARD} is reached via {NIC}, which is the link under test"


def test_vxlan_says_its_inner_mtu(scene: Scene) -> None:
    findings = scene.check(f'kind = "vxlan", remote = "{BOARD_ADDRESS}", vni = 7')
    assert usable(findings)
    said = details(findings)
    assert said["route"] == f"{BOARD_ADDRESS} via mgmt0, from {HOST_ADDRESS}"
    assert said["MTU"].startswith("1450 bytes (1500 of mgmt0 minus 50 of VXLAN)")
    assert said["emulated plane"].startswith(f"{BOARD_ADDRESS} answers")
    with scene.host.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("", 4789))
        said_now = scene.refusal(f'kind = "vxlan", remote = "{BOARD_ADDRESS}", vni = 7')
    assert said_now == "4789: Address already in use"


@pytest.mark.parametrize(
    "attach", ['kind = "vxlan", remote = "{}", vni = 7', 'kind = "route", address = "{}"']
)
def test_a_far_board_must_be_reachable(scene: Scene, attach: str) -> None:
    no_way = scene.refusal(attach.format("203.0.113.7"))
    assert no_way == "there is no route to 203.0.113.7, or it is an address of this machine"
    assert "there is no route to" in scene.refusal(attach.format(HOST_ADDRESS))
    assert scene.refusal(attach.format("192.0.2.9")) == "192.0.2.9 does not answer a ping"


def test_a_board_by_route_can_be_used(scene: Scene) -> None:
    findings = scene.check(f'kind = "route", address = "{BOARD_ADDRESS}"')
    assert verdicts(findings) == {"ok"}


def test_the_command_line_reads_well(scene: Scene, tmp_path: Path) -> None:
    scene.inventory()
    listed = command(scene.host, f"board list --boards {tmp_path}/boards.toml", tmp_path)
    assert listed.stdout == f"{'b':20} NIC {NIC}; management {BOARD_ADDRESS}\n"
    give_address(scene)
    said = command(scene.host, f"board check b --no-login --boards {tmp_path}/boards.toml", tmp_path)
    assert said.returncode == 1 and said.stdout.endswith("\nboard b is refused\n")
    assert f"NO    free              {NIC} has the address 203.0.113.1/24\n" in said.stdout
    assert "instead: attach the board by another NIC" in said.stdout
    for arguments, error in (
        (f"board check c --boards {tmp_path}/boards.toml", "unknown board 'c'; the inventory has: b"),
        ("board check b --boards /nowhere.toml", "/nowhere.toml: No such file or directory"),
    ):
        done = command(scene.host, arguments, tmp_path)
        assert done.returncode == 2 and error in done.stderr and "Traceback" not in done.stderr
