"""CLIP similarity as a scorer of regions: another opinion than the compact model's attention.

No CLIP ships with the project; any folder or hub name that transformers loads as one will do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.errors import ModelError
from nodes.regions.grid import Grid

_TEMPERATURE = 0.01  # that of CLIP's own training (arXiv 2103.00020, section 2.5: logits clipped at 100)


class ClipScorer:
    """Scores a frame's regions by how well each agrees with the prompt.

    Args:
        name_or_folder: a CLIP with its processor. Raises ModelError when it cannot be loaded.
    """

    def __init__(self, name_or_folder: str | Path, *, device: str = "cpu") -> None:
        import transformers  # slow

        clip: Any = transformers  # typed in part only
        try:
            self._network = clip.CLIPModel.from_pretrained(str(name_or_folder)).to(device).eval()
            self._tokenizer = clip.AutoTokenizer.from_pretrained(str(name_or_folder))
            self._images = clip.AutoImageProcessor.from_pretrained(str(name_or_folder))
        except Exception as error:  # transformers raises many kinds for one mistake: this is no CLIP to use
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"cannot load a CLIP from {name_or_folder}: {first_line}") from error
        self._device = device

    def scores(self, frame: Image.Image, grid: Grid, prompt: str) -> NDArray[np.float64]:
        """Relevance of each region, float64[len(grid)], summing to 1: a softmax of cosine similarities."""
        import torch  # slow

        frame = frame.convert("RGB")
        crops = [frame.crop(grid.box(index)) for index in range(len(grid))]
        with torch.inference_mode():
            text = self._tokenizer([prompt], return_tensors="pt", truncation=True)
            pixels = self._images(images=crops, return_tensors="pt")
            output = self._network(
                input_ids=text["input_ids"].to(self._device),
                attention_mask=text["attention_mask"].to(self._device),
                pixel_values=pixels["pixel_values"].to(self._device),
            )
            likeness = (output.image_embeds @ output.text_embeds.T)[:, 0] / _TEMPERATURE
            return np.asarray(likeness.softmax(0).double().cpu(), dtype=np.float64)
