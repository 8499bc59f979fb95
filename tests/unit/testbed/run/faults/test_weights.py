"""Flipped bits in a model's weights: as many as asked for, the same for a seed, in a model that loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nodes.models import COMPACT
from nodes.vlm.folder import check_model_folder, fingerprint
from testbed.run.faults.weights import damaged_copy

SAFETENSORS = "model.safetensors"


def parts(path: Path) -> tuple[dict[str, object], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_the_copy_differs_by_the_flipped_bits_alone(tmp_path: Path) -> None:
    flips = damaged_copy(COMPACT, tmp_path / "copy", 100, seed=1)
    (head, data), (damaged_head, damaged) = (
        parts(COMPACT / SAFETENSORS),
        parts(tmp_path / "copy" / SAFETENSORS),
    )
    different = np.frombuffer(data, np.uint8) ^ np.frombuffer(damaged, np.uint8)
    assert int(np.unpackbits(different).sum()) == len(flips) == 100
    about = damaged_head.pop("__metadata__")
    assert json.loads(about["damage"]) == [flip.line() for flip in flips]  # type: ignore[index]
    head.pop("__metadata__")
    assert damaged_head == head
    same = {p.name for p in COMPACT.iterdir() if p.is_file()} - {SAFETENSORS}
    assert all((tmp_path / "copy" / name).read_bytes() == (COMPACT / name).read_bytes() for name in same)
    check_model_folder(tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") != fingerprint(COMPACT), "remembered answers are of another model"


def test_the_flips_follow_from_the_seed_and_name_the_numbers(tmp_path: Path) -> None:
    made = [damaged_copy(COMPACT, tmp_path / str(n), 5, seed) for n, seed in enumerate((7, 7, 8))]
    assert made[0] == made[1] != made[2]
    head, data = parts(COMPACT / SAFETENSORS)
    _, damaged = parts(tmp_path / "0" / SAFETENSORS)
    for flip in made[0]:
        about = head[flip.tensor]
        assert isinstance(about, dict) and about["dtype"] == "F16"
        begin, end = about["data_offsets"]
        before, after = (np.frombuffer(whole[begin:end], "<f2")[flip.element] for whole in (data, damaged))
        assert (flip.before, flip.after) == (f"{before:.4g}", f"{after:.4g}")
        assert before.view(np.uint16) ^ after.view(np.uint16) == 1 << flip.bit


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / SAFETENSORS).write_bytes(b"\xff" * 7)
    with pytest.raises(ValueError, match="is no safetensors file"):
        damaged_copy(tmp_path / "model", tmp_path / "copy", 1, 0)
    (tmp_path / "model" / SAFETENSORS).write_bytes((2).to_bytes(8, "little") + b"{}" + b"ab")
    with pytest.raises(ValueError, match="16 bits of weights, fewer than 17"):
        damaged_copy(tmp_path / "model", tmp_path / "copy", 17, 0)
