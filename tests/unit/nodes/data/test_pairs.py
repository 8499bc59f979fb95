"""Readers of data sets, on handmade samples in each layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nodes.data.pairs import read_pairs
from nodes.errors import DataError


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def lines(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")


def row(**changes: Any) -> dict[str, Any]:
    return {"frame": "a", "image": "a.png", "prompt": "how many?", "truth": "two"} | changes


def test_a_folder_with_prompts(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    lines(
        tmp_path / "prompts.jsonl",
        row(kind="count", box=[0.1, 0.2, 0.3, 0.4], split="test"),
        row(prompt="where?", split="validation"),
    )
    first, second = read_pairs(tmp_path)
    assert (first.frame, first.truth, first.kind, first.box) == ("a", "two", "count", (0.1, 0.2, 0.3, 0.4))
    assert first.name != second.name
    assert [pair.prompt for pair in read_pairs(tmp_path, "validation")] == ["where?"]
    lines(tmp_path / "test.jsonl", row(prompt="from a file of its own"))
    assert [pair.prompt for pair in read_pairs(tmp_path, "test")] == ["from a file of its own"]


def test_a_pairs_name_is_a_files_name(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    lines(tmp_path / "prompts.jsonl", row(frame="../site A/1"), row(frame="x" * 300))
    first, second = read_pairs(tmp_path)
    assert first.frame == "../site A/1"
    for pair in (first, second):
        (tmp_path / f"{pair.name}.png").touch()
        assert "/" not in pair.name


def test_a_folder_per_class(tmp_path: Path) -> None:
    image(tmp_path / "DenseResidential" / "d_1.jpg")
    image(tmp_path / "mobile_home_park" / "m_1.jpg")
    pairs = read_pairs(tmp_path)
    assert [pair.truth for pair in pairs] == ["dense residential", "mobile home park"]
    assert pairs[0].prompt.endswith("dense residential, mobile home park.")
    assert len({pair.frame for pair in pairs}) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "line 1: JSONDecodeError"),
        ("[]", "line 1"),
        (json.dumps(row(image="none.png")), "no image file"),
        (json.dumps({"frame": "a", "image": "a.png", "prompt": "?"}), "line 1: 'truth' is missing"),
        (json.dumps(row(box=[0.5, 0, 0.1, 1])), "must be left, upper"),
        ("", "contains no pairs"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "prompts.jsonl").write_text(text)
    with pytest.raises(DataError, match=expected) as caught:
        read_pairs(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        read_pairs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not a data set"):
        read_pairs(tmp_path / "empty")


def test_stray_pictures_are_no_data_set(tmp_path: Path) -> None:
    image(tmp_path / "docs" / "figure.png")
    for stray in ("src/main.py", "results.json", "docs/deep/x.png", "photo.jpg"):
        image(tmp_path / "src" / "icon.png")
        (tmp_path / stray).parent.mkdir(exist_ok=True)
        (tmp_path / stray).write_bytes(b"stray")
        with pytest.raises(DataError, match=r"not a data set: no prompts\.jsonl.*eval --help"):
            read_pairs(tmp_path)
        (tmp_path / stray).unlink()
        if (tmp_path / "docs" / "deep").is_dir():
            (tmp_path / "docs" / "deep").rmdir()
    (tmp_path / "README.md").write_text("about the classes")
    assert len(read_pairs(tmp_path)) == 2
    (tmp_path / "src" / "icon.png").unlink()
    with pytest.raises(DataError, match="holds 1 of these folders"):
        read_pairs(tmp_path)


def test_a_split_that_no_pair_has_is_refused_with_the_splits_that_there_are(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    lines(tmp_path / "prompts.jsonl", row(), row())
    with pytest.raises(DataError, match="no pairs of split test: it has no splits; omit the option"):
        read_pairs(tmp_path, "test")
    lines(tmp_path / "prompts.jsonl", row(split="train"), row(split="val"), row())
    with pytest.raises(DataError, match="no pairs of split test: its splits are train, val"):
        read_pairs(tmp_path, "test")
    assert len(read_pairs(tmp_path, "val")) == 1
    lines(tmp_path / "test.jsonl", row())
    assert len(read_pairs(tmp_path, "test")) == 1
    image(tmp_path / "classes" / "one" / "1.png")
    image(tmp_path / "classes" / "two" / "2.png")
    with pytest.raises(DataError, match="it has no splits; omit the option"):
        read_pairs(tmp_path / "classes", "test")


def test_further_right_answers_of_a_line_count(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    lines(tmp_path / "prompts.jsonl", row(truth="ship", also_right=["vessel"]), row(also_right="vessel"))
    with pytest.raises(DataError, match="line 2: ValueError: also_right is 'vessel': it must be a list"):
        read_pairs(tmp_path)
    lines(tmp_path / "prompts.jsonl", row(truth="ship", also_right=["vessel"]))
    (pair,) = read_pairs(tmp_path)
    assert [answer for answer in ("The ship", "a vessel", "boat") if pair.is_right(answer)] == [
        "The ship",
        "a vessel",
    ]


def test_synonyms_that_a_data_set_gives(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    lines(tmp_path / "prompts.jsonl", row(truth="ship"), row(truth="two"))
    (tmp_path / "synonyms.json").write_text('{"ship": ["vessel", "boat"]}')
    assert [pair.also_right for pair in read_pairs(tmp_path)] == [("vessel", "boat"), ()]
    (tmp_path / "synonyms.json").write_text('{"ship": "vessel"}')
    with pytest.raises(DataError, match=r"synonyms\.json: it must map each truth to a list"):
        read_pairs(tmp_path)


def test_a_layout_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"no data set layout is called 'rsvqa'; known ones: prompts, rsvqa-lr, .*hf-datasets$",
    ):
        read_pairs(f"rsvqa:{tmp_path}")
    with pytest.raises(DataError, match=r"no folder of images at .*none"):
        read_pairs(f"aid:{tmp_path / 'none'}")
