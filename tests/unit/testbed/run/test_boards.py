"""What a run knows of its boards before anything is touched."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from nodes.board.assignment import node_config, read_agent_config
from nodes.contract import topics
from nodes.contract.board import PIECE_BYTES, AgentConfig, Assignment
from nodes.contract.config import SatelliteConfig
from nodes.contract.models.options import ModelOptions
from nodes.runtime.contact import ToldContacts
from testbed.boards.agent_access import AGENT_PORT, agent_config, agent_password, board_authority
from testbed.boards.agents import FileStore
from testbed.boards.attachment import BoardRefusedError
from testbed.boards.inventory import Board
from testbed.boards.link import ground_endpoint
from testbed.boards.path import BoardPath, compensated
from testbed.errors import InputError, TestbedError
from testbed.mqtt.accounts import node_account, run_account
from testbed.run.boards import REGISTERED_WITHIN_S, RunBoards, boards_of, offered
from testbed.run.folder import RunFolder
from testbed.run.plan import RunPlan
from testbed.run.traces import link_trace
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Scenario
from tests.support import ROOT

ROUTE = {"kind": "route", "address": "10.8.0.4"}
NIC = {"kind": "nic", "interface": "enp3s0"}


def board(**changes: Any) -> Board:
    fields = {"name": "jetson-1", "management": "192.0.2.2", "link": "10.201.1.1/30", "attach": NIC}
    return Board.model_validate(fields | changes)


def scenario(**changes: Any) -> Scenario:
    read = load_scenario(ROOT / "topologies/dove_pass.py").model_dump()
    read["satellites"][0]["board"] = "jetson-1"
    return Scenario.model_validate(read | changes)


def test_a_link_to_a_board_has_the_addresses_of_the_inventory() -> None:
    assert board().link_addresses() == ("10.201.1.1", "10.201.1.2")
    assert board(link="10.201.1.2/30").link_addresses() == ("10.201.1.2", "10.201.1.1")
    assert board(attach=ROUTE).link_addresses() == ("10.8.0.4", "10.201.1.2")
    with pytest.raises(InputError, match=r"board jetson-1 has no address on its link; add a line .* link ="):
        board(link=None).link_addresses()
    assert ground_endpoint("10.201.1.2").mac == "02:00:0a:c9:01:02"


@pytest.mark.parametrize(
    "link", ["10.201.1.1", "10.201.1.1/24", "10.201.1.0/30", "10.201.1.3/30", "fd00::1/64"]
)
def test_a_link_needs_one_of_two_addresses(link: str) -> None:
    with pytest.raises(ValueError, match=r"is not (an IPv4 address|one of the two addresses)"):
        board(link=link)


def test_a_scenario_names_boards_of_its_inventory(tmp_path: Path) -> None:
    inventory = tmp_path / "boards.toml"
    with pytest.raises(InputError, match=r"boards\.toml: No such file or directory"):
        boards_of(scenario(boards=inventory))
    table = 'management = "h"\nattach = { kind = "nic", interface = "e" }\n'
    inventory.write_text(f"[boards.other]\n{table}")
    with pytest.raises(InputError, match="unknown board 'jetson-1'; the inventory has: other"):
        boards_of(scenario(boards=inventory))
    inventory.write_text(f"[boards.jetson-1]\n{table}")
    with pytest.raises(InputError, match="has no address on its link"):
        boards_of(scenario(boards=inventory))
    inventory.write_text(f'[boards.jetson-1]\nlink = "10.201.1.1/30"\n{table}')
    assert boards_of(scenario(boards=inventory))["FLOCK 2P-1"].name == "jetson-1"
    emulated = load_scenario(ROOT / "topologies/dove_pass.py")
    assert boards_of(emulated.model_copy(update={"boards": tmp_path / "none"})) == {}


def test_a_board_is_one_satellite_with_one_link() -> None:
    read = load_scenario(ROOT / "topologies/two_stations.py").model_dump()
    read["satellites"][0]["board"] = "jetson-1"
    with pytest.raises(ValueError, match="is a board, which supports only one link; it has 2"):
        Scenario.model_validate(read)
    read = scenario().model_dump()
    twin = read["satellites"][0] | {"name": "TWIN"}
    twin["frames"] = [frame | {"frame": f"t{frame['frame']}"} for frame in twin["frames"]]
    read["satellites"] = [read["satellites"][0], twin]
    read["links"] = [read["links"][0], read["links"][0] | {"satellite": "TWIN"}]
    with pytest.raises(ValueError, match="duplicate board name: jetson-1"):
        Scenario.model_validate(read)


@pytest.mark.parametrize("name", ["jetson-1", "Jetson 1"])
def test_a_board_is_no_nodes_namesake(name: str) -> None:
    """Its agent and the node's program would share an account, a client id and their events' topic."""
    for kind in ("satellite", "station"):
        read = scenario().model_dump()
        read[f"{kind}s"][0]["name"] = read["links"][0][kind] = name
        with pytest.raises(ValueError, match="differ only in case or punctuation: jetson-1"):
            Scenario.model_validate(read)


def test_the_agent_makes_a_whole_configuration_of_what_a_board_is_told(tmp_path: Path) -> None:
    flown = scenario()
    runs = ModelOptions(device="cuda", dtype="bfloat16", max_pixels=200_000, model_threads=2)
    satellite = flown.satellites[0].model_copy(update=dict(runs))
    flown = flown.model_copy(update={"satellites": (satellite,)})
    traces = {link.name: link_trace(flown, link) for link in flown.links}
    folder = RunFolder.create(tmp_path, flown.name)
    plan = RunPlan(flown, traces, folder, Path("/tmp/s"), {"FLOCK 2P-1": board()})  # noqa: S108
    assert plan.emulated_names == ["Svalbard"]
    plan.write_inputs()
    assert not plan.config_path("FLOCK 2P-1").exists()
    told = plan.board_config("FLOCK 2P-1")
    assert not {"management", "outbox"} & told.keys() and "'truth'" not in str(told)
    agent = AgentConfig.model_validate(
        {"board": "jetson-1", "management": {"host": "192.0.2.1", "ca_pem": "..."}, "folder": tmp_path}
    )
    whole = node_config(Assignment(run="r", role="satellite", config=told), agent, tmp_path, {})
    config = SatelliteConfig.model_validate(whole)
    (station,) = config.stations
    assert (station.host, station.interface, station.told) == ("10.201.1.2", None, True)
    assert config.clock == "own" and config.options == runs


def test_a_board_is_given_its_policys_values_and_network(tmp_path: Path) -> None:
    values, network, fetched = tmp_path / "policies.json", tmp_path / "network", tmp_path / "fetched"
    network.mkdir()
    fetched.mkdir()
    values.write_text('{"spaceverse": {}}')
    (network / "confidence.json").write_text("{}")
    flown = scenario()
    changes = {"policy": "spaceverse", "policy_parameters": values, "confidence": network}
    satellite = flown.satellites[0].model_copy(update={**changes, "accept_confidence": None})
    flown = flown.model_copy(update={"satellites": (satellite,)})
    traces = {link.name: link_trace(flown, link) for link in flown.links}
    plan = RunPlan(flown, traces, RunFolder.create(tmp_path, flown.name), tmp_path, {"FLOCK 2P-1": board()})
    files = FileStore()
    told = offered(plan.board_config("FLOCK 2P-1"), files)
    assert str(tmp_path) not in json.dumps([told["policy_parameters"], told["confidence"]])
    sizes_bytes = files.sizes_bytes(told)
    for digest, size_bytes in sizes_bytes.items():
        (fetched / digest).write_bytes(files.piece(digest, 0) or b"")
        assert (fetched / digest).stat().st_size == min(size_bytes, PIECE_BYTES)
    agent = AgentConfig.model_validate(
        {"board": "jetson-1", "management": {"host": "192.0.2.1", "ca_pem": "..."}, "folder": tmp_path}
    )
    assignment = Assignment(run="r", role="satellite", config=told, files=sizes_bytes)
    paths = {digest: fetched / digest for digest in sizes_bytes}
    whole = node_config(assignment, agent, tmp_path / "run", paths)
    config = SatelliteConfig.model_validate(whole)
    assert isinstance(config.policy_parameters, Path) and config.confidence is not None
    assert config.policy_parameters.parent == fetched
    assert config.policy_parameters.read_text() == values.read_text()
    assert [path.name for path in config.confidence.iterdir()] == ["confidence.json"]
    assert (config.confidence / "confidence.json").read_text() == "{}"


def test_contacts_are_what_the_run_told_last() -> None:
    contacts = ToldContacts(Client(CallbackAPIVersion.VERSION2), "flock-2p-1")
    watch = contacts.watch("Svalbard")
    assert not watch.up()

    def tell(payload: bytes) -> None:
        message = MQTTMessage(topic=topics.contact("flock-2p-1").encode())
        message.payload = payload
        contacts._on_message(contacts._client, None, message)

    tell(json.dumps({"Svalbard": True, "Tromso": False}).encode())
    assert watch.up() and not contacts.watch("Tromso").up()
    for nonsense in (b"", b"[]", b"{", b"1"):
        tell(nonsense)
        assert watch.up()
    tell(b'{"Svalbard": false}')
    assert not watch.up()


def test_a_run_may_tell_contacts_and_a_node_hears_its_own() -> None:
    assert "spaceverse/contact/+" in run_account().writes
    assert "spaceverse/contact/flock-2p-1" in node_account("flock-2p-1").reads
    assert not any("contact" in topic for topic in node_account("flock-2p-1").writes)


def test_half_of_the_boards_round_trip_is_taken_out_of_each_way() -> None:
    flown = scenario()
    trace = link_trace(flown, flown.links[0])
    path = BoardPath("02:00:00:00:00:01", rtt_s=1e-3, rtt_p95_s=2e-3, lost=0, rate_bit_s=9e8)
    played = compensated(trace, path, "jetson-1")
    up = trace.up
    assert np.allclose(played.down_delay_s[up], trace.down_delay_s[up] - 0.5e-3)
    assert np.allclose(played.up_delay_s[up], trace.up_delay_s[up] - 0.5e-3)
    assert played.contacts() == trace.contacts()
    far = BoardPath("02:00:00:00:00:01", rtt_s=40e-3, rtt_p95_s=41e-3, lost=0, rate_bit_s=None)
    with pytest.raises(
        BoardRefusedError, match=r"path to board jetson-1 takes 20\.000 ms one way, .* down to \d"
    ):
        compensated(trace, far, "jetson-1")


def test_a_boards_password_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    first = agent_password("jetson-1", tmp_path)
    assert len(first) >= 32 and agent_password("jetson-1", tmp_path) == first
    assert agent_password("pi-2", tmp_path) != first
    assert (tmp_path / "boards/passwords/jetson-1").stat().st_mode & 0o777 == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="run with sudo"):
        agent_password("x", tmp_path / "file")


def test_a_password_that_went_over_the_network_in_clear_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/jetson-1").write_text("of an earlier version\n")
    assert agent_password("jetson-1", tmp_path) != "of an earlier version"


def test_the_authority_of_the_boards_is_made_once_and_its_key_is_its_owners(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:  # as several commands that start at once
        found = list(pool.map(lambda _: board_authority(tmp_path).cert_pem.bytes(), range(4)))
    assert len(set(found)) == 1
    path = tmp_path / "boards/authority.pem"
    assert path.stat().st_mode & 0o777 == 0o600 and b"PRIVATE KEY" in path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["authority.pem"]
    path.write_bytes(found[0])
    with pytest.raises(InputError, match=r"authority.pem holds no private key .*board agent-config"):
        board_authority(tmp_path)


def test_an_agents_configuration_has_the_authority_and_never_its_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPACEVERSE_STATE", str(tmp_path))
    monkeypatch.setattr("testbed.boards.agent_access.own_address", lambda board: "192.0.2.1")
    config = agent_config(board())
    assert config["management"]["ca_pem"].encode() == board_authority().cert_pem.bytes()
    assert "PRIVATE KEY" not in json.dumps(config) and config["allow_code"] is False
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(config))
    assert read_agent_config(path).management.host == "192.0.2.1"


def test_a_run_proves_itself_to_boards_by_the_authority_at_the_address_that_they_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPACEVERSE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("testbed.run.boards.own_address", lambda board: "192.0.2.1")
    plan = RunPlan(scenario(), {}, RunFolder(tmp_path / "run"), tmp_path / "sockets", {"FLOCK 2P-1": board()})
    (listener,) = RunBoards(plan, lambda event, monotonic_s=None: None).listeners()
    assert listener.tls is not None and (listener.address, listener.port) == ("192.0.2.1", AGENT_PORT)
    shown = x509.load_pem_x509_certificate(listener.tls.certificate.read_bytes())
    shown.verify_directly_issued_by(x509.load_pem_x509_certificate(board_authority().cert_pem.bytes()))
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]
    assert not list((tmp_path / "run").rglob("*.key")), "the run's folder is the user's"
    emulated = RunPlan(scenario(), {}, RunFolder(tmp_path), tmp_path)
    none = RunBoards(emulated, lambda event, monotonic_s=None: None)
    assert none.listeners() == []


def test_a_policy_file_is_offered_under_its_own_name(tmp_path: Path) -> None:
    policy = tmp_path / "mine.py"
    policy.write_text("class Policy: ...")
    files = FileStore()
    config = {"frames": [], "stations": [], "confidence": None}
    told = offered({**config, "policy": str(policy)}, files)
    assert list(told["policy"]) == ["mine.py"] and files.sizes_bytes(told)
    assert offered({**config, "policy": "spaceverse"}, files)["policy"] == "spaceverse"


class Told:
    """What a board's agent tells, without a broker."""

    said = "gone"

    def state(self, board: str) -> dict[str, Any]:
        assert board == "jetson-1"
        return {"state": self.said, "reason": "no model" if self.said == "failed" else None}


def test_an_agent_that_is_started_again_is_waited_for_and_its_absence_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now_s, told, events = 1000.0, Told(), []
    monkeypatch.setattr("testbed.run.boards.time.monotonic", lambda: now_s)
    monkeypatch.setattr("testbed.run.boards.own_address", lambda board: "here")
    plan = RunPlan(scenario(), {}, RunFolder(tmp_path), tmp_path, {"FLOCK 2P-1": board()})
    boards = RunBoards(plan, lambda event, monotonic_s=None: events.append(event))
    boards._agents, boards._gone_since_s["FLOCK 2P-1"] = told, now_s  # type: ignore[assignment]

    def look(state: str, at_s: float, scenario_s: float | None) -> None:
        nonlocal now_s
        told.said, now_s = state, 1000.0 + at_s
        boards.look(scenario_s)

    look("gone", 20, None)
    look("idle", 25, None)
    look("gone", 40, None)  # again: the clock begins anew
    look("gone", 39 + REGISTERED_WITHIN_S, None)
    with pytest.raises(TestbedError, match="its agent did not connect to here, port"):
        look("gone", 41 + REGISTERED_WITHIN_S, None)
    for state, scenario_s in (
        ("running", 1.0),
        ("gone", 2.0),
        ("idle", 3.0),
        ("gone", 3.5),
        ("running", 5.0),
    ):
        look(state, 90 + scenario_s, scenario_s)
    look("failed", 99, 9.0)
    lines = [absence.line("board jetson-1") for absence in boards._absences["FLOCK 2P-1"]]
    assert lines == [
        "board jetson-1 was absent from 2.0 to 5.0 s: its agent does not respond",
        "board jetson-1 was lost at 9.0 s: no model",
    ]
    assert [event.state for event in events[:4]] == ["gone", "idle", "gone", "running"]
    with pytest.raises(TestbedError, match="no model"):
        boards.look(None)
