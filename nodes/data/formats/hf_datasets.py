"""What `save_to_disk` of Hugging Face `datasets` writes.

It is read with pyarrow (extra `datasets`); no code of a data set runs. A `Dataset` is a folder of
`state.json`, which names its Arrow files (streams of record batches), and `dataset_info.json`, which
has the columns' types; a `DatasetDict` has `dataset_dict.json` with the splits, each a folder of that
kind (github.com/huggingface/datasets: src/datasets/arrow_dataset.py, dataset_dict.py). Images are
structs of bytes and path.

The columns may have any of the names below. Without a question, an image of a labelled class asks for
its class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.data.formats.classes import SCENE_PROMPT, spoken
from nodes.data.formats.files import MALFORMED, file_name, json_of, malformed, no_split
from nodes.data.pair import Pair
from nodes.errors import DataError

SPLITS, STATE = "dataset_dict.json", "state.json"
_IMAGE = ("image", "img", "picture")
_PROMPT = ("question", "prompt", "text", "query")
_TRUTH = ("answer", "truth", "ground_truth", "multiple_choice_answer", "answers")
_LABEL = ("label", "labels", "class")
_FRAME = ("image_id", "img_id", "frame")
_ROWS_AT_ONCE = 16
_KIND = ("kind", "category", "type", "question_type", "answer_type")


@dataclass(frozen=True)
class StoredImage:
    """An image in an Arrow file."""

    file: Path
    row: int
    column: str
    sha256: str

    def key(self) -> str:
        """Return the hash of its bytes."""
        return self.sha256

    def write(self, unfinished: Path) -> dict[str, Any]:
        """Write its bytes as they are."""
        unfinished.write_bytes(_table(self.file)[self.column][self.row].as_py()["bytes"])
        return {}


def read(folder: Path, split: str | None) -> list[Pair]:
    """Read the pairs of a split, or of all splits. Raises DataError."""
    if not (folder / SPLITS).is_file():
        if split:
            raise no_split(folder, split, ())
        return _pairs_of(folder, "")
    splits = [str(name) for name in json_of(folder / SPLITS).get("splits", [])]
    if split and split not in splits:
        raise no_split(folder, split, splits)
    return [pair for name in ([split] if split else splits) for pair in _pairs_of(folder / name, f"{name}-")]


@dataclass(frozen=True)
class _Columns:
    """Names of the columns that a data set has, or "", and the classes of its label."""

    image: str
    prompt: str
    truth: str
    label: str
    frame: str
    kind: str
    classes: tuple[str, ...]

    @staticmethod
    def of(folder: Path) -> _Columns:
        features = json_of(folder / "dataset_info.json").get("features") or {}

        def first(known: Sequence[str]) -> str:
            return next((name for name in known if name in features), "")

        image, prompt, truth, label = first(_IMAGE), first(_PROMPT), first(_TRUTH), first(_LABEL)
        asks = bool(prompt and truth)
        classes = () if asks else tuple(spoken(name) for name in features.get(label, {}).get("names") or ())
        if not image or not (asks or classes):
            raise DataError(
                f"{folder}: its columns are {', '.join(features) or 'unknown'}; needed are an image "
                f"({', '.join(_IMAGE)}), and a question ({', '.join(_PROMPT)}) with its answer "
                f"({', '.join(_TRUTH)}), or a class label"
            )
        return _Columns(image, prompt, truth, label, first(_FRAME), first(_KIND), classes)

    def question(self, values: dict[str, Any]) -> tuple[str, list[str], str]:
        """Return the prompt of a row, its right answers and its kind."""
        if self.classes:
            prompt = SCENE_PROMPT.format(classes=", ".join(self.classes))
            return prompt, [self.classes[int(values[self.label])]], "scene"
        return str(values[self.prompt]), _truths(values[self.truth]), str(values.get(self.kind) or "")


def _pairs_of(folder: Path, prefix: str) -> list[Pair]:
    columns = _Columns.of(folder)
    pairs: list[Pair] = []
    for one in json_of(folder / STATE).get("_data_files", []):
        file = folder / str(one["filename"])
        for row, values in enumerate(_rows(_table(file), columns)):
            where = f"{file}, row {row}"
            try:
                image, frame, origin = _image(file, row, values[columns.image], columns)
                prompt, truths, kind = columns.question(values)
            except MALFORMED as error:
                if isinstance(error, DataError):
                    raise
                raise malformed(where, error) from error
            frame = str(values.get(columns.frame) or frame)
            name = f"p{prefix}{len(pairs):05d}-{file_name(frame)}"
            pairs.append(
                Pair(name, frame, image, prompt, truths[0], kind, also_right=tuple(truths[1:]), origin=origin)
            )
    return pairs


def _rows(table: Any, columns: _Columns) -> Iterator[dict[str, Any]]:
    wanted = {columns.image, columns.prompt, columns.truth, columns.label, columns.frame, columns.kind}
    for batch in table.select(sorted(wanted & set(table.column_names))).to_batches(_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _image(file: Path, row: int, stored: Any, columns: _Columns) -> tuple[Path, str, StoredImage | None]:
    """Return an image's file, the name of its frame, and where it is stored if it is no file of its own."""
    data, path = (stored.get("bytes"), stored.get("path")) if isinstance(stored, dict) else (None, stored)
    if data:
        digest = hashlib.sha256(data).hexdigest()
        return Path(f"{digest}{_ending(data)}"), digest[:16], StoredImage(file, row, columns.image, digest)
    image = file.parent / str(path)
    if not path or not image.is_file():
        raise DataError(f"{file}, row {row}: no image: it holds no bytes, and no file {path}")
    return image, str(path), None


def _truths(value: Any) -> list[str]:
    """Return the right answers: one, or a list of which all are right."""
    truths = [str(one) for one in (value if isinstance(value, list) else [value])]
    if not truths:
        raise ValueError("its list of answers is empty")
    return truths


def _ending(data: bytes) -> str:
    for start, ending in ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"RIFF", ".webp")):
        if data.startswith(start):
            return ending
    return ".tif"


def _table(file: Path) -> Any:
    try:
        import pyarrow  # an extra
    except ImportError:
        raise DataError(
            f"{file} needs the package pyarrow: pip install 'spaceverse-testbed[datasets]'"
        ) from None
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise DataError(f"{file} cannot be read as an Arrow stream: {error}") from error
