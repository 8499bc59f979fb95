"""AID and RESISC45: folders of classes, and lists of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.data.pairs import listed_pairs
from nodes.errors import DataError
from tests.unit.nodes.data.formats.fixtures import image


def test_aid(tmp_path: Path) -> None:
    for name in ("Airport/airport_1.jpg", "Airport/airport_2.jpg", "DenseResidential/denseresidential_1.jpg"):
        image(tmp_path / "AID" / name)
    for source in (f"aid:{tmp_path / 'AID'}", f"aid:{tmp_path}", str(tmp_path / "AID"), str(tmp_path)):
        pairs = listed_pairs(source)
        assert [pair.truth for pair in pairs] == ["airport", "airport", "dense residential"]
        assert pairs[0].prompt.endswith("one of: airport, dense residential.")
        assert pairs[2].is_right("Dense-residential.")


def test_splits_of_resisc45_are_lists_beside_the_folder(tmp_path: Path) -> None:
    for name in ("airplane/airplane_001.jpg", "airplane/airplane_002.jpg", "sea_ice/sea_ice_001.jpg"):
        image(tmp_path / "NWPU-RESISC45" / name)
    (tmp_path / "resisc45-test.txt").write_text("sea_ice_001.jpg\nairplane_002.jpg\n")
    (tmp_path / "resisc45-val.txt").write_text("airplane_001.jpg\nairplane_003.jpg\n")
    pairs = listed_pairs(f"resisc45:{tmp_path}", "test")
    assert [(pair.image.name, pair.truth) for pair in pairs] == [
        ("sea_ice_001.jpg", "sea ice"),
        ("airplane_002.jpg", "airplane"),
    ]
    assert len(listed_pairs(tmp_path)) == 3
    with pytest.raises(DataError, match=r"resisc45-val\.txt, line 2: no image file airplane_003\.jpg"):
        listed_pairs(tmp_path, "val")
    with pytest.raises(DataError, match="no pairs of split train: its splits are test, val"):
        listed_pairs(tmp_path, "train")


def test_a_folder_per_split(tmp_path: Path) -> None:
    for name in ("test/river/1.png", "test/lake/1.png", "train/river/2.png", "train/lake/2.png"):
        image(tmp_path / name)
    assert [pair.frame for pair in listed_pairs(f"aid:{tmp_path}", "test")] == ["lake/1.png", "river/1.png"]
