"""LRS-VQA: one file of JSON lines, images named from the folder above."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.data.pairs import listed_pairs
from nodes.errors import DataError
from tests.unit.nodes.data.formats.fixtures import image

ROW = {
    "question_id": "LRS-FAIR_1",
    "image": "LRS_VQA/image/15565.tif",
    "category": "count",
    "text": "How many planes?",
    "ground_truth": "4",
}


def test_lrs_vqa(tmp_path: Path) -> None:
    folder = tmp_path / "LRS_VQA"
    image(folder / "image" / "15565.tif")
    lines = folder / "LRS_VQA_merged.jsonl"
    lines.write_text(json.dumps(ROW) + "\n")
    for source in (str(folder), f"lrs-vqa:{folder}"):
        (pair,) = listed_pairs(source)
        assert (pair.frame, pair.prompt, pair.truth, pair.kind) == (
            "15565.tif",
            "How many planes?",
            "4",
            "count",
        )
        assert pair.image == folder / "image" / "15565.tif"
        assert pair.is_right("Four planes")
    elsewhere = folder.rename(tmp_path / "elsewhere")
    assert listed_pairs(elsewhere)[0].image == elsewhere / "image" / "15565.tif"
    (elsewhere / "image" / "15565.tif").unlink()
    with pytest.raises(DataError, match=r"line 1, question LRS-FAIR_1: no image file .*15565\.tif"):
        listed_pairs(elsewhere)
    with pytest.raises(DataError, match="no pairs of split test: it has no splits"):
        listed_pairs(elsewhere, "test")
    (elsewhere / "LRS_VQA_merged.jsonl").write_text(
        json.dumps({**ROW, "ground_truth": None}).replace("ground_", "")
    )
    with pytest.raises(DataError, match="line 1: 'ground_truth' is missing"):
        listed_pairs(f"lrs-vqa:{elsewhere}")
