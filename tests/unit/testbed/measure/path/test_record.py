"""Recording a live path: the sums on made-up packets, and both ends over the loopback."""

from __future__ import annotations

import socket
import struct
import threading
from array import array
from dataclasses import replace

import numpy as np
import pytest

from testbed.cli.main import main
from testbed.errors import RecordError
from testbed.measure.path.record import ECHO_BYTES, Client, Measured, Train, _TrainReader, serve
from testbed.measure.path.trace import trace_of
from traces.trace import Contact
from traces.trace_file import read_trace

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def made_up(
    *, seconds: float = 8.0, up_ms: float = 20.0, down_ms: float = 10.0, ahead_ms: float = 0.0,
    lost=frozenset(), lost_down=frozenset(),
) -> Measured:  # fmt: skip
    """A link of 8 Mbit/s down and 2 Mbit/s up whose server's clock is `ahead_ms` ahead."""
    measured = Measured(same_clock=ahead_ms == 0, start_ns=START_NS, end_ns=START_NS + int(seconds * 1e9))
    arrived = 0
    serial_up_ms, serial_down_ms = 66 * 8 / 2e6 * 1e3, ECHO_BYTES * 8 / 8e6 * 1e3
    for number in range(round(seconds / 0.02)):
        sent_ns = START_NS + number * 20 * MS
        measured.sent_ns.append(sent_ns)
        if number in lost:
            continue
        arrived += 1
        if number in lost_down:
            continue
        there_ns = sent_ns + int((up_ms + serial_up_ms + ahead_ms) * MS)
        back_ns = sent_ns + int((up_ms + serial_up_ms + down_ms + serial_down_ms) * MS)
        measured.echoes.extend((number, there_ns, there_ns, back_ns, arrived))
    for number in range(round(seconds / 0.5)):
        first_ns = START_NS + 50 * MS + number * 500 * MS
        measured.down.append(Train(2 * number + 1, 240_000, first_ns, first_ns + 30 * MS, 30 * MS))
        measured.up.append(
            Train(
                2 * number,
                60_000,
                first_ns + int(ahead_ms * MS),
                first_ns + int((30 + ahead_ms) * MS),
                30 * MS,
            )
        )
    return measured


def test_one_clock_gives_one_way_delays_without_serialisation():
    trace = trace_of(made_up())
    assert trace.up_delay_s == pytest.approx(0.020)
    assert trace.down_delay_s == pytest.approx(0.010)
    assert (set(trace.down_bit_s), set(trace.up_bit_s)) == ({8e6}, {2e6})
    assert not trace.down_loss.any()
    assert not trace.up_loss.any()
    assert (trace.header.satellite, trace.end_s) == ("server", 8.0)


def test_clocks_that_differ_give_halves_of_the_round_trip_and_say_so():
    trace = trace_of(made_up(ahead_ms=3_600_000.0))
    assert trace.up_delay_s == pytest.approx(0.015, abs=1e-6)
    assert trace.down_delay_s == pytest.approx(0.015, abs=1e-6)
    assert any("half a round trip" in note for note in trace.header.notes)
    assert set(trace.up_bit_s) == {2e6}


def test_a_stated_bound_gives_one_way_delays_with_the_bound():
    trace = trace_of(made_up(ahead_ms=0.05), clock_bound_s=1e-4)
    assert trace.up_delay_s == pytest.approx(0.02005)
    assert any("at most 0.0001 s" in note for note in trace.header.notes)


def test_losses_are_told_apart_by_direction():
    trace = trace_of(made_up(lost=set(range(3, 400, 10)), lost_down=set(range(5, 400, 5))))
    sent, up_lost = 390, 39
    down_lost = len(set(range(5, 390, 5)))
    assert trace.up_loss.mean() == pytest.approx(up_lost / sent, abs=0.01)
    assert trace.down_loss.mean() == pytest.approx(down_lost / (sent - up_lost), abs=0.02)


def test_many_in_a_row_are_an_outage_and_no_loss():
    trace = trace_of(made_up(lost=set(range(101, 200))))
    assert trace.contacts() == [Contact(0, pytest.approx(2.02)), Contact(pytest.approx(4.0), 8.0)]
    assert not trace.up_loss.any()
    assert not trace_of(made_up(lost=set(range(101, 110)))).contacts()[1:]


def test_probes_behind_a_train_are_left_out():
    measured = made_up()
    table = np.frombuffer(measured.echoes, dtype=np.int64).reshape(-1, 5).copy()
    for train in measured.down:
        table[(table[:, 3] >= train.first_ns) & (table[:, 3] <= train.last_ns), 3] += 25 * MS
    clean = trace_of(made_up())
    measured.echoes = array("q", table.ravel().tolist())
    late = table[:, 3][:, None] > np.array([train.last_ns for train in measured.down])
    assert late.any()
    assert np.median(trace_of(measured).down_delay_s) == pytest.approx(
        np.median(clean.down_delay_s), abs=1e-6
    )


def frames(count: int = 15, *, sent_every_ms: float = 0.02, frame_ms: float = 2.0) -> list[list[int]]:
    """Index, moment of sending and of arrival of a train over 20 ms, as a queue lets it through."""
    train, free_ms = [], 0.0
    for index in range(count):
        sent_ms = index * sent_every_ms
        free_ms = max(free_ms, sent_ms) + frame_ms
        train.append([index, START_NS + round(sent_ms * MS), START_NS + round((free_ms + 20) * MS)])
    return train


def read_train(train: list[list[int]]) -> Train:
    reader = _TrainReader()
    for index, sent_ns, arrived_ns in train:
        reader.frame(7, index, 1250, sent_ns, arrived_ns)
    found = reader.train()
    assert found is not None
    return found


@pytest.mark.parametrize("late", [[0], [14], [3, 4], [13, 14]])
def test_frames_that_come_late_do_not_change_a_trains_rate(late):
    train = frames()
    for index in late:  # released when the machine woke up: together, none before its time
        train[index][2] = max(train[index][2], train[late[-1]][2]) + MS
    assert read_train(train).rate_bit_s == pytest.approx(5e6, rel=0.01)
    assert read_train(train).kept_up


def test_lost_frames_do_not_change_a_trains_rate():
    assert read_train(frames()[::3]).rate_bit_s == pytest.approx(5e6)


@pytest.mark.parametrize("every_ms", [2.5, 9.0])
def test_a_sender_that_falls_behind_is_known(every_ms):
    slow = read_train(frames(sent_every_ms=every_ms))
    once = frames()[:5] + [[i, s + 40 * MS, a + 40 * MS] for i, s, a in frames()[5:]]
    assert not (slow.kept_up and read_train(once).kept_up)
    assert read_train(frames(sent_every_ms=1.9)).kept_up


def test_a_rate_that_the_sender_limited_is_not_taken():
    measured = made_up()
    measured.up[5:9] = [
        replace(train, took_ns=train.took_ns * 3, kept_up=False) for train in measured.up[5:9]
    ]
    trace = trace_of(measured)
    assert set(trace.up_bit_s) == {2e6}
    assert any("4 of 16 trains up left out" in note for note in trace.header.notes)
    assert trace.extra["up_train_away_s"].max() > 1 > trace.extra["down_train_away_s"].max()
    measured.up[:] = [replace(train, kept_up=False) for train in measured.up]
    assert any("at least as fast" in note for note in trace_of(measured).header.notes)


def test_an_uneven_train_is_left_out_where_others_are_even():
    train = frames()
    for index in range(6):  # the machine stood still while the first frames came
        train[index][2] = train[6][2] - 1000
    uneven = read_train(train)
    assert uneven.spread_permille > 40 > read_train(frames()).spread_permille
    measured = made_up()
    measured.up[5] = replace(measured.up[5], took_ns=20 * MS, spread_permille=uneven.spread_permille)
    notes = trace_of(measured).header.notes
    assert any("1 of 16 trains up left out: their frames came unevenly" in note for note in notes)


def test_probes_around_a_standstill_of_the_machine_are_left_out():
    measured = made_up()
    still_ns = 80 * MS  # without a processor: what was under way is seen late, what should be sent is not
    for number in (198, 199):
        measured.echoes[5 * number + 3] += still_ns
    for number in range(200, 400):
        measured.sent_ns[number] += still_ns
        for column in (1, 2, 3):
            measured.echoes[5 * number + column] += still_ns
    trace = trace_of(measured)
    assert trace.down_delay_s == pytest.approx(0.010, abs=1e-6)
    assert trace.extra["down_probes"].min() == 0


def test_too_little_is_refused():
    with pytest.raises(RecordError, match="record for longer"):
        trace_of(Measured(True, START_NS, START_NS + 10**9))


@pytest.fixture
def server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(stop.is_set,), kwargs={"host": "127.0.0.1", "port": port})
    thread.start()
    yield port
    stop.set()
    thread.join()


def test_both_ends_over_the_loopback(server, tmp_path, capsys):
    path = tmp_path / "loopback.csv"
    options = ["--connect", "127.0.0.1", "--port", str(server), "--duration", "1.5", "-o", str(path)]
    assert main(["trace", "record", *options]) == 0
    trace = read_trace(path)
    assert trace.contacts() == [Contact(0, trace.end_s)]
    assert trace.down_delay_s.max() < 0.05
    assert "both ends shared one clock" in capsys.readouterr().out
    assert main(["trace", "record", *options]) == 2  # the file is kept


def test_nobody_without_a_token_gets_a_train(server):
    ask = struct.pack("!4sIBxHI", b"SVR2", 12345, 6, 400, 1) + struct.pack("!HHQ", 0, 1242, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.3)
        stranger.sendto(ask, ("127.0.0.1", server))
        for junk in (b"", b"SVR2", b"\xff" * 100, ask[:17]):
            stranger.sendto(junk, ("127.0.0.1", server))
        with pytest.raises(TimeoutError):
            stranger.recv(2000)
    client = Client("127.0.0.1", server, lambda: False)
    assert client.measure(0.3, 2.0).echoes  # and the server still answers


def test_no_server_is_one_line(tmp_path, capsys):
    code = main(
        [
            "trace",
            "record",
            "--connect",
            "127.0.0.1",
            "--port",
            "9",
            "--wait",
            "0.3",
            "-o",
            str(tmp_path / "never.csv"),
        ]
    )
    assert code == 1
    assert "no answer from 127.0.0.1 port 9 within 0.3 s; start" in capsys.readouterr().err
