"""RSVQA, in the layout of its three JSON files per split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodes.data.formats.rsvqa import truth_of
from nodes.data.pairs import listed_pairs
from nodes.errors import DataError
from tests.unit.nodes.data.formats.fixtures import image, write

STAMPS = {"date_added": 1534952412.0, "people_id": 0}


def question(number: int, img_id: int, kind: str, text: str, answer: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number, **STAMPS, "img_id": img_id, "type": kind, "question": text, "answers_ids": [answer],
        "active": True, **changes,
    }  # fmt: skip


def rsvqa(folder: Path, prefix: str, split: str, answers: list[str]) -> None:
    """Write a split whose questions are 1, 2, ... about images 7, 8, ...; row 0 belongs to another split."""
    kinds = {"yes": "presence", "rural": "rural_urban"}
    active = list(enumerate(answers, start=1))
    parts = {
        "questions": [question(n, 6 + n, kinds.get(text, "count"), f"Q{n}?", n) for n, text in active],
        "answers": [
            {"id": n, **STAMPS, "question_id": n, "answer": text, "active": True} for n, text in active
        ],
        "images": [
            {
                "id": 6 + n,
                **STAMPS,
                "original_name": f"{n}.tif",
                "sensor": "S2",
                "questions_ids": [n],
                "active": True,
            }
            for n, _ in active
        ],
    }
    for key, rows in parts.items():
        write(folder / f"{prefix}_split_{split}_{key}.json", {key: [{"id": 0, "active": False}, *rows]})


def test_the_low_resolution_set(tmp_path: Path) -> None:
    rsvqa(tmp_path, "LR", "test", ["57", "yes", "rural"])
    rsvqa(tmp_path, "LR", "val", ["0"])
    for number in (7, 8, 9):
        image(tmp_path / "Images_LR" / f"{number}.tif")
    for source in (str(tmp_path), f"rsvqa-lr:{tmp_path}"):
        pairs = listed_pairs(source, "test")
        assert [(pair.frame, pair.prompt, pair.kind, pair.truth) for pair in pairs] == [
            ("7", "Q1?", "count", "between 11 and 100"),
            ("8", "Q2?", "presence", "yes"),
            ("9", "Q3?", "rural_urban", "rural"),
        ]
        assert [pair.image.name for pair in pairs] == ["7.tif", "8.tif", "9.tif"]
    assert pairs[0].is_right("There are 57 buildings")
    assert not pairs[0].is_right("101")
    assert len(listed_pairs(tmp_path)) == 4
    with pytest.raises(DataError, match="no pairs of split train: its splits are test, val"):
        listed_pairs(tmp_path, "train")


def test_the_high_resolution_set_judges_areas_by_range_and_counts_exactly(tmp_path: Path) -> None:
    rsvqa(tmp_path, "USGS", "test", ["16253m2"])
    rsvqa(tmp_path, "USGS", "test_phili", ["3", "0m2"])
    for number in (7, 8):
        image(tmp_path / "Data" / f"{number}.tif")
    assert [pair.truth for pair in listed_pairs(tmp_path, "test_phili")] == ["3", "0 m2"]
    (area,) = listed_pairs(f"rsvqa-hr:{tmp_path}", "test")
    assert area.truth == "more than 1000 m2"
    assert area.is_right("about 9000 square metres")
    assert not area.is_right("1000m2")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("0", "0"), ("1", "between 1 and 10"), ("10", "between 1 and 10"), ("11", "between 11 and 100"),
     ("101", "between 101 and 1000"), ("1001", "more than 1000"), ("11m2", "between 11 m2 and 100 m2"),
     ("no", "no")],
)  # fmt: skip
def test_ranges_of_counts_and_areas(answer: str, expected: str) -> None:
    assert truth_of(answer, counts_by_range=True) == expected


def test_what_is_missing_is_named_with_its_question(tmp_path: Path) -> None:
    rsvqa(tmp_path, "LR", "test", ["57", "yes"])
    image(tmp_path / "Images_LR" / "7.tif")
    with pytest.raises(DataError, match=r"LR_split_test_questions\.json, question 2: no image 8 .*Images_LR"):
        listed_pairs(tmp_path, "test")
    image(tmp_path / "Images_LR" / "8.tif")
    write(tmp_path / "LR_split_test_questions.json", {"questions": [question(5, 7, "count", "?", 9)]})
    with pytest.raises(DataError, match="question 5: 9 is missing"):
        listed_pairs(tmp_path, "test")
    (tmp_path / "LR_split_test_answers.json").unlink()
    with pytest.raises(DataError, match=r"no file .*LR_split_test_answers\.json: the data set is incomplete"):
        listed_pairs(f"rsvqa-lr:{tmp_path}", "test")
    with pytest.raises(DataError, match=r"contains no \*_questions\.json"):
        listed_pairs(f"rsvqa-lr:{tmp_path / 'Images_LR'}")


def test_withdrawn_questions_and_images_are_left_out(tmp_path: Path) -> None:
    rsvqa(tmp_path, "LR", "test", ["1", "2", "3"])
    for number in (7, 8, 9):
        image(tmp_path / "Images_LR" / f"{number}.tif")
    questions = [
        question(1, 7, "count", "?", 1),
        question(2, 8, "count", "?", 2, active=False),
        question(3, 9, "count", "?", 3),
    ]
    write(tmp_path / "LR_split_test_questions.json", {"questions": questions})
    write(tmp_path / "LR_split_test_images.json", {"images": [{"id": 9, "active": False}]})
    assert [pair.name for pair in listed_pairs(tmp_path, "test")] == ["q1"]
