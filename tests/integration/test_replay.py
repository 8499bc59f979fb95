"""`spaceverse replay` under real programs, as a user runs it."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.footprint import Footprint
from tests.support.starved import unless_starved
from traces.trace import Trace
from traces.trace_file import read_trace
from traces.utc import parse_utc

pytestmark = pytest.mark.root
PYTHON = sys.executable
# A recording of a download: 8 Mbit/s, then half of it; a round trip of 40 ms, then of 30 ms.
LINK = "time_s,down_mbit,up_mbit,rtt_ms\n0,8,2,40\n3,4,2,30\n9,4,2,30\n"
ENDS = ("satellite", "ground")
COLUMNS = ["--columns", "time=time_s:s,down=down_mbit:Mbit/s,up=up_mbit:Mbit/s,rtt=rtt_ms:ms"]


@pytest.fixture
def footprint() -> Iterator[Footprint]:
    with Footprint() as made:
        yield made


def command(folder: Path, *options: str, link: str = LINK) -> list[str]:
    (folder / "link.csv").write_text(link)
    declared = COLUMNS if link == LINK else []
    return [
        PYTHON, "-m", "testbed.cli.main", "replay", str(folder / "link.csv"), *declared,
        "--output", str(folder / "runs"), *options,
    ]  # fmt: skip


def replayed(folder: Path, footprint: Footprint, *options: str, link: str = LINK) -> tuple[dict, str]:
    """The results and what the client printed; whatever it made is gone."""
    done = subprocess.run(
        command(folder, *options, "--json", link=link),
        cwd=ROOT,
        env=footprint.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert footprint.left_behind() == {}
    return json.loads(done.stdout), done.stderr


@pytest.mark.light
def test_ping_sees_the_recorded_round_trips(tmp_path: Path, footprint: Footprint) -> None:
    def ping() -> tuple[dict, list[float]]:
        results, said = replayed(tmp_path, footprint, "--client", "ping -D -c 40 -i 0.1 {server}")
        rtts_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", said)]
        assert len(rtts_ms) == 40
        assert min(rtts_ms) >= 30
        return results, rtts_ms

    def right(found: tuple[dict, list[float]]) -> bool:
        before_ms, after_ms = sorted(found[1][:20])[10], sorted(found[1][-5:])[2]
        kept = found[0]["fidelity"]["rtt_error_p50_s"] < 2e-3
        return kept and abs(before_ms - 40) < 1.5 and abs(after_ms - 30) < 1.5

    results, _ = unless_starved(ping, right)
    assert results["fidelity"]["rtt_samples"] > 3
    assert results["changes"] == 2  # up at second 0, other values at second 3
    folder = Path(results["folder"])
    assert read_trace(folder / "traces/link.csv").down_bit_s.tolist() == [8e6, 4e6]
    assert {"results.json", "fidelity.json"} <= {path.name for path in folder.iterdir()}


@pytest.mark.light
def test_iperf3_gets_the_recorded_rate(tmp_path: Path, footprint: Footprint) -> None:
    def means_bit_s() -> tuple[float, float]:
        client = "iperf3 -c {server} -R -J -t 5 -O 1 -i 0.5"
        _, said = replayed(tmp_path, footprint, "--server", "iperf3 -s -1", "--client", client)
        report = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
        rates = {
            round(one["sum"]["start"], 1): one["sum"]["bits_per_second"]
            for one in report["intervals"]
            if not one["sum"]["omitted"]
        }
        before = [rate for start, rate in rates.items() if start < 1.0]
        after = [rate for start, rate in rates.items() if 3.0 < start < 5]
        return sum(before) / len(before), sum(after) / len(after)

    def right(found: tuple[float, float]) -> bool:
        return 0.88 * 8e6 < found[0] < 1.02 * 8e6 and 0.88 * 4e6 < found[1] < 1.02 * 4e6

    unless_starved(means_bit_s, right)


def test_a_full_link_is_compared_by_its_queue_and_its_bytes(tmp_path: Path, footprint: Footprint) -> None:
    """The programs leave no moment in which a probe finds the link idle."""

    def load() -> dict:
        client = "iperf3 -c {server} -R -t 6"
        return replayed(tmp_path, footprint, "--server", "iperf3 -s -1", "--client", client)[0]

    def right(results: dict) -> bool:
        fidelity, down = results["fidelity"], results["traffic"]["down"]
        rtt = fidelity["queued_rtt_error_p50_s"] < 2e-3
        return rtt and down["full_s"] >= 2 and abs(down["full_rate_error"]) < 0.03

    results = unless_starved(load, right)
    fidelity, traffic = results["fidelity"], results["traffic"]
    assert fidelity["queued_rtt_samples"] >= 15
    assert fidelity["queued_wait_s"] > 5e-3
    assert fidelity["rtt_samples_behind_traffic"] == 0
    assert 0.5 < traffic["down"]["carried_bytes"] / traffic["down"]["requested_bytes"] <= 1
    assert traffic["up"]["carried_bytes"] <= traffic["up"]["offered_bytes"]
    with Path(results["files"]["timeline"]).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == math.ceil(traffic["played_s"])
    assert [float(row["down_requested_bit_s"]) for row in rows[:5]] == [8e6, 8e6, 8e6, 4e6, 4e6]
    carried = sum((float(r["end_s"]) - float(r["begin_s"])) * float(r["down_carried_bit_s"]) for r in rows)
    assert carried / 8 == pytest.approx(traffic["down"]["carried_bytes"], rel=0.02)
    assert all(row["measured_rtt_s"] for row in rows[:6])
    assert Path(results["files"]["plot"]).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path(results["files"]["report"]).read_text()


def test_a_replay_ends_in_tables_and_the_names_of_its_files(tmp_path: Path, footprint: Footprint) -> None:
    done = subprocess.run(
        command(tmp_path, "--client", "ping -c 5 -i 0.2 {server}"),
        cwd=ROOT,
        env={**footprint.environment, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80 or str(tmp_path) in max(lines, key=len)
    assert re.search(r"^ downlink +8\.000 +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^ RTT, no queue +40\.\d\d ms +4\d\.\d\d ms", done.stdout, re.MULTILINE)
    for line, what in zip(lines[-4:], ("timeline", "plot", "report", "results"), strict=True):
        assert line.startswith(f"{what}: ")
        assert Path(line.split(": ")[1]).exists()


def test_curl_fetches_a_file_over_http(tmp_path: Path, footprint: Footprint) -> None:
    (tmp_path / "frame.bin").write_bytes(os.urandom(1_000_000))

    def took_s() -> float:
        _, said = replayed(
            tmp_path, footprint,
            "--server", f"cd {tmp_path} && {PYTHON} -m http.server 8000",
            "--client", f"curl -sS -o {tmp_path}/got.bin -w 'took %{{time_total}} s' http://{{server}}:8000/frame.bin",
        )  # fmt: skip
        assert (tmp_path / "got.bin").read_bytes() == (tmp_path / "frame.bin").read_bytes()
        return float(re.search(r"took ([\d.]+) s", said)[1])  # type: ignore[index]

    unless_starved(took_s, lambda found_s: 1.0 < found_s < 1.6)  # 1 MB at 8 Mbit/s, and TCP's start


def test_mosquitto_carries_a_message_up(tmp_path: Path, footprint: Footprint) -> None:
    (tmp_path / "broker.conf").write_text("listener 1883\nallow_anonymous true\n")
    wait = f"mosquitto_sub -h 127.0.0.1 -t frame -C 1 -N > {tmp_path}/got.bin"
    (tmp_path / "frame.bin").write_bytes(os.urandom(100_000))
    replayed(
        tmp_path, footprint,
        "--server-at", "ground",
        "--server", f"mosquitto -c {tmp_path}/broker.conf & sleep 0.5; {wait}; sleep 9",
        "--client-at", "1.5",
        "--client", f"mosquitto_pub -h {{server}} -q 1 -t frame -f {tmp_path}/frame.bin",
    )  # fmt: skip
    assert (tmp_path / "got.bin").read_bytes() == (tmp_path / "frame.bin").read_bytes()


def test_a_contact_is_waited_for_and_its_end_ends_the_client(tmp_path: Path, footprint: Footprint) -> None:
    link = "a contact +2 +5 1 2 500000\na contact +2 +5 2 1 125000\n"

    def replay() -> tuple[dict, int]:
        results, said = replayed(
            tmp_path, footprint, "--from", "ion", "--delay", "5ms", "--speed", "2", "--no-probe",
            "--client", "ping -i 0.05 {server}", link=link,
        )  # fmt: skip
        assert re.search(r"[12]\.\d\d s  client starts", said)
        received = re.search(r"(\d+) received", said)
        assert received is not None, said  # it was ended as by Ctrl-C, and could say what it saw
        assert 0 < int(received[1]) <= 32  # the contact lasts 1.5 s
        return results, int(received[1])

    results, _ = unless_starved(replay, lambda found: found[1] > 20)
    assert results["client_exit"] is None
    assert results["fidelity"] is None
    assert results["traffic"]["down"]["carried_bytes"] > 500  # ping's replies
    assert results["notes"] == ["the client was stopped at the end of the trace"]


def outcome(arguments: list[str], footprint: Footprint) -> tuple[int, str]:
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=footprint.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert footprint.left_behind() == {}
    return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


def test_a_replay_that_cannot_be_leaves_no_folder(tmp_path: Path, footprint: Footprint) -> None:
    done = subprocess.run(
        command(tmp_path, "--client", "true", "--shaper", "nfqueue"),
        cwd=ROOT,
        env={**footprint.environment, "PATH": str(tmp_path)},  # without nft and iptables
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "runs").exists()


def test_programs_for_root_are_found_where_path_leaves_sbin_out(tmp_path: Path, footprint: Footprint) -> None:
    done = subprocess.run(
        command(tmp_path, "--client", "true", "--no-probe"),
        cwd=ROOT,
        env={**footprint.environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_probe_that_dies_costs_its_figures_only(tmp_path: Path, footprint: Footprint) -> None:
    (tmp_path / "client.sh").write_text(
        f"""sleep 1
for process in /proc/[0-9]*; do
    if tr '\\0' ' ' < $process/cmdline | grep -q 'testbed.measure.probe.*{tmp_path}'; then
        kill -9 ${{process#/proc/}}
    fi
done 2> /dev/null
sleep 1
echo still here
"""
    )
    results, said = replayed(tmp_path, footprint, "--client", f"sh {tmp_path}/client.sh")
    notes = [f"probe at the {end} was killed by SIGKILL: what it measured ends there" for end in ENDS]
    assert set(notes) <= set(results["notes"]) and notes[0] in said
    assert "still here" in said
    assert results["fidelity"]["rtt_samples"] < 20


def test_exit_codes(tmp_path: Path, footprint: Footprint) -> None:
    assert outcome(command(tmp_path, "--client", "exit 7", "--no-probe"), footprint)[0] == 1
    code, said = outcome(command(tmp_path, "--server", "exit 3", "--client", "true", "--no-probe"), footprint)
    assert (code, "the server ended with exit code 3" in said) == (1, True)
    code, said = outcome(command(tmp_path, link="1\n2\n3\n"), footprint)
    assert code == 2
    assert "link.csv: a mahimahi recording without down_delay_s; add --delay DURATION" in said
    code, said = outcome(command(tmp_path, "--speed", "0"), footprint)
    assert (code, "--speed 0" in said) == (2, True)
    slow = LINK.replace("4,2,30", "5e-6,2,30")
    code, said = outcome(command(tmp_path, *COLUMNS, link=slow), footprint)
    assert (code, "at 3 s its down_bit_s is 5; while up, a link can do 8 or more" in said) == (2, True)


def test_a_client_runs_or_is_refused(tmp_path: Path, footprint: Footprint) -> None:
    for at, reason in (
        ("100", "--client-at 100: the trace plays from 0 to "),
        ("nan", "--client-at: 'nan' is not a duration"),
        ("-1", "--client-at: '-1' is not a duration"),
    ):
        code, said = outcome(command(tmp_path, "--client", "true", f"--client-at={at}"), footprint)
        assert (code, reason in said) == (2, True)
    short = ("--client", "sleep 9", "--duration", "0.01", "--no-probe")
    results, said = replayed(tmp_path, footprint, *short)
    assert "client starts" in said
    assert results["notes"] == ["the client was stopped at the end of the trace"]


@pytest.mark.parametrize("moment_s", [1.2, 3.5])
def test_ctrl_c_leaves_nothing(tmp_path: Path, footprint: Footprint, moment_s: float) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--server", "sleep 60 & sleep 60", "--client", "trap '' INT TERM; sleep 50"),
        cwd=ROOT,
        env=footprint.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    time.sleep(moment_s)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[0]
    assert process.returncode in {130, -signal.SIGINT}, said
    assert "Traceback" not in said
    assert footprint.left_behind() == {}


def test_a_server_that_has_ended_keeps_its_process_id_until_the_end(
    tmp_path: Path, footprint: Footprint
) -> None:
    """Else its group, which is killed at the end, could be a stranger's by then."""
    pid = tmp_path / "pid"
    client = f"sleep 2; cut -d' ' -f3 /proc/$(cat {pid})/stat"
    options = ("--server", f"echo $$ > {pid}; sleep 1.5", "--client", client, "--no-probe")
    _, said = replayed(tmp_path, footprint, *options)
    assert "Z" in said.splitlines()


# In a process namespace of its own, where the next process id can be chosen.
STRANGER = """
import subprocess, sys
from pathlib import Path
from testbed.network.programs import end_session, spawn

ours = spawn(["true"])
ours.wait()
Path("/proc/sys/kernel/ns_last_pid").write_text(str(ours.pid - 1))
stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
assert stranger.pid == ours.pid
end_session(ours)
try:
    print("ended with", stranger.wait(1.0))
except subprocess.TimeoutExpired:
    print("alive")
"""


def test_nobody_is_killed_who_got_the_process_id_of_a_program_that_has_ended() -> None:
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", PYTHON, "-c", STRANGER]
    done = subprocess.run(apart, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "alive\n", done.stderr


STEPS = "time_s,down,up,rtt\n0,20,5,40\n3,10,5,30\n6,30,3,50\n10,30,3,50\n"
STEPS_COLUMNS = ["--columns", "time=time_s:s,down=down:Mbit/s,up=up:Mbit/s,rtt=rtt:ms"]
CHANGES_S = (0.0, 3.0, 6.0, 10.0)
# Trains come twice a second and rates are medians of three of them, so a row of the played trace can be
# measured if it holds for the time of three; of a recorded row the rate is known if its train is nearer
# than the next change, the delay if three probes of its own tell it, none of them on the way at a change.
MEASURABLE_S = 1.5
UNDER_WAY_S = 0.1


def recorded_again(folder: Path, footprint: Footprint) -> tuple[Trace, Trace, float]:
    """The trace as played, as recorded, and the scenario second at which the recording began."""
    record = f"{PYTHON} -m testbed.cli.main trace record"
    results, said = replayed(
        folder, footprint, *STEPS_COLUMNS, "--no-probe",
        "--server", f"{record} --listen",
        "--client", f"{record} --connect {{server}} --duration 8 --force -o {folder}/again.csv", link=STEPS,
    )  # fmt: skip
    assert "probes answered" in said, said
    played, again = read_trace(f"{results['folder']}/traces/link.csv"), read_trace(folder / "again.csv")
    return played, again, again.header.start_utc.timestamp() - parse_utc(results["start_utc"]).timestamp()


@pytest.mark.light
def test_what_is_replayed_and_recorded_again_is_the_same_link(tmp_path: Path, footprint: Footprint) -> None:
    """Row by row: rates within 5 %, delays within 1 ms, wherever the recorder says that it measured.

    A machine that gives it no processor leaves rows unmeasured: then the link is recorded again.  What was
    measured and is wrong is an error the first time.
    """
    counts: dict[tuple[float, str], int] = {}
    wanted = {(begin_s, what) for begin_s in CHANGES_S[:-1] for what in BOUNDS}
    for _ in range(4):
        played, again, shift_s = recorded_again(tmp_path, footprint)
        assert any("one clock" in note for note in again.header.notes)
        assert again.down_loss.max() == again.up_loss.max() == 0
        assert again.up.all()
        for index, row in enumerate(again.rows()):
            at_s = row.time_s + shift_s
            begin_s, end_s = next((b, e) for b, e in pairwise(CHANGES_S) if b <= at_s < e or e == 10.0)
            assert end_s - begin_s >= MEASURABLE_S
            nearest_s = min(at_s - begin_s, end_s - at_s - 0.1)  # rows last 0.1 s
            requested = played.row_at(min(at_s, 9.99))
            for what, (kind, bound) in BOUNDS.items():
                way = what.split("_", maxsplit=1)[0]
                if kind == "rate":
                    measured = nearest_s > again.extra[f"{way}_train_away_s"][index] + UNDER_WAY_S
                    error = getattr(row, what) / getattr(requested, what) - 1
                else:
                    measured = nearest_s > UNDER_WAY_S and again.extra[f"{way}_probes"][index] >= 3
                    error = getattr(row, what) - getattr(requested, what)
                if measured:
                    assert abs(error) < bound, (at_s, what, error)
                    counts[begin_s, what] = counts.get((begin_s, what), 0) + 1
        if all(counts.get(one, 0) >= 10 for one in wanted):
            return
    pytest.fail(f"too few rows could be measured in four recordings: {counts}")


BOUNDS = {
    "down_bit_s": ("rate", 0.05),
    "up_bit_s": ("rate", 0.05),
    "down_delay_s": ("delay", 1e-3),
    "up_delay_s": ("delay", 1e-3),
}
