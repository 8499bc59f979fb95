"""COCO-style VQA: questions and annotations, images by number or by a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.data.pairs import listed_pairs
from nodes.errors import DataError
from tests.unit.nodes.data.formats.fixtures import image, write


def vqa(folder: Path, split: str) -> None:
    write(
        folder / f"v2_OpenEnded_mscoco_{split}_questions.json",
        {
            "data_subtype": split,
            "questions": [{"image_id": 42, "question": "What is it?", "question_id": 42000}],
        },
    )
    answers = ["ship"] * 5 + ["vessel"] * 3 + ["boat"] * 2
    write(
        folder / f"v2_mscoco_{split}_annotations.json",
        {
            "annotations": [
                {
                    "question_id": 42000, "image_id": 42, "question_type": "what is", "answer_type": "other",
                    "multiple_choice_answer": "ship",
                    "answers": [{"answer": text, "answer_id": n} for n, text in enumerate(answers, 1)],
                }
            ]
        },
    )  # fmt: skip


def test_answers_that_three_annotators_gave_are_right(tmp_path: Path) -> None:
    vqa(tmp_path, "val2014")
    image(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg")
    for source in (str(tmp_path), f"vqa:{tmp_path}"):
        (pair,) = listed_pairs(source)
        assert (pair.name, pair.frame, pair.kind, pair.truth) == ("q42000", "42", "other", "ship")
        assert [text for text in ("ship", "vessel", "boat") if pair.is_right(text)] == ["ship", "vessel"]


def test_a_split_chooses_among_files(tmp_path: Path) -> None:
    vqa(tmp_path, "val2014")
    vqa(tmp_path, "train2014")
    image(tmp_path / "images" / "42.png")
    assert len(listed_pairs(tmp_path, "val2014")) == 1
    with pytest.raises(DataError, match="contains 2 files"):
        listed_pairs(tmp_path)
    with pytest.raises(DataError, match="no pairs of split test: its splits are train2014, val2014"):
        listed_pairs(tmp_path, "test")


def test_images_by_a_list_of_files(tmp_path: Path) -> None:
    write(tmp_path / "questions.json", {"images": [{"id": "a", "file_name": "scenes/harbour.png"}],
          "questions": [{"question_id": 1, "image_id": "a", "question": "?"}]})  # fmt: skip
    write(
        tmp_path / "annotations.json", {"annotations": [{"question_id": 1, "multiple_choice_answer": "yes"}]}
    )
    with pytest.raises(DataError, match=r"questions\.json, question 1: no image scenes/harbour\.png below"):
        listed_pairs(f"vqa:{tmp_path}")
    image(tmp_path / "scenes" / "harbour.png")
    assert listed_pairs(tmp_path)[0].image == tmp_path / "scenes" / "harbour.png"
    write(tmp_path / "annotations.json", {"annotations": []})
    with pytest.raises(DataError, match=r"question 1: annotations\.json has no answer to it"):
        listed_pairs(tmp_path)


def test_an_image_that_two_files_may_be(tmp_path: Path) -> None:
    vqa(tmp_path, "val2014")
    image(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg")
    image(tmp_path / "other" / "42.png")
    with pytest.raises(DataError, match=r"question 42000: image 42 may be .* or .*: remove one of them"):
        listed_pairs(tmp_path)
