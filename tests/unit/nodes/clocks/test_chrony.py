"""Output of chronyd, recorded from `chronyc -c tracking` of chrony 4.3."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.clocks.chrony import ChronyError, parse_tracking, read_chrony

FOLLOWING = (
    "C0A80001,192.168.0.1,3,1795635529.767118865,0.000012345,-0.000004321,0.000020000,"
    "-12.345,0.001,0.040,0.000500000,0.000200000,64.2,Normal\n"
)
# Recorded from `chronyd -x` with "local stratum 8" and no source.
ALONE = (
    "7F7F0101,,8,1795635529.767118865,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,"
    "0.000000000,0.000000000,0.0,Normal\n"
)
UNSYNCHRONISED = (
    "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,"
    "1.000000000,0.0,Not synchronised\n"
)


def test_the_bound_is_the_one_that_chronyc_documents() -> None:
    state = parse_tracking(FOLLOWING)
    assert state.bound_s == pytest.approx(12.345e-6 + 200e-6 + 250e-6)
    assert (state.report().reference, state.report().frequency_ppm) == ("192.168.0.1", -12.345)


@pytest.mark.parametrize("line", [ALONE, UNSYNCHRONISED])
def test_a_clock_that_follows_nobody_has_no_bound(line: str) -> None:
    state = parse_tracking(line)
    assert not state.synchronised and state.bound_s is None


@pytest.mark.parametrize("line", ["", "a,b,c", FOLLOWING.replace("0.000500000", "soon")])
def test_what_is_no_report_is_refused(line: str) -> None:
    with pytest.raises(ChronyError):
        parse_tracking(line)


def program(folder: Path, text: str) -> None:
    path = folder / "chronyc"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def test_the_program_is_asked_and_its_silence_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ChronyError, match="not installed"):
        read_chrony()
    program(tmp_path, f'test "$*" = "-n -c tracking" && echo "{FOLLOWING.strip()}"')
    assert read_chrony().stratum == 3
    # Recorded where no chronyd runs.
    program(tmp_path, "echo '506 Cannot talk to daemon'; exit 1")
    with pytest.raises(ChronyError, match="506 Cannot talk to daemon"):
        read_chrony()
