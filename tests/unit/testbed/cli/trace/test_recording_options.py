"""An option either changes the result or is refused with its name, for each format of FILE."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli.main import main
from tests.support.recording_samples import samples
from traces.recordings import Assumptions, parse_recording
from traces.recordings.options import _USED_BY
from traces.trace_file import read_trace, write_trace

SAMPLES = samples()
OPTIONS = {
    "--rate": "1M", "--down-rate": "1M", "--up-rate": "1M",
    "--delay": "200ms", "--down-delay": "200ms", "--up-delay": "200ms",
    "--loss": "30%", "--down-loss": "30%", "--up-loss": "30%",
    "--start": "2020-01-01T00:00:00Z", "--zone": "+03:00", "--satellite": "X", "--station": "Y",
    "--gaps": "hold", "--columns": "time=1:s,down=2:Mbit/s", "--separator": ";", "--missing": "7",
    "--bin": "100ms", "--outage": "1s", "--range-delay": None, "--direction": "down",
    "--delay-unit": "ns", "--loop": "1min", "--interval": "1s",
}  # fmt: skip


@pytest.fixture
def link(tmp_path: Path) -> Path:
    trace = parse_recording(SAMPLES["mahimahi"].data, "m", Assumptions(delay_s=0.02))
    write_trace(trace, tmp_path / "link.csv")
    return tmp_path / "link.csv"


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_for_a_trace_is_applied_or_refused_with_its_name(link, option, capsys):
    value = OPTIONS[option]
    output = link.parent / "out.csv"
    line = ["trace", "convert", str(link), option, *([value] if value else []), "-o", str(output)]
    if main([*line, *(["--from", "spaceverse"] if option == "--columns" else [])]) == 0:
        assert read_trace(output) != read_trace(link)
    else:
        assert f"{option} has no effect" in capsys.readouterr().err
        assert not output.exists()


def test_values_of_single_directions_replace_those_of_a_trace(link):
    output = link.parent / "out.csv"
    options = ["--down-rate", "1M", "--up-delay", "200ms", "--down-loss", "30%", "--satellite", "X"]
    assert main(["trace", "convert", str(link), *options, "-o", str(output)]) == 0
    row, before = read_trace(output).row_at(0), read_trace(link).row_at(0)
    assert (row.down_bit_s, row.up_delay_s, row.down_loss) == (1e6, 0.2, 0.3)
    assert (row.up_bit_s, row.down_delay_s, row.up_loss) == (before.up_bit_s, 0.02, 0)
    assert read_trace(output).header.satellite == "X"
    assert any("instead of the trace's values" in note for note in read_trace(output).header.notes)


@pytest.mark.parametrize("form", SAMPLES)
@pytest.mark.parametrize("field", [field for field, (option, _) in _USED_BY.items() if option[0] == "-"])
def test_an_option_of_another_format_is_refused_with_its_name(tmp_path, form, field, capsys):
    option, forms = _USED_BY[field]
    if form in forms:
        return
    (tmp_path / "file").write_bytes(SAMPLES[form].data)
    value = OPTIONS[option]
    line = ["trace", "convert", str(tmp_path / "file"), "--from", form, option, *([value] if value else [])]
    assert main([*line, "-o", str(tmp_path / "out.csv")]) == 2
    assert f"{option} has no effect on a {form} recording" in capsys.readouterr().err


def test_replay_refuses_the_same_options(link, capsys):
    assert main(["replay", str(link), "--loss", "30%", "--client", "true"]) != 0
    assert "--loss has no effect" in capsys.readouterr().err


def test_zero_is_a_value(tmp_path):
    (tmp_path / "bw.txt").write_bytes(SAMPLES["mahimahi"].data)
    line = ["trace", "convert", str(tmp_path / "bw.txt"), "--delay", "0", "--loss", "0"]
    assert main([*line, "-o", str(tmp_path / "out.csv")]) == 0
    trace = read_trace(tmp_path / "out.csv")
    assert trace.down_delay_s.max() == 0
    assert "down_loss 0 was given" in trace.header.notes
