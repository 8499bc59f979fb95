"""An emulated link in a script or notebook: traffic, output, and complete removal."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import InputError, LinkError, ShaperDiedError, TestbedError
from testbed.network.emulation import EmulatedLink, EmulatedNetwork
from testbed.network.link_state import LinkState
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from tests.support.footprint import Footprint
from tests.support.played_link import pass_like_trace
from tests.support.starved import unless_starved
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace

pytestmark = pytest.mark.root
STATE = LinkState(True, 20e6, 0.01)


@pytest.fixture(autouse=True)
def leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Processes, temporary files, interfaces, threads and namespaces are afterwards as they were before."""
    assert tmp_path.exists()  # made before TMPDIR changes

    def own() -> set[str]:
        namespaces = {str(task.readlink()) for task in Path("/proc/self/task").glob("*/ns/net")}
        return {thread.name for thread in threading.enumerate()} | namespaces

    before = own()  # may hold a thread of the test before that is just ending
    with Footprint() as footprint:
        for name in (footprint.mark_name, "TMPDIR"):
            monkeypatch.setenv(name, footprint.environment[name])
        monkeypatch.setattr("tempfile.tempdir", footprint.environment["TMPDIR"])
        yield
        assert footprint.left_behind() == {}
    assert own() - before == set()


@pytest.mark.light
def test_a_constant_link_carries_programs_and_compares_itself_with_the_request() -> None:
    with EmulatedLink(STATE) as link:
        server = link.ground.popen("iperf3 -s")
        link.play(3.0)
        assert server.poll() is None
        assert "1 received" in link.satellite.run("ping -c 1 {ground}").stdout
        assert "1 received" in link.ground.run(["ping", "-c", "1", link.satellite.address]).stdout
        record = link.fidelity()
    summary, shown = record.summary(), str(record)
    assert f"RTT, ms {20.0512:>21.3f}" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert summary["rtt_samples"] >= 5
    assert summary["requested_rtt_s"] == pytest.approx(0.0200512)
    assert summary["measured_rtt_s"] == pytest.approx(summary["requested_rtt_s"], abs=0.005)
    assert summary["counters"]["down"]["delivered"] > 0


def test_a_link_stands_still_until_its_trace_is_played(tmp_path: Path) -> None:
    path = tmp_path / "pass.csv"
    write_trace(pass_like_trace(20e6, 2.0), path)
    with EmulatedLink(path) as link:
        link.satellite.run("ping -c 1 -W 1 {ground}")
        with pytest.raises(TestbedError, match=r"not being played yet; call play\(\) or start\(\) first"):
            link.fidelity()
        for _ in range(2):
            link.play()
            assert link.time_s >= 2.0
            assert link.satellite.run("ping -c 1 -W 1 {ground}", check=False).returncode != 0  # it has ended
        assert link.fidelity().rtt


@pytest.mark.light
def test_a_delay_that_changes_fast_is_no_error_of_the_link() -> None:
    """50 changes a second, 40 ms a second: a reply meets another delay than its probe did."""
    time_s = np.arange(0, 8, 0.02)
    delay_s = 0.01 + 0.04 * (time_s % 2)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    columns = {name: np.full(len(time_s), value) for name, value in (("rate", 20e6), ("loss", 0.0))}
    up, rate, loss = np.ones(len(time_s), dtype=bool), columns["rate"], columns["loss"]
    trace = Trace(header, time_s, up, up, rate, rate, delay_s, delay_s, loss, loss, end_s=8.0)

    def play() -> dict[str, float]:
        with EmulatedLink(trace) as link:
            link.play()
            summary = link.fidelity().summary()
        print({name: value for name, value in summary.items() if "error" in name})
        return summary

    def right(summary: dict[str, float]) -> bool:
        ways = all(summary[f"{way}_delay_error_p50_s"] < 5e-4 for way in ("down", "up"))
        rates = all(abs(summary[f"{way}_rate_error"]) < 0.02 for way in ("down", "up"))
        return ways and rates and summary["rtt_error_p50_s"] < 6e-4 and summary["rtt_error_p99_s"] < 3e-3

    assert unless_starved(play, right)["rtt_samples"] >= 20


@pytest.mark.light
def test_several_links_in_one_process_do_not_meet() -> None:
    with (
        EmulatedLink(STATE, probe=False) as one,
        EmulatedLink(LinkState(True, 1e6, 0.1), probe=False) as other,
    ):
        for link, least_ms in ((one, 20), (other, 200)):
            said = link.satellite.run("ping -c 1 {ground}").stdout
            assert float(said.split("time=")[1].split()[0]) == pytest.approx(least_ms, rel=0.3)


def test_nothing_is_left_after_an_exception_not_even_a_daemon(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(ZeroDivisionError), EmulatedLink(STATE) as link:
        link.ground.popen("sleep 1000 & sleep 1000")
        link.satellite.popen(f"setsid sh -c 'echo $$ > {pid}; exec sleep 1000' &")
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        raise ZeroDivisionError
    assert (
        not Path(f"/proc/{int(pid.read_text())}/cmdline").exists()
        or not Path(f"/proc/{int(pid.read_text())}/cmdline").read_bytes()
    )


@pytest.mark.parametrize("after_s", [0.05, 0.4, 3.0])
def test_nothing_is_left_after_ctrl_c_while_it_is_built_or_used(after_s: float) -> None:
    timer = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), EmulatedLink(STATE) as link:
        link.ground.popen("sleep 1000")
        link.satellite.run("sleep 1000")
    timer.join()


def test_errors_are_one_readable_line(tmp_path: Path) -> None:
    with EmulatedLink(STATE, probe=False) as link:
        with pytest.raises(
            TestbedError, match=r"satellite: 'false' ended with exit code 1: it printed nothing"
        ):
            link.satellite.run("false")
        with pytest.raises(TestbedError, match=r"ground: 'sleep 9' did not end within 0.1 s"):
            link.ground.run("sleep 9", timeout_s=0.1)
        with pytest.raises(TestbedError, match=r"ended with exit code 127: .*nothere: (not found|.*)"):
            link.ground.run("nothere")
        with pytest.raises(InputError, match=r"no end: give the seconds to wait, such as play\(10\)"):
            link.play()
        with pytest.raises(InputError, match="not probed; make it with probe=True"):
            link.fidelity()
    with pytest.raises(TestbedError, match="closed; use it inside of its `with` block"):
        link.play(1)
    with pytest.raises(InputError, match="up in both directions"):
        EmulatedLink((STATE, LinkState(False, 0, 0)))
    with pytest.raises(InputError, match="no shaper 'htb'"), EmulatedLink(STATE, shaper="htb"):
        pass
    with pytest.raises(Exception, match=r"nothere\.csv"):
        EmulatedLink(tmp_path / "nothere.csv")


def test_a_link_whose_shaper_dies_says_so_while_it_is_waited_for() -> None:
    with pytest.raises(ShaperDiedError), EmulatedLink(STATE, shaper="nfqueue") as link:
        assert isinstance(link.network.sky.shaper, NfqueueShaper)
        os.kill(link.network.sky.shaper.pid, signal.SIGKILL)
        link.play(10)


def test_programs_outlive_the_thread_that_started_them() -> None:
    with EmulatedLink(STATE, probe=False) as link:
        started = []
        thread = threading.Thread(target=lambda: started.append(link.ground.popen("sleep 1000")))
        thread.start()
        thread.join()
        time.sleep(0.2)
        assert started[0].poll() is None


def test_a_network_joins_hosts_and_bare_namespaces() -> None:
    with EmulatedNetwork("nfqueue") as network:
        for name in ("satellite", "station 1", "station 2"):
            network.add_host(name)
        with pytest.raises(LinkError, match="host satellite has no address"):
            print(network.hosts["satellite"].address)
        for number in (1, 2):
            network.add_link(
                "satellite",
                f"station {number}",
                name=f"link {number}",
                addresses=(f"10.0.{number}.1/24", f"10.0.{number}.2/24"),
            )
        one, other = network.add_namespace("one"), network.add_namespace("other")
        network.join("bare", one, other, addresses=("10.1.0.1", "10.1.0.2"))
        network.start()
        for link in network.links.values():
            link.set(STATE, STATE)
        for number in (1, 2):
            network.hosts["satellite"].run(f"ping -c 1 -W 2 {{station {number}}}")
        assert one.run(["ping", "-c", "1", "-W", "2", "10.1.0.2"]).returncode == 0
        network.check()
        with pytest.raises(InputError, match="two hosts named 'satellite'"):
            network.add_host("satellite")
        with pytest.raises(InputError, match="add both hosts before it"):
            network.add_link("satellite", "nobody")
