"""The shipped pair of models, loaded once, and the shipped frames and prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nodes.data import EO_MINI
from nodes.models import COMPACT, REGULAR
from nodes.vlm.model import VisionLanguageModel, load_model


@pytest.fixture(scope="session")
def compact() -> VisionLanguageModel:
    return load_model(COMPACT, threads=1)


@pytest.fixture(scope="session")
def regular() -> VisionLanguageModel:
    return load_model(REGULAR, threads=1)


def read_prompts() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EO_MINI / "prompts.jsonl").read_text().splitlines()]


def open_frame(name: str) -> Image.Image:
    return Image.open(EO_MINI / name).convert("RGB")


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """A small file-by-file copy of the compact model that a test may damage."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in COMPACT.iterdir():
        if path.suffix in {".json", ".safetensors", ".jinja"}:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder
