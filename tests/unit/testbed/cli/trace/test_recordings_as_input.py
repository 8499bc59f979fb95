"""`info`, `plot` and `cut` read a recording, or name `spaceverse trace convert`."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli.main import main
from tests.support.recording_samples import MAHIMAHI, samples
from traces.errors import TraceError
from traces.recordings import Assumptions, formats
from traces.recordings.formats import parse_recording
from traces.trace_file import read_trace

DELAYED = Assumptions(delay_s=0.01, up_bit_s=1e6)
SUBCOMMANDS = {
    "info": lambda path: ["trace", "info", str(path)],
    "plot": lambda path: ["trace", "plot", str(path), "-o", str(path.with_name("out.png"))],
    "cut": lambda path: ["trace", "cut", str(path), "--end", "1", "-o", str(path.with_name("cut.csv"))],
}


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_recording_that_lacks_values_names_convert(name: str, tmp_path: Path, capsys):
    path = tmp_path / "bw.txt"
    path.write_text("22\n22\n23\n")
    assert main(SUBCOMMANDS[name](path)) == 2
    error = capsys.readouterr().err
    assert "a mahimahi recording without" in error
    assert "--delay" in error
    assert error.endswith(
        f"make a trace of the recording first: spaceverse trace convert {path} ... -o FILE\n"
    )
    assert error.count("\n") == 1


@pytest.mark.parametrize("sample", samples())
def test_every_format_is_read_or_names_convert(sample: str, tmp_path: Path, capsys):
    path = tmp_path / "recording"
    path.write_bytes(samples()[sample].data)
    code = main(["trace", "info", str(path)])
    captured = capsys.readouterr()
    assert code == 0 or (code == 2 and "spaceverse trace convert" in captured.err)


def test_a_recording_that_lacks_nothing_is_read(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formats, "read_recording", lambda path, form: parse_recording(MAHIMAHI, "x", DELAYED))
    path = tmp_path / "down.mahi"
    path.write_bytes(MAHIMAHI)
    assert main(["trace", "info", str(path)]) == 0
    assert "mahimahi" in capsys.readouterr().out


def test_every_reader_of_traces_names_convert(tmp_path: Path):
    path = tmp_path / "bw.txt"
    path.write_text("22\n22\n23\n")
    with pytest.raises(
        TraceError, match="found '22'; `spaceverse trace convert` makes a trace of a recording"
    ):
        read_trace(path)
