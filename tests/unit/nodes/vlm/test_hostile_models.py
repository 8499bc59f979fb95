"""A model from somebody else is data: no code in its folder is run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nodes.errors import ModelError
from nodes.models import COMPACT
from nodes.vlm.folder import check_model_folder
from nodes.vlm.model import load_model


class Evil:
    """A pickle that runs a command as it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPACT, tmp_path / "model"))


def test_weights_that_are_a_pickle_run_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil(tmp_path / "was-run")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load a vision-language model"):
        load_model(folder)
    assert not (tmp_path / "was-run").exists()


def test_python_files_beside_the_weights_are_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        kinds = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer")
        content["auto_map"] = dict.fromkeys(kinds, "evil.Evil")
        (folder / name).write_text(json.dumps(content))
    try:
        load_model(folder)  # its own classes are known without the file
    except ModelError as error:
        assert "trust_remote_code" in str(error)
    assert not (tmp_path / "was-run").exists()


def test_a_configuration_that_is_nested_without_end_is_damaged(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        check_model_folder(folder)
