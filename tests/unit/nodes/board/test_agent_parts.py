"""Parts of a board's agent: configuration, files by checksum, command line."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from nodes import agent
from nodes.board.assignment import node_config, read_assignment
from nodes.board.files import WINDOW, Fetcher, FileError
from nodes.contract.board import PIECE_BYTES, AgentConfig, Assignment
from nodes.contract.config import BrokerAddress, ConfigError
from nodes.models import COMPACT
from nodes.onboard.confidence import FILE

CONFIG: dict[str, Any] = {
    "board": "jetson-1",
    "management": {
        "host": "127.0.0.1",
        "access": {"username": "jetson-1", "password": "x"},
        "ca_pem": trustme.CA().cert_pem.bytes().decode(),
    },
    "folder": "/tmp/agent",  # noqa: S108 - never made
}


def fetched(folder: Path, contents: list[bytes], order: random.Random, loss: float) -> Fetcher:
    """Play a run that loses and reorders the requested pieces."""
    by_digest = {hashlib.sha256(data).hexdigest(): data for data in contents}
    requests: list[tuple[str, int]] = []
    fetcher = Fetcher(
        folder, {d: len(data) for d, data in by_digest.items()}, lambda d, o: requests.append((d, o))
    )
    for _ in range(10_000):
        if fetcher.complete:
            return fetcher
        fetcher.step()
        assert len(requests) <= WINDOW
        order.shuffle(requests)
        while requests:
            digest, offset = requests.pop()
            if order.random() < loss:
                fetcher._requested_s.clear()  # as after REPEAT_S
            else:
                fetcher.take(digest, offset, by_digest[digest][offset : offset + PIECE_BYTES])
    raise AssertionError("never complete")


@given(st.lists(st.integers(0, 3 * PIECE_BYTES), min_size=1, max_size=3), st.integers(), st.floats(0, 0.6))
def test_files_come_whole_whatever_is_lost_on_the_way(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, loss: float
) -> None:
    order = random.Random(seed)  # noqa: S311 - a path, not a secret
    folder = tmp_path_factory.mktemp("files")
    contents = [order.randbytes(size) for size in sizes]
    fetcher = fetched(folder, contents, order, loss)
    assert {path.read_bytes() for path in fetcher.paths.values()} == set(contents)
    assert {path.name for path in folder.iterdir()} == set(fetcher.paths), "nothing unfinished is left"
    assert Fetcher(folder, {d: len(p.read_bytes()) for d, p in fetcher.paths.items()}, ask_nobody).complete


def ask_nobody(digest: str, offset: int) -> None:
    raise AssertionError("what is there is not asked for")


def test_another_file_than_the_one_that_was_named_is_refused(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    fetcher = Fetcher(tmp_path, {digest: 5}, lambda d, o: None)
    fetcher.take(digest, 0, b"wr")
    fetcher.take("0" * 64, 0, b"other")
    assert not fetcher.complete and list(tmp_path.iterdir()) == []
    with pytest.raises(FileError, match=digest[:12]):
        fetcher.take(digest, 0, b"wrong")
    assert list(tmp_path.iterdir()) == []


def test_the_agent_fills_in_what_only_the_board_knows(tmp_path: Path) -> None:
    digest = "ab" * 32
    payload = {
        "run": "20180120-dove", "role": "satellite", "files": {digest: 3}, "heartbeat_lapse_s": 7,
        "access": {"username": "sat", "password": "y"},
        "config": {"name": "Sat", "model": "/on/the/host/compact", "frames": [{"image": f"sha256:{digest}"}]},
    }  # fmt: skip
    agent_config = AgentConfig.model_validate(CONFIG)
    assignment = read_assignment(json.dumps(payload).encode())
    config = node_config(assignment, agent_config, tmp_path, {digest: tmp_path / digest})
    assert config["frames"] == [{"image": str(tmp_path / digest)}]
    assert config["model"] == str(COMPACT) and config["outbox"] == str(tmp_path / "kept")
    assert (config["clock"], config["management_lost_after_s"]) == ("own", 7)
    address = BrokerAddress.model_validate(config["management"])
    assert address.access is not None and (address.host, address.access.username) == ("127.0.0.1", "sat")
    assert address.ca_pem == CONFIG["management"]["ca_pem"], "the node verifies the run, too"
    own = agent_config.model_copy(update={"models": tmp_path})
    (tmp_path / "compact").mkdir()
    assert node_config(assignment, own, tmp_path, {digest: tmp_path})["model"] == str(tmp_path / "compact")


def test_a_board_s_server_must_be_on_the_board(tmp_path: Path) -> None:
    agent = AgentConfig.model_validate(CONFIG)

    def model_of(name: str) -> str:
        assignment = Assignment(run="r", role="satellite", config={"model": name})
        return str(node_config(assignment, agent, tmp_path, {})["model"])

    for name in ("openai:http://127.0.0.1:8080/v1", "openai:http://localhost:8080/v1#small"):
        assert model_of(name) == name
    for name in ("openai:http://192.0.2.1:80/v1", "openai:http://127.0.0.1.example/v1", "openai:8080"):
        with pytest.raises(ConfigError, match=r"^assignment: model: openai:[^\n]*"):
            model_of(name)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"run": "../../etc", "role": "satellite", "config": {}}',
     b'{"run": "r", "role": "pilot", "config": {}}',
     b'{"run": "r", "role": "ground", "config": {}, "files": {"../x": 1}}'],
)  # fmt: skip
def test_what_is_no_assignment_is_refused_in_a_line(payload: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^assignment: [^\n]+$"):
        read_assignment(payload)


def test_code_and_what_may_be_code_is_refused_unless_the_owner_allows_it(tmp_path: Path) -> None:
    digest = "ab" * 32
    careful = AgentConfig.model_validate(CONFIG)
    willing = careful.model_copy(update={"allow_code": True})
    paths = {digest: tmp_path / digest}

    def made(agent: AgentConfig, **config: Any) -> dict[str, Any]:
        assignment = Assignment(run="r", role="satellite", config={"model": "m", **config})
        return node_config(assignment, agent, tmp_path, paths)

    for policy in ({"mine.py": f"sha256:{digest}"}, "/opt/mine.py"):
        with pytest.raises(ConfigError, match=r"^policy file 'mine.py' is code, [^\n]*\"allow_code\": true"):
            made(careful, policy=policy)
    assert made(willing, policy="/opt/mine.py")["policy"] == "/opt/mine.py"
    fetched = Path(made(willing, policy={"../../mine.py": f"sha256:{digest}"})["policy"])
    assert fetched == tmp_path / "policy/mine.py" and fetched.readlink() == tmp_path / digest
    two = {"a.py": f"sha256:{digest}", "b.py": f"sha256:{digest}"}
    for policy in (two, {}, {"mine.so": f"sha256:{digest}"}):
        with pytest.raises(ConfigError, match="neither a name nor one Python file"):
            made(willing, policy=policy)
    for name in ("mine.py", "pytorch_model.bin", "x.pkl", "confidence.json.py"):
        with pytest.raises(ConfigError, match="no file of a confidence network"):
            made(willing, confidence={name: f"sha256:{digest}"})
    assert made(careful, policy="spaceverse", confidence={FILE: f"sha256:{digest}"})["policy"] == "spaceverse"


@pytest.mark.parametrize("management", [{"ca_pem": None}, {"host": None, "unix_socket": "/run/plane"}])
def test_a_file_without_an_authority_is_refused_with_the_command_that_makes_it_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], management: dict[str, Any]
) -> None:
    path = tmp_path / "agent.json"
    old = {**CONFIG["management"], "ca_pem": None, **management}
    path.write_text(json.dumps({**CONFIG, "management": old}))
    for option in ([], ["--check"]):
        assert agent.main([str(path), *option]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "has no host and authority" in line and "spaceverse board agent-config jetson-1" in line


def test_an_authority_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.json"
    for changes in ({"ca_pem": "nonsense"}, {"ca_file": "/nowhere"}, {"ca_pem": None, "ca_file": str(path)}):
        path.write_text(json.dumps({**CONFIG, "management": {**CONFIG["management"], **changes}}))
        assert agent.main([str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"agent: {path}: management: ")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(CONFIG))
    assert agent.main([str(path), "--check"]) == 0
    path.write_text(json.dumps(CONFIG | {"bord": 1}))
    assert agent.main([str(path), "--check"]) == 2
    assert "unknown field 'bord'" in capsys.readouterr().err
    assert agent.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert agent.main(["--facts"]) == 0
    assert json.loads(capsys.readouterr().out)["packages"]["pydantic"]
