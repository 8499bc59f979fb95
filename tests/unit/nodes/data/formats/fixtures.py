"""Small data sets in published layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def image(path: Path, shade: int = 0) -> Path:
    """Write a small image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
