"""Changes to the host's network are undone completely, however the process that made them ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.boards.machine_network import changes as host_changes
from testbed.boards.machine_network import journal
from testbed.boards.machine_network.changes import HostChanges
from testbed.boards.machine_network.journal import Journal
from testbed.cli.main import main
from testbed.errors import LinkError, TestbedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine.process_identity import ProcessIdentity, boot_id
from testbed.run.own_folders import remove_left_behind
from tests.support.boards.changing import change_everything
from tests.support.boards.played_host import NIC, ROOT, command, look, look_until, played_host, settle

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", autouse=True)
def _no_dead_run() -> None:
    """`clean` tells of what a killed run has left, also of one that this test knows nothing of."""
    remove_left_behind()


@pytest.fixture(scope="module")
def host() -> Iterator[NetworkNamespace]:
    with played_host() as (space, _):
        space.add_bridge("bridge0")
        space.set_mac("bridge0", "02:00:00:00:00:b0")  # or it would be that of whichever port is there
        space.add_veth("other0", peer_name="other1", peer_path=space.path)
        space.plug("other0", "bridge0")
        for name in ("other0", "other1"):
            space.set_up(name, True)
        space.add_veth("spare0", peer_name="spare1", peer_path=space.path)
        for up in (True, False):  # the first time changes its qdisc for good, from noop to noqueue
            space.set_up("spare0", up)
        # As on a physical NIC; a veth is made without.
        assert space.run(["ethtool", "--features", NIC, "generic-receive-offload", "on"]).returncode == 0
        settle(space)
        yield space


def test_every_kind_of_change_is_made_and_undone(host: NetworkNamespace, tmp_path: Path) -> None:
    before = look(host)

    def change() -> HostChanges:
        changes = HostChanges(Journal("test", tmp_path))
        change_everything(changes)
        return changes

    changes = host.call(change)
    changed = look(host)
    host.call(changes.undo)  # before anything is asserted: the other tests want the host as it was
    addresses = ("192.0.2.1", "2001:db8::1", "198.51.100.7", "203.0.113.0")
    words = (*addresses, '"priority":4711', '"mtu":1400', "PROMISC", "nic0/forwarding:1")
    for word in words:
        assert word in changed and word not in before
    merging = "generic-receive-offload: on"
    assert changed.count(merging) == before.count(merging) - 1
    assert look_until(host, before) == before
    assert not list((tmp_path / "journal").glob("*.jsonl"))


def test_a_killed_process_is_cleaned_up_after_at_any_moment(host: NetworkNamespace, tmp_path: Path) -> None:
    before = look(host)
    standing = []
    program = [sys.executable, "-m", "tests.support.boards.changing"]
    environment = {**os.environ, "SPACEVERSE_STATE": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    chance = random.Random(8)  # noqa: S311  # the same moments every time
    with host.popen(program, cwd=ROOT, env=environment, **pipes) as maker:
        assert maker.stdin is not None and maker.stdout is not None
        calls = int(maker.stdout.readline())
        for _ in range(20):
            maker.stdin.write(b"%d\n" % chance.randrange(1, calls * 9 // 10))
            maker.stdin.flush()
            assert int(maker.stdout.readline()) == signal.SIGKILL
            standing.append([len(found.changes) for found in journal.found_journals(tmp_path)])
            lines, well = host.call(lambda: journal.clean(host_changes.undo, tmp_path))
            assert well, lines
            assert look_until(host, before) == before
            assert not list((tmp_path / "journal").glob("*.jsonl"))
        maker.stdin.close()
    assert len({tuple(one) for one in standing}) > 5, "too few different moments to prove anything"


def test_the_command_undoes_lists_and_leaves_the_living_alone(host: NetworkNamespace, tmp_path: Path) -> None:
    before = look(host)
    changes = host.call(lambda: HostChanges(Journal("board x", tmp_path)))
    host.call(lambda: changes.set_mtu(NIC, 1400))
    changed = look(host)
    alive = command(host, "clean", tmp_path)
    assert (alive.returncode, look(host)) == (0, changed)
    assert alive.stdout == f"board x (process {os.getpid()}): still running, not touched\n"
    listed = command(host, "clean --list", tmp_path)
    assert listed.stdout == f"board x (process {os.getpid()}, running): mtu nic0\n"
    assert '"clean": true' in command(host, "clean --list --json", tmp_path).stdout
    (file,) = (tmp_path / "journal").glob("*.jsonl")
    text = file.read_text()
    ticks = f'"start_ticks": {ProcessIdentity.this().start_ticks}'
    file.write_text(text.replace(ticks, '"start_ticks": 1'))  # as if another process had our number before us
    listed = command(host, "clean --list --json", tmp_path)
    assert (listed.returncode, '"clean": false' in listed.stdout, look(host)) == (1, True, changed)
    done = command(host, "clean --json", tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"clean": true' in done.stdout and "1 changes undone" in done.stdout
    assert look_until(host, before) == before
    assert command(host, "clean", tmp_path).stdout == "nothing to clean up\n"
    nothing = command(host, "clean --list --json", tmp_path)
    assert (nothing.returncode, '"clean": true' in nothing.stdout) == (0, True)


def test_a_cut_last_line_was_never_acted_upon(host: NetworkNamespace, tmp_path: Path) -> None:
    before = look(host)
    host.call(lambda: HostChanges(Journal("x", tmp_path)).set_mtu(NIC, 1400))
    (file,) = (tmp_path / "journal").glob("*.jsonl")
    dead = file.read_text().replace('"pid": ', '"pid": 9999')
    file.write_text(dead + '{"kind": "address", "interf')
    lines, well = host.call(lambda: journal.clean(host_changes.undo, tmp_path))
    assert well and "1 changes undone" in lines[0]
    assert look_until(host, before) == before


def test_a_journal_without_a_line_is_taken_away_once_its_owner_is_dead(tmp_path: Path) -> None:
    """Its owner is between making it and its first line: without it the line, and a change, would be lost."""
    alive = Journal("x", tmp_path).path
    dead = alive.with_name("1-1-abc.jsonl")  # process 1 did not start with the machine's first tick
    alive.parent.mkdir()
    for path in (alive, dead):
        path.write_text('{"version": 1, "wh')
    assert journal.found_journals(tmp_path) == []
    assert alive.exists() and dead.exists(), "who looks changes nothing"
    assert journal.clean(host_changes.undo, tmp_path) == ([], True)
    assert alive.exists() and not dead.exists()


def test_runs_may_finish_while_their_journals_are_looked_at(tmp_path: Path) -> None:
    def come_and_go() -> None:
        while not enough.is_set():
            one = Journal("x", tmp_path)
            one.write({"kind": "nothing"})
            one.finish(lambda change: True)

    enough = threading.Event()
    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        for _ in range(2000):
            journal.found_journals(tmp_path)
    finally:
        enough.set()
        busy.join()


def test_cleaning_without_root_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as state:
        (Path(state) / "journal").mkdir()
        Path(state).chmod(0o755)
        monkeypatch.setenv("SPACEVERSE_STATE", state)
        assert main(["clean", "--list"]) == 0  # nobody need not be able to read what is imported
        os.seteuid(65534)
        try:
            assert (main(["clean", "--list"]), main(["clean"])) == (0, 2)
        finally:
            os.seteuid(0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Permission denied; run it with sudo")


def test_after_a_reboot_and_after_the_namespace_nothing_is_undone(tmp_path: Path) -> None:
    with played_host() as (host, _):
        host.call(lambda: HostChanges(Journal("x", tmp_path)).set_mtu(NIC, 1400))
        (file,) = (tmp_path / "journal").glob("*.jsonl")
        written = file.read_text()
        file.write_text(written.replace(boot_id(), "another-boot"))
        changed = look(host)
        lines, well = host.call(lambda: journal.clean(host_changes.undo, tmp_path))
        assert well and "the machine was restarted, which undid 1 changes" in lines[0]
        assert look(host) == changed and not file.exists()
        file.write_text(written.replace('"pid": ', '"pid": 9999'))
        lines, well = journal.clean(host_changes.undo, tmp_path)  # in our own namespace, not in that one
        assert not well and "run spaceverse clean there" in lines[0]
    while file.exists():
        lines, well = journal.clean(host_changes.undo, tmp_path)
    assert well and "its network namespace, and so its changes, no longer exist" in lines[0]


def test_an_interface_that_has_gone_is_dropped_with_a_word(tmp_path: Path) -> None:
    with played_host() as (host, _):
        host.add_veth("gone0", peer_name="gone1", peer_path=host.path)
        host.call(lambda: HostChanges(Journal("x", tmp_path)).set_mtu("gone0", 1400))
        host.delete("gone0")
        host.add_veth("gone0", peer_name="gone1", peer_path=host.path, mtu_bytes=1300)  # another of that name
        (file,) = (tmp_path / "journal").glob("*.jsonl")
        file.write_text(file.read_text().replace('"pid": ', '"pid": 9999'))
        lines, well = host.call(lambda: journal.clean(host_changes.undo, tmp_path))
        assert well and lines[0].endswith(
            "0 changes undone; dropped because the interface is gone: mtu gone0"
        )
        assert host.read("gone0").mtu_bytes == 1300


def test_what_cannot_be_undone_is_said_and_kept(host: NetworkNamespace, tmp_path: Path) -> None:
    changes = host.call(lambda: HostChanges(Journal("x", tmp_path)))
    host.call(lambda: changes.write_sysctl("ipv4/conf/nic0/rp_filter", "2", interface=NIC))
    (file,) = (tmp_path / "journal").glob("*.jsonl")
    whole = file.read_text()
    file.write_text(whole.replace('"before": "', '"before": "x').replace('"pid": ', '"pid": 9999'))
    done = command(host, "clean", tmp_path)
    assert done.returncode == 1
    assert "cannot undo sysctl nic0: [Errno 22] Invalid argument" in done.stdout and file.exists()
    host.call(changes.undo)
    assert not file.exists()


def test_nothing_is_changed_without_a_journal(host: NetworkNamespace, tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    before = look(host)
    with pytest.raises(TestbedError, match="nothing was changed"):
        host.call(lambda: HostChanges(Journal("x", tmp_path)).set_mtu(NIC, 1400))
    assert look(host) == before


def test_what_is_there_already_is_refused(host: NetworkNamespace, tmp_path: Path) -> None:
    changes = host.call(lambda: HostChanges(Journal("x", tmp_path)))
    with pytest.raises(LinkError, match="interface nic0 already exists"):
        host.call(lambda: changes.will_add_link(NIC, "02:00:00:00:00:01"))
    with pytest.raises(LinkError, match="this machine has no interface none0"):
        host.call(lambda: changes.set_mtu("none0", 1400))
    assert not list(tmp_path.rglob("*.jsonl"))
