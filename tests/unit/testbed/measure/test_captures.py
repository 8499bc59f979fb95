"""Captures of a link's two ends, written by scapy with stamps that are known, and what is made of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.utils import EDecimal, PcapNgWriter, PcapWriter, RawPcapReader, RawPcapWriter

from testbed.cli.main import main
from testbed.errors import InputError
from testbed.measure.captures import compare, read_capture, read_captures, reason_for_no_pairs

SATELLITE, GROUND = "02:00:00:00:00:01", "02:00:00:00:00:02"
BEGIN_NS = 1_516_440_000_123_456_789
MS = 1_000_000


def down(number: int, checksum: int | None = None) -> Any:
    udp = UDP(sport=9, dport=47771, chksum=checksum)
    return Ether(src=SATELLITE, dst=GROUND) / IP(src="10.0.0.1", dst="10.0.0.2", id=number) / udp / b"image"


def up(number: int) -> Any:
    return Ether(src=GROUND, dst=SATELLITE) / IP(src="10.0.0.2", dst="10.0.0.1", id=number) / TCP(seq=number)


def write(path: Path, frames: list[tuple[int, Any]], writer: Any = PcapWriter, **how: Any) -> Path:
    with writer(str(path), **how) as out:
        for at_ns, frame in frames:
            octets = Ether(bytes(frame))
            octets.time = EDecimal(at_ns) / EDecimal(10**9)
            out.write(octets)
    return path


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Path, Path]:
    """20 frames down, 5 ms each, of which 3 is lost, 7 comes twice and 12 after 13; 4 up, 9 ms each."""
    sent = [(BEGIN_NS + n * MS, down(n, checksum=0xBEEF)) for n in range(20)]  # as an offload leaves it
    came = [(at_ns + 5 * MS, down(n)) for n, (at_ns, _) in enumerate(sent) if n != 3]
    came = [(at_ns + (3 * MS if frame[IP].id == 12 else 0), frame) for at_ns, frame in came]
    came.append((BEGIN_NS + 30 * MS, down(7)))
    asked = [(BEGIN_NS + 2 * n * MS, up(n)) for n in range(4)]
    heard = [(at_ns + 9 * MS, frame) for at_ns, frame in asked]
    return (
        write(tmp_path / "satellite.pcap", [*sent, *heard], nano=True),
        write(tmp_path / "ground.pcap", [*asked, *came], nano=True),
    )


def test_times_losses_duplicates_and_order(ends: tuple[Path, Path]) -> None:
    ways = compare(*(read_capture(path) for path in ends))
    assert len(ways["down"].frames) == 20
    assert (ways["down"].lost, ways["down"].duplicated, ways["down"].reordered) == (1, 1, 1)
    late_s = ways["down"].one_way_s
    assert sorted(late_s.round(9).tolist()) == [0.005] * 18 + [0.008]
    assert ways["down"].kinds == {"IP / UDP": 20}
    assert (len(ways["up"].frames), ways["up"].lost, ways["up"].duplicated) == (4, 0, 0)
    assert ways["up"].one_way_s.round(9).tolist() == [0.009] * 4
    assert [frame.port for frame in ways["down"].only(lambda frame: frame.port == 47771).frames] == [
        47771
    ] * 20


def test_a_bridge_may_change_addresses_and_tags(tmp_path: Path) -> None:
    frames = [(BEGIN_NS + n * MS, down(n)) for n in range(3)]
    changed = [
        (at_ns + MS, Ether(src="02:00:00:00:00:77", dst=GROUND) / Dot1Q(vlan=7) / frame.payload)
        for at_ns, frame in frames
    ]
    satellite = write(tmp_path / "a.pcapng", frames, PcapNgWriter)
    ground = write(tmp_path / "b.pcap", changed, nano=True)
    crossed = compare(read_capture(satellite), read_capture(ground))["down"]
    assert (len(crossed.frames), crossed.lost) == (3, 0)


def test_short_frames_may_be_padded_on_the_wire(tmp_path: Path) -> None:
    """An interface fills them to 60 bytes, which only the receiver's capture shows."""
    ether = Ether(src=SATELLITE, dst=GROUND)
    sent = [
        ether / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(flags="A", chksum=0xBEEF),
        ether / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=9, dport=9) / b"x",
        ether / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
        ether / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=9, dport=9),
    ]
    came = [*sent]
    came[0] = ether / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(flags="A")
    padded = [Ether(bytes(frame).ljust(64, b"\x5a")) for frame in came]
    satellite = write(tmp_path / "a.pcap", [(BEGIN_NS + n, frame) for n, frame in enumerate(sent)], nano=True)
    ground = write(tmp_path / "b.pcap", [(BEGIN_NS + MS + n, f) for n, f in enumerate(padded)], nano=True)
    crossed = compare(read_capture(satellite), read_capture(ground))["down"]
    assert (len(crossed.frames), crossed.lost) == (4, 0)


def test_what_came_from_elsewhere_is_no_loss(ends: tuple[Path, Path], tmp_path: Path) -> None:
    other = Ether(src="02:00:00:00:00:99", dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.9.9.9")
    alone = write(tmp_path / "other.pcap", [(BEGIN_NS, other)], nano=True)
    seen = [*read_capture(ends[0]), *read_capture(alone)]
    assert compare(seen, read_capture(ends[1]))["down"].lost == 1


def test_the_command_says_the_same(ends: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captures", *map(str, ends), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found["down"][name] for name in ("frames", "lost", "duplicated", "reordered")} == {
        "frames": 20,
        "lost": 1,
        "duplicated": 1,
        "reordered": 1,
    }
    assert found["down"]["one_way_s"]["max"] == pytest.approx(0.008)
    assert main(["captures", *map(str, ends)]) == 0
    assert "8.000" in capsys.readouterr().out


def snapped(path: Path, source: Path, snap_bytes: int) -> Path:
    """Write a capture anew as `tcpdump -s` would have written it."""
    with RawPcapReader(str(source)) as frames, RawPcapWriter(str(path), linktype=1, nano=True) as out:
        out.write_header(None)
        for octets, stamp in frames:
            out.write_packet(
                octets[:snap_bytes],
                sec=stamp.sec,
                usec=stamp.usec,
                caplen=min(snap_bytes, len(octets)),
                wirelen=len(octets),
            )
    return path


def long_frames(begin_ns: int, numbers: range, vlan: bool = False) -> list[tuple[int, Any]]:
    ether = Ether(src=SATELLITE, dst=GROUND) / Dot1Q(vlan=7) if vlan else Ether(src=SATELLITE, dst=GROUND)
    return [
        (
            begin_ns + n * MS,
            ether
            / IP(src="10.0.0.1", dst="10.0.0.2", id=n)
            / UDP(sport=9, dport=9)
            / (b"%03d" % n)
            / (b"x" * 200),
        )
        for n in numbers
    ]


@pytest.mark.parametrize("snaps", [(96, 65535), (65535, 96), (64, 80), (128, 128)])
@pytest.mark.parametrize("vlan", [False, True])
def test_other_snap_lengths_are_paired_by_what_both_hold(tmp_path: Path, snaps: tuple[int, int], vlan: bool):
    sent = write(tmp_path / "sent.pcap", long_frames(BEGIN_NS, range(100)), nano=True)
    came = write(tmp_path / "came.pcap", long_frames(BEGIN_NS + 10 * MS, range(90), vlan), nano=True)
    paths = [
        snapped(tmp_path / f"{n}.pcap", path, snap)
        for n, (path, snap) in enumerate(zip((sent, came), snaps, strict=True))
    ]
    satellite, ground = read_captures(*paths)
    ways = compare(satellite, ground)
    assert (len(ways["down"].frames), ways["down"].lost, len(ways["up"].frames)) == (100, 10, 0)
    assert set(ways["down"].one_way_s.round(9)) == {0.01}
    assert {frame.size_bytes for frame in satellite} == {len(long_frames(0, range(1))[0][1])}
    assert reason_for_no_pairs(satellite, ground, ways) is None


def test_too_short_a_snap_length_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pcap", long_frames(BEGIN_NS, range(3)), nano=True)
    with pytest.raises(InputError, match="holds only 20 bytes of some packets"):
        read_captures(snapped(tmp_path / "short.pcap", whole, 34), whole)


def test_captures_that_share_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one.pcap", long_frames(BEGIN_NS, range(10)), nano=True)
    other = write(tmp_path / "other.pcap", long_frames(BEGIN_NS, range(20, 28)), nano=True)
    later = write(tmp_path / "later.pcap", long_frames(BEGIN_NS + 3_600_000 * MS, range(20, 28)), nano=True)
    for json_option in ([], ["--json"]):
        assert main(["captures", str(one), str(other), *json_option]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert "none of 10 and 8 frames are in both captures: is there a router or" in output.err
    assert main(["captures", str(one), str(later)]) == 2
    assert "their times are 3600.01 s apart" in capsys.readouterr().err


def test_captures_that_share_little_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one.pcap", long_frames(BEGIN_NS, range(10)), nano=True)
    other = write(tmp_path / "other.pcap", long_frames(BEGIN_NS + MS, range(8, 16)), nano=True)
    assert main(["captures", str(one), str(other)]) == 0
    output = capsys.readouterr()
    assert "warning: 2 of 10 and 8 frames are in both captures" in " ".join(output.err.split())
    assert "down" in output.out


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "expected pcap or pcapng"), (b"no capture at all, but text", "expected pcap"), (None, "No such")],
)
def test_what_is_no_capture_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "broken.pcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_capture(path)
    assert "\n" not in str(caught.value)


def test_an_empty_capture_is_refused(tmp_path: Path) -> None:
    with PcapWriter(str(tmp_path / "none.pcap"), linktype=1) as writer:
        writer.write_header(None)
    with pytest.raises(InputError, match="no frames"):
        read_capture(tmp_path / "none.pcap")
