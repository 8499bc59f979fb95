"""Strangers at a run's address, and runs that send code: an agent tells no password and executes nothing."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract import topics
from nodes.contract.board import RunHeartbeat
from testbed.boards.agents import BoardAgents
from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.mqtt.broker_watch import BrokerWatch
from testbed.mqtt.certificates import Authority, Certificate
from testbed.network.programs import spawn
from tests.support.boards.agent_desk import PASSWORD, Desk, satellite
from tests.support.boards.stranger import Stranger
from tests.support.nodes.ends import free_port
from tests.support.waiting import wait_for

CALLS = 3  # enough attempts that a repeated complaint would show


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def desk(stack: ExitStack, tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    stack.callback(made.close)
    return made


def policy_file(folder: Path) -> tuple[Path, Path]:
    """A policy that leaves a mark when it is executed, and the mark."""
    path, mark = folder / "marking.py", folder / "executed"
    path.write_text(
        "from pathlib import Path\n"
        f"Path({str(mark)!r}).touch()\n"
        "from nodes.policies.baselines import OffloadAfter as Policy\n"
    )
    return path, mark


def hostile_run(stack: ExitStack, folder: Path) -> tuple[int, Path]:
    """A run of somebody else's on a broker that lets everybody in: (its port, the mark of its policy)."""
    folder.mkdir()
    port = free_port()
    listeners: list[TcpListener | UnixListener] = [
        TcpListener("127.0.0.1", port),
        UnixListener(folder / "plane"),
    ]
    stack.enter_context(Broker(folder, listeners, popen=spawn))
    boards = BoardAgents(folder / "plane", "hostile-run")
    stack.callback(boards.close)
    policy, mark = policy_file(folder)
    config = satellite(boards, policy={"marking.py": boards.files.add(policy)})
    boards.assign("board-1", "satellite", config)
    return port, mark


def no_certificate(desk: Desk, folder: Path) -> None:
    return None


def of_another_authority(desk: Desk, folder: Path) -> Certificate:
    return Authority(folder / "foreign").issue("management", ["127.0.0.1"])


def of_another_machine(desk: Desk, folder: Path) -> Certificate:
    """By the same authority, with the run's address as its common name only."""
    return desk.authority.issue("127.0.0.1", ["192.0.2.7", "board-2"])


def of_the_run(desk: Desk, folder: Path) -> Certificate:
    return desk.authority.issue("management", ["127.0.0.1"])


@pytest.mark.parametrize(
    ("certificate", "newest", "reason"),
    [
        (no_certificate, ssl.TLSVersion.TLSv1_3, "TLS: "),
        (of_another_authority, ssl.TLSVersion.TLSv1_3, "unable to get local issuer certificate"),
        (of_another_machine, ssl.TLSVersion.TLSv1_3, "IP address mismatch"),
        (of_the_run, ssl.TLSVersion.TLSv1_2, "TLSV1_ALERT_PROTOCOL_VERSION"),
    ],
)
def test_a_stranger_who_takes_the_port_is_told_no_password_and_gives_no_work(
    stack: ExitStack,
    desk: Desk,
    tmp_path: Path,
    certificate: Callable[[Desk, Path], Certificate | None],
    newest: ssl.TLSVersion,
    reason: str,
) -> None:
    desk.broker.stop()
    port, mark = hostile_run(stack, tmp_path / "hostile")
    shown = certificate(desk, tmp_path)
    stranger = Stranger(desk.port, port, shown, newest=newest)
    try:
        agent = desk.agent(allow_code=True)
        wait_for(lambda: stranger.calls >= CALLS, "attempts to connect", 30)
        told_nothing(stranger, tls=shown is not None)
    finally:
        stranger.close()
    log = desk.agent_log.read_text()
    (line,) = (line for line in log.splitlines() if "is not a run that this agent knows" in line)
    assert f"127.0.0.1:{desk.port} " in line and reason in line
    desk.broker.start()
    serves_the_true_run(desk)
    assert agent.process.poll() is None and not mark.exists()
    assert "hostile-run" not in desk.agent_log.read_text()
    assert [path.name for path in (tmp_path / "board/runs").iterdir()] == ["run-1"]


def test_a_man_in_the_middle_with_a_foreign_certificate_gets_nothing(desk: Desk, tmp_path: Path) -> None:
    """Even while the run is on: its assignment waits for the agent."""
    desk.boards.assign("board-1", "satellite", desk.satellite(model="./nowhere"), desk.node.to_json())
    middle = Stranger(port := free_port(), desk.port, of_another_authority(desk, tmp_path), upstream_tls=True)
    try:
        desk.agent(port=port)
        wait_for(lambda: middle.calls >= CALLS, "attempts to connect", 30)
        told_nothing(middle, tls=True)
        assert desk.states == [] and not (tmp_path / "board/runs").exists()
    finally:
        middle.close()
    honest = Stranger(port, desk.port)  # which passes the encrypted bytes on as they are
    try:
        wait_for(lambda: desk.state() == "failed", "the run's own work", 30)
        assert PASSWORD.encode() not in honest.heard and len(honest.heard) > 1000
    finally:
        honest.close()


def told_nothing(stranger: Stranger, *, tls: bool) -> None:
    if tls:
        assert stranger.heard == b"", "nothing is sent before the certificate is verified"
    else:
        assert stranger.heard[:2] == b"\x16\x03", "the agent begins with TLS"
        assert PASSWORD.encode() not in stranger.heard and b"board-1" not in stranger.heard


def serves_the_true_run(desk: Desk) -> None:
    wait_for(lambda: desk.state() == "idle", "registration with the true run", 20)
    desk.boards.assign("board-1", "satellite", desk.satellite(model="./nowhere"), desk.node.to_json())
    wait_for(lambda: desk.state() == "failed", "the true run's node", 20)
    assert "nowhere" in desk.boards.state("board-1")["reason"]


def test_another_boards_credentials_give_no_work_to_this_one(
    stack: ExitStack, desk: Desk, tmp_path: Path
) -> None:
    watch = BrokerWatch(desk.broker, lambda event: None)
    desk.agent(allow_code=True)
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    other = Client(CallbackAPIVersion.VERSION2, client_id="board-2-agent")
    other.username_pw_set(desk.other_board.username, desk.other_board.password)
    other.tls_set(str(desk.authority.certificate))
    heard: list[str] = []
    other.on_message = lambda client, userdata, message: heard.append(message.topic)
    other.connect("127.0.0.1", desk.port)
    other.loop_start()
    stack.callback(other.loop_stop)
    stack.callback(other.disconnect)
    other.subscribe([("#", 0), (topics.board_assignment("board-1"), 0), (topics.board_pieces("board-1"), 0)])
    policy, mark = policy_file(tmp_path)
    hostile = BoardAgents(desk.folder / "plane", "hostile-run", desk.run)
    hostile.close()
    config = satellite(hostile, policy={"marking.py": hostile.files.add(policy)})
    hostile._publish_assignment = lambda board: None  # type: ignore[method-assign] - to have its text
    hostile.assign("board-1", "satellite", config)
    attempts = [
        (topics.HEARTBEAT, RunHeartbeat(run="hostile-run").model_dump_json()),
        (topics.board_assignment("board-1"), hostile._assignments["board-1"]),
        (topics.board_state("board-1"), '{"state": "gone"}'),
    ]
    for topic, payload in attempts:
        other.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)
    wait_for(lambda: refused(watch) == len(attempts), "refused publications")
    desk.boards.assign("board-1", "satellite", desk.satellite(model="./nowhere"), desk.node.to_json())
    wait_for(lambda: desk.state() == "failed", "the true run's node", 20)
    assert "nowhere" in desk.boards.state("board-1")["reason"] and not mark.exists()
    assert not [topic for topic in heard if "board-1" in topic]


def refused(watch: BrokerWatch) -> int:
    watch.look(last=True)
    return watch.refusals["publication"]


def test_a_runs_code_is_fetched_only_if_the_boards_owner_allows_it(desk: Desk, tmp_path: Path) -> None:
    policy, mark = policy_file(tmp_path)
    code = policy.read_bytes()

    def is_fetched() -> bool:
        return any(path.read_bytes() == code for path in (tmp_path / "board/files").iterdir())

    careful = desk.agent()
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    config = desk.satellite(policy={"marking.py": desk.boards.files.add(policy)})
    desk.boards.assign("board-1", "satellite", config, desk.node.to_json())
    wait_for(lambda: desk.state() == "failed", "refusal", 20)
    reason = desk.boards.state("board-1")["reason"]
    assert "'marking.py' is code" in reason and '"allow_code": true' in reason
    path = tmp_path / "on-the-board.py"  # as a file that an earlier run has left there
    path.write_bytes(code)
    desk.boards.assign("board-1", "satellite", desk.satellite(policy=str(path)), desk.node.to_json())
    wait_for(lambda: "'on-the-board.py' is code" in str(desk.boards.state("board-1")["reason"]), "refusal", 9)
    assert not mark.exists() and not (tmp_path / "board/files").exists()
    careful.stop()
    wait_for(lambda: desk.state() == "gone", "the end of the agent")

    desk.agent(allow_code=True)
    desk.boards.assign("board-1", "satellite", config, desk.node.to_json())
    wait_for(mark.exists, "the policy's execution", 20)
    assert is_fetched()


def test_a_network_that_is_code_is_never_fetched(desk: Desk, tmp_path: Path) -> None:
    policy, _ = policy_file(tmp_path)
    desk.agent(allow_code=True)
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    for name in ("marking.py", "pytorch_model.bin"):
        config = desk.satellite(confidence={name: desk.boards.files.add(policy)})
        desk.boards.assign("board-1", "satellite", config, desk.node.to_json())
        wait_for(lambda name=name: name in str(desk.boards.state("board-1")["reason"]), "refusal", 9)  # type: ignore[misc]
        time.sleep(0.2)
    assert not (tmp_path / "board/files").exists()
