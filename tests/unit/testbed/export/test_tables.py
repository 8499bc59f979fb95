"""Tables of a run, read back by pandas and DuckDB."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from nodes.contract.events import Captured, EventRecord, LinkChanged
from testbed.cli.main import main
from testbed.run.traces import link_traces
from testbed.scenario.file import load_scenario
from tests.support import ROOT
from traces.trace_file import write_trace

LATENCY = {"queue_s": 0, "serialisation_s": 0.25}
FRAMES = [
    {"frame": "a", "satellite": "FLOCK 2P-1", "prompt": 'ships, "how many"?\nand rows', "stage": 1,
     "capture_s": 2.0, "confidence": None, "failure": None, "correct": True, "latency": LATENCY},
    {"frame": "b", "satellite": "FLOCK 2P-1", "prompt": "=1+1", "stage": None,
     "capture_s": 3, "confidence": None, "failure": None, "correct": False, "latency": None},
]  # fmt: skip
LINK = "FLOCK 2P-1 - Svalbard"
SAMPLES = [{"time_s": 30.0, "requested": 0.01, "measured": 0.0101}]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, with what exports read of it."""
    folder = tmp_path / "run"
    (folder / "traces").mkdir(parents=True)
    for trace in link_traces(load_scenario(ROOT / "topologies/dove_pass.py")).values():
        write_trace(trace, folder / "traces/flock-2p-1-svalbard.csv")
    (folder / "scenario.json").write_text("{}")
    links = [{"link": LINK, "counters": {"down": {"lost": 3}}}]
    (folder / "results.json").write_text(json.dumps({"frames": FRAMES, "links": links}))
    (folder / "fidelity.json").write_text(json.dumps([{"link": LINK, "rtt": SAMPLES, "down_rate": SAMPLES}]))
    records = [
        EventRecord(node="run", monotonic_s=1.0, event=LinkChanged(link=LINK, up=True, lateness_s=0.001)),
        EventRecord(node="FLOCK 2P-1", monotonic_s=2.0, time_s=2.5, sequence=1,
                    event=Captured(frame="a", size_bytes=10)),
    ]  # fmt: skip
    (folder / "events.jsonl").write_text("".join(record.to_line() + "\n" for record in records) + '{"cut')
    return folder


def exported(run: Path, *options: str) -> Path:
    folder = run.parent / "tables"
    assert main(["export", "tables", str(run), "-o", str(folder), *options]) == 0
    return folder


def test_parquet_is_read_by_pandas_and_by_another_engine(run: Path) -> None:
    folder = exported(run, "--format", "parquet")
    frames = pd.read_parquet(folder / "frames.parquet")
    assert frames["prompt"].tolist() == [frame["prompt"] for frame in FRAMES]
    table = duckdb.read_parquet(str(folder / "frames.parquet"))
    columns = 'frame, correct, stage, capture_s, "latency.queue_s"'
    assert table.project(columns).order("frame").fetchall() == [
        ("a", True, 1, 2.0, 0),
        ("b", False, None, 3.0, None),
    ]
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert (types["stage"], types["capture_s"], types["confidence"]) == ("BIGINT", "DOUBLE", "VARCHAR")
    assert "latency" not in types
    events = duckdb.read_parquet(str(folder / "events.parquet")).filter("frame = 'a'")
    assert events.project("node, fields->>'size_bytes'").fetchall() == [("FLOCK 2P-1", "10")]


def test_csv_keeps_texts_as_they_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = exported(run)
    assert "events.jsonl, line 3: not an event, left out" in capsys.readouterr().err
    assert pd.read_csv(folder / "frames.csv")["prompt"].tolist() == [frame["prompt"] for frame in FRAMES]
    samples = pd.read_csv(folder / "samples.csv")
    assert samples["quantity"].tolist() == ["rtt_s", "down_bit_s"]
    contacts = pd.read_csv(folder / "contacts.csv")
    assert contacts.loc[0, ["link", "aos_utc"]].tolist() == [LINK, "2018-01-20T14:38:09.737000Z"]
    assert pd.read_csv(folder / "links.csv").loc[0, "counters.down.lost"] == 3


def test_files_that_exist_are_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exported(run) / "links.csv").write_text("mine")
    assert main(["export", "tables", str(run), "-o", str(run.parent / "tables")]) == 2
    assert "frames.csv exists; add --force" in capsys.readouterr().err
    assert (run.parent / "tables/links.csv").read_text() == "mine"
    exported(run, "--force")
    assert (run.parent / "tables/links.csv").read_text() != "mine"


@pytest.mark.parametrize("name", ["-", "file"])
def test_tables_go_to_a_folder(
    run: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    Path("file").write_text("mine")
    assert main(["export", "tables", str(run), "-o", name]) == 2
    assert capsys.readouterr().err.endswith(f"{name}: it is not a folder; name a folder\n")
    assert not Path("-").exists()


@pytest.mark.parametrize(("name", "content"), [("results.json", "[1"), ("results.json", "{}")])
def test_a_damaged_run_is_refused(
    run: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_text(content)
    assert main(["export", "tables", str(run), "-o", str(run / "out")]) == 2
    assert name in capsys.readouterr().err
    assert not (run / "out").exists()
