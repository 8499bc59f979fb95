"""One pass of the compact model over a pair: what the confidence network and the regions need.

The model's own answer is fed back to it behind the prompt, in one forward pass with all hidden states and
attentions. A decoder is causal, so what a position holds then is what it held while the answer was decoded.
Image tokens are found by the configuration's `image_token_id`; their embeddings are the visual features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.confidence import END, prompt_features, token_features
from nodes.regions import scores_from_map

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StageViews:
    """What was seen: `features` by stage (0, 1, ..., END), `attention` float32[layers, heads, regions]."""

    features: dict[int, Floats]
    attention: NDArray[np.float32]


class CompactPass:
    """Loads a model a second time, with attention that can be looked at (the fused kinds show none)."""

    def __init__(self, name_or_folder: str, *, device: str = "cpu") -> None:
        import torch  # noqa: PLC0415 - slow
        import transformers  # noqa: PLC0415 - slow

        from nodes.image_processor import load_processor  # noqa: PLC0415

        automatic: Any = transformers
        self._torch = torch
        self._device = device
        self._processor = load_processor(name_or_folder)
        dtype = torch.float32 if device == "cpu" else "auto"
        network = automatic.AutoModelForImageTextToText.from_pretrained(
            name_or_folder, dtype=dtype, attn_implementation="eager"
        )
        self._network = network.to(device).eval()

    def views(
        self,
        image: Image.Image,
        prompt: str,
        token_ids: Sequence[int],
        rows: int,
        columns: int,
        stage_tokens: Sequence[int] = (1,),
    ) -> StageViews:
        """Look at a pair with the answer that the model gave.

        Args:
            image: as the compact model takes it.
            token_ids: of its answer.
            rows, columns: of the grid of regions over the image.
            stage_tokens: after how many tokens there is a stage.
        """
        torch = self._torch
        inputs = self._inputs(image, prompt)
        asked = int(inputs["input_ids"].shape[1])
        answer = torch.tensor([list(token_ids)], dtype=torch.long, device=self._device)
        given = {**inputs, "input_ids": torch.cat([inputs["input_ids"], answer], dim=1)}
        for name in ("attention_mask", "mm_token_type_ids"):
            if name in given:
                fill = torch.full_like(answer, 1 if name == "attention_mask" else 0)
                given[name] = torch.cat([given[name], fill], dim=1)
        with torch.inference_mode():
            output = self._network(
                **given, output_hidden_states=True, output_attentions=True, use_cache=False
            )
        where = inputs["input_ids"][0] == self._network.config.image_token_id
        last = output.hidden_states[-1][0].double().cpu().numpy()
        seen = output.hidden_states[0][0, :asked][where].double().cpu().numpy()
        logits = output.logits[0].double().log_softmax(-1).cpu().numpy()
        features = {0: np.concatenate([seen.mean(0), seen.max(0), prompt_features(prompt)])}
        chosen = [float(logits[asked - 1 + step, token]) for step, token in enumerate(token_ids)]
        for stage in [*(k for k in stage_tokens if k <= max(1, len(token_ids))), END]:
            count = max(1, len(token_ids)) if stage == END else stage
            at = asked - 2 + count
            features[stage] = np.concatenate(
                [last[at], token_features(chosen[:count], *_choice(logits[at])), prompt_features(prompt)]
            )
        return StageViews(features, self._attention(output.attentions, where, asked, inputs, rows, columns))

    def _inputs(self, image: Image.Image, prompt: str) -> Any:
        content = [{"type": "image", "image": image.convert("RGB")}, {"type": "text", "text": prompt}]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return inputs.to(self._device, self._network.dtype)

    def _attention(
        self, attentions: Any, where: Any, asked: int, inputs: Any, rows: int, columns: int
    ) -> NDArray[np.float32]:
        """Attention from the prompt's tokens behind the image to each region, per layer and head."""
        after = int(where.nonzero()[-1]) + 1
        high, wide = self._token_grid(inputs, int(where.sum()))
        layers = []
        for layer in attentions:
            looked = layer[0, :, after:asked, :asked][:, :, where].mean(1).double().cpu().numpy()
            layers.append([scores_from_map(head.reshape(high, wide), rows, columns) for head in looked])
        return np.asarray(layers, dtype=np.float32)

    def _token_grid(self, inputs: Any, tokens: int) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        if "image_grid_thw" in inputs:
            merge = int(self._network.config.vision_config.spatial_merge_size)
            _, high, wide = (int(size) for size in inputs["image_grid_thw"][0])
            return high // merge, wide // merge
        side = round(tokens**0.5)
        if side * side != tokens:
            raise ValueError(f"{tokens} image tokens are no square: this model's grid is not known here")
        return side, side


def _choice(logprobs: NDArray[np.float64]) -> tuple[list[float], float]:
    """Two largest probabilities, and entropy in nats."""
    probabilities = np.exp(logprobs)
    top = np.sort(probabilities)[-2:][::-1].tolist()
    return top, float(-(probabilities * logprobs).sum())
