"""The shipped benchmark passes its gates, and the gates detect a bad split."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.data import EO_MINI, FIRST_LIGHT
from nodes.data.pairs import read_pairs
from nodes.lab.eo_mini.__main__ import main
from nodes.lab.eo_mini.build import draw_frames, write
from nodes.lab.eo_mini.first_light import choose_first_light
from nodes.lab.eo_mini.gates import SplitError, blind, check, majority, read_lines, resolution_gates
from nodes.lab.eo_mini.oracle import Score
from nodes.lab.eo_mini.packages import Rasters
from nodes.lab.eo_mini.places import BANDS_DEG
from nodes.lab.eo_mini.sources import CROWN_PX, Sources
from nodes.lab.eo_mini.windows import ANSWERS, WINDOW_PX, draw_window

REDUCED_PX = WINDOW_PX // 6


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Made-up maps, clouds and crowns of the real ones' sizes."""
    rng = np.random.default_rng(0)
    marble = Image.fromarray(rng.integers(0, 255, (27, 54, 3), dtype=np.uint8)).resize((5400, 2700))
    classes = np.resize(np.array([0, 1, 10, 16, 0], dtype=np.uint8), (6, 8))  # blocks of 45 by 30 degrees
    land_cover = Image.fromarray(classes).resize((7200, 3600), Image.Resampling.NEAREST)
    clouds = Image.fromarray(rng.integers(0, 255, (128, 256), dtype=np.uint8)).resize((4096, 2048))
    crowns = [rng.integers(40, 250, (CROWN_PX, CROWN_PX, 3), dtype=np.uint8) for _ in range(5)]
    alpha = np.asarray(clouds, dtype=np.float32) / np.float32(255)
    return Sources(Rasters(marble, land_cover), alpha, {"train": crowns, "val": crowns, "test": crowns})


def test_the_split_that_ships_keeps_every_gate() -> None:
    assert [gate for gate in check(EO_MINI, "test") if not gate.passed] == []


def test_the_split_that_ships_is_large_enough_and_readable() -> None:
    lines, pairs = read_lines(EO_MINI), read_pairs(EO_MINI)
    assert len(pairs) == len(lines) >= 500
    assert len({pair.frame for pair in pairs}) >= 60
    assert {line["kind"] for line in lines} >= set(ANSWERS)
    assert sum(path.stat().st_size for path in EO_MINI.iterdir()) < 12.5e6
    assert blind(lines) < 0.4
    assert majority(lines) <= blind(lines)
    assert all(pair.box is not None for pair in pairs if pair.kind in ANSWERS)


def test_a_first_run_takes_frames_that_ship(tmp_path: Path) -> None:
    chosen = choose_first_light(EO_MINI, tmp_path)
    assert (tmp_path / "prompts.jsonl").read_bytes() == (FIRST_LIGHT / "prompts.jsonl").read_bytes()
    assert len({line["frame"] for line in chosen}) == 16
    assert {line["kind"] for line in chosen} == {line["kind"] for line in read_lines(EO_MINI)}
    assert all((FIRST_LIGHT / line["image"]).is_file() for line in chosen)


def test_the_splits_do_not_touch() -> None:
    bands = sorted(band for split in BANDS_DEG.values() for band in split)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(bands))


def test_a_changed_frame_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in read_lines(EO_MINI) if line["frame"] in ("e0000", "e0001", "e0002", "e0003")]
    for name in {line["image"] for line in lines}:
        shutil.copy(EO_MINI / name, tmp_path)
    Image.new("RGB", (1344, 1344)).save(tmp_path / "e0001.jpg")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["check", str(tmp_path), "--json"]) == 1
    gates = {gate["name"]: gate for gate in json.loads(capsys.readouterr().out)}
    assert gates["images match their checksums"]["measured"] == "e0001.jpg"


def test_what_shows_when_reduced_and_what_never_shows_is_refused() -> None:
    detected = [Score("ships", 96, 0.97, 0.6), Score("rows", 96, 0.8, 0.3), Score("clouds", 96, 0.9, 0.8)]
    assert [gate.passed for gate in resolution_gates(detected)] == [False, False, False]


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_reduced_windows_look_alike(kind: str, sources: Sources) -> None:
    """Mean and spread of reduced windows are no clue: the classes differ less than chance lets them."""
    rng = np.random.default_rng(1)
    means, spreads = [], []
    for answer in ANSWERS[kind]:
        drawn = [draw_window(kind, answer, sources.crowns["test"], rng).pixels for _ in range(40)]
        small = [
            np.asarray(
                Image.fromarray(one.clip(0, 255).astype(np.uint8)).resize(
                    (REDUCED_PX,) * 2, Image.Resampling.BOX
                )
            )
            for one in drawn
        ]
        means.append([one.mean() for one in small])
        spreads.append([one.std() for one in small])
    for figure in (np.array(means), np.array(spreads)):
        chance = figure.std(axis=1).mean() / np.sqrt(figure.shape[1])
        assert np.ptp(figure.mean(axis=1)) < 6 * chance


def test_the_same_seed_draws_the_same_bytes(sources: Sources, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(draw_frames(sources, "val", 2, seed=5), tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["e0000.jpg", "e0001.jpg", "prompts.jsonl"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    write(draw_frames(sources, "val", 2, seed=6), tmp_path / "other")
    assert (tmp_path / "other" / "e0000.jpg").read_bytes() != (tmp_path / "first" / "e0000.jpg").read_bytes()


def test_what_is_no_split_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SplitError, match="is not a list of prompts"):
        read_lines(tmp_path)
    assert main(["check", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["build", "--split", "train"]) == 2
    assert "--output" in capsys.readouterr().err
