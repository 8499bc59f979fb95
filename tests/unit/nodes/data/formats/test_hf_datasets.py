"""Folders of `save_to_disk`, written as Hugging Face `datasets` 5.2 writes them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from PIL import Image

from nodes.data.pairs import listed_pairs, read_pairs
from nodes.errors import DataError
from tests.unit.nodes.data.formats.fixtures import image, write

IMAGE = {"_type": "Image"}
TEXT = {"dtype": "string", "_type": "Value"}


def png(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(data, "PNG")
    return data.getvalue()


def save(folder: Path, features: dict[str, Any], columns: dict[str, list[Any]]) -> None:
    table = pyarrow.table(columns)
    folder.mkdir(parents=True)
    with pyarrow.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as stream:
        stream.write_table(table)
    write(
        folder / "state.json",
        {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "7ec9"},
    )
    write(folder / "dataset_info.json", {"citation": "", "features": features})


def test_questions_in_splits(tmp_path: Path) -> None:
    columns = {
        "image": [{"bytes": png(shade), "path": None} for shade in (1, 2, 1)],
        "question": ["a?", "b?", "c?"],
        "answer": ["yes", "3", "no"],
    }
    save(tmp_path / "set" / "test", {"image": IMAGE, "question": TEXT, "answer": TEXT}, columns)
    write(tmp_path / "set" / "dataset_dict.json", {"splits": ["test"]})
    for source in (tmp_path / "set", f"hf-datasets:{tmp_path / 'set'}"):
        pairs = read_pairs(source, "test", kept=tmp_path / "kept")
        assert [(pair.prompt, pair.truth) for pair in pairs] == [("a?", "yes"), ("b?", "3"), ("c?", "no")]
        assert pairs[0].image.read_bytes() == png(1)
        assert pairs[0].frame == pairs[2].frame != pairs[1].frame
    assert len(list((tmp_path / "kept").glob("*.png"))) == 2
    with pytest.raises(DataError, match="no pairs of split train: its splits are test"):
        listed_pairs(tmp_path / "set", "train")


def test_classes_and_images_that_are_files(tmp_path: Path) -> None:
    features = {"image": IMAGE, "label": {"names": ["sea", "dense_residential"], "_type": "ClassLabel"}}
    save(tmp_path / "set", features, {"image": ["a.png", "b.png"], "label": [0, 1]})
    image(tmp_path / "set" / "a.png")
    with pytest.raises(DataError, match=r"arrow, row 1: no image: it holds no bytes, and no file b\.png"):
        listed_pairs(tmp_path / "set")
    image(tmp_path / "set" / "b.png")
    pairs = listed_pairs(tmp_path / "set")
    assert [pair.truth for pair in pairs] == ["sea", "dense residential"]
    assert pairs[0].prompt.endswith("one of: sea, dense residential.")


def test_columns_that_hold_no_question_are_named(tmp_path: Path) -> None:
    save(tmp_path / "set", {"image": IMAGE, "caption": TEXT}, {"image": ["a.png"], "caption": ["a river"]})
    with pytest.raises(DataError, match="its columns are image, caption; needed are an image"):
        listed_pairs(tmp_path / "set")
    (tmp_path / "set" / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    write(
        tmp_path / "set" / "dataset_info.json",
        {"features": {"image": IMAGE, "question": TEXT, "answer": TEXT}},
    )
    with pytest.raises(DataError, match="cannot be read as an Arrow stream"):
        listed_pairs(tmp_path / "set")
