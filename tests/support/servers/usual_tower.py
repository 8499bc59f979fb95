"""The shipped compact model with a vision tower as llama.cpp and vLLM expect one.

Both let the positions of Qwen2-VL's patches turn at powers of 10,000, whatever the model says; the shipped
models were trained with powers of 100. The same function can be stated in their terms:

* Heads twice as wide have twice as many frequencies, and the first half of them are those of the shipped
  model. The other half turns zeros.
* Heads twice as wide need twice as many channels. Each channel is there twice, which leaves mean and
  variance, and so the layer norms, as they are; what reads channels reads the first half.

The regular model has no such form for llama.cpp, whose graph joins 2 x 2 patches; the model joins 4 x 4.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Array = NDArray[np.float32]
USUAL_THETA = 10_000.0
WIDER = 2


def read_widened(model: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the configuration and the weights of a model with a vision tower in this form."""
    config = json.loads((model / "config.json").read_text())
    weights = {
        name: array.astype(np.float32) for name, array in load_file(model / "model.safetensors").items()
    }
    vision = config["vision_config"]
    assert vision["rope_parameters"]["rope_theta"] ** WIDER == USUAL_THETA, "it has other frequencies"
    weights |= _tower(weights, vision)
    vision["embed_dim"] *= WIDER
    vision["mlp_ratio"] //= WIDER
    vision["rope_parameters"]["rope_theta"] = USUAL_THETA
    return config, weights


def write_widened(model: Path, folder: Path) -> Path:
    """Write a model with a vision tower in this form into a folder, and return it."""
    shutil.copytree(model, folder)
    config, weights = read_widened(model)
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    save_file(
        {name: np.ascontiguousarray(array) for name, array in weights.items()}, folder / "model.safetensors"
    )
    return folder


def _tower(weights: Mapping[str, Array], vision: dict[str, Any]) -> dict[str, Array]:
    heads, depth = vision["num_heads"], vision["depth"]
    tower = {"patch_embed.proj.weight": _twice(weights["visual.patch_embed.proj.weight"])}
    for block in (f"blocks.{layer}" for layer in range(depth)):
        part = {
            name.removeprefix(f"visual.{block}."): array
            for name, array in weights.items()
            if f".{block}." in name
        }
        for kind in ("weight", "bias"):
            for norm in ("norm1", "norm2"):
                tower[f"{block}.{norm}.{kind}"] = _twice(part[f"{norm}.{kind}"])
            query, key, value = (_wide_heads(rows, heads) for rows in np.split(part[f"attn.qkv.{kind}"], 3))
            # Products of queries and keys are divided by the root of the wider width.
            turned = np.concatenate([query * np.float32(math.sqrt(WIDER)), key, value])
            tower[f"{block}.attn.qkv.{kind}"] = _of_first(turned) if kind == "weight" else turned
        tower[f"{block}.attn.proj.weight"] = _twice(_wide_heads(part["attn.proj.weight"].T, heads).T)
        tower[f"{block}.attn.proj.bias"] = _twice(part["attn.proj.bias"])
        tower[f"{block}.mlp.fc1.weight"] = _of_first(part["mlp.fc1.weight"])
        tower[f"{block}.mlp.fc2.weight"] = _twice(part["mlp.fc2.weight"])
        tower[f"{block}.mlp.fc2.bias"] = _twice(part["mlp.fc2.bias"])
    for kind in ("weight", "bias"):
        tower[f"merger.ln_q.{kind}"] = _twice(weights[f"visual.merger.ln_q.{kind}"])
    patches = np.split(weights["visual.merger.mlp.0.weight"], vision["spatial_merge_size"] ** 2, axis=1)
    join = np.hstack([_of_first(patch) for patch in patches])
    # The layer between is as wide as what it joins: its other half stays at zero.
    tower["merger.mlp.0.weight"] = np.concatenate([join, np.zeros_like(join)])
    bias = weights["visual.merger.mlp.0.bias"]
    tower["merger.mlp.0.bias"] = np.concatenate([bias, np.zeros_like(bias)])
    tower["merger.mlp.2.weight"] = _of_first(weights["visual.merger.mlp.2.weight"])
    return {f"visual.{name}": array for name, array in tower.items()}


def _twice(array: Array) -> Array:
    """Return what writes each channel twice."""
    return np.concatenate([array] * WIDER)


def _of_first(array: Array) -> Array:
    """Return what reads the first of two equal halves of the channels."""
    return np.hstack([array, np.zeros_like(array)])


def _wide_heads(rows: Array, heads: int) -> Array:
    """Return the rows of heads twice as wide.

    A head has four equal parts, of which the first turns with the third by the row of a patch, and the second
    with the fourth by its column. Zeros follow each of them.
    """
    parts = rows.reshape(heads, 4, -1, *rows.shape[1:])
    return np.concatenate([parts, np.zeros_like(parts)], axis=2).reshape(-1, *rows.shape[1:])
