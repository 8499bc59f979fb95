"""The shipped compact model as llama.cpp's files: one of the decoder, one of the vision tower."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.servers.usual_tower import Array, read_widened

SPECIAL_TOKENS = 8  # the first ones of the vocabulary
_PROJECTIONS = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    **{
        f"attn_{part}.{kind}": f"self_attn.{part}_proj.{kind}"
        for part in "qkv"
        for kind in ("weight", "bias")
    },
    **{f"ffn_{part}.weight": f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")},
}
_OF_BLOCK = {
    "ln1": "norm1",
    "ln2": "norm2",
    "attn_out": "attn.proj",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}


def write_gguf(model: Path, folder: Path, *, quantised: bool = False) -> tuple[Path, Path]:
    """Write a model's decoder and vision tower, and return the paths of both files.

    Args:
        model: Folder of the shipped compact model.
        folder: Where to write.
        quantised: Whether the matrices of the decoder have 8 bits (Q8_0) instead of 32.
    """
    import gguf  # fetched by the test

    config, weights = read_widened(model)
    decoder, tower = folder / "decoder.gguf", folder / "tower.gguf"
    writer = gguf.GGUFWriter(decoder, "qwen2vl")
    _describe_decoder(writer, config["text_config"])
    _add_tokenizer(writer, model)
    _write(writer, _decoder_tensors(weights, config["text_config"]["num_hidden_layers"]), quantised=quantised)
    writer = gguf.GGUFWriter(tower, "clip")
    _describe_tower(writer, config["vision_config"], model)
    _write(writer, _tower_tensors(weights, config["vision_config"]["depth"]))
    return decoder, tower


def _describe_decoder(writer: Any, text: dict[str, Any]) -> None:
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(text["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_sections([*text["rope_parameters"]["mrope_section"], 0])
    writer.add_vocab_size(text["vocab_size"])


def _add_tokenizer(writer: Any, model: Path) -> None:
    """Add the vocabulary as one of BERT, which splits text at the same signs; its words begin with U+2581."""
    import gguf  # fetched by the test

    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    special, words = tokens[:SPECIAL_TOKENS], tokens[SPECIAL_TOKENS:]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(special + [f"\u2581{word}" for word in words])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control] * len(special) + [normal] * len(words))
    writer.add_unk_token_id(vocabulary["<|unknown|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    for add in (writer.add_eos_token_id, writer.add_bos_token_id, writer.add_sep_token_id):
        add(vocabulary["<|im_end|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template((model / "chat_template.jinja").read_text())


def _decoder_tensors(weights: Mapping[str, Array], layers: int) -> dict[str, Array]:
    tensors = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    for layer in range(layers):
        for there, here in _PROJECTIONS.items():
            tensors[f"blk.{layer}.{there}"] = weights[f"model.layers.{layer}.{here}"]
    return tensors


def _describe_tower(writer: Any, vision: dict[str, Any], model: Path) -> None:
    images = json.loads((model / "processor_config.json").read_text())["image_processor"]
    writer.add_string("general.type", "mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "qwen2vl_merger")
    writer.add_bool("clip.use_gelu", True)
    for name, value in {
        "image_size": math.isqrt(images["size"]["longest_edge"]),
        "patch_size": vision["patch_size"],
        "embedding_length": vision["embed_dim"],
        "feed_forward_length": vision["embed_dim"] * vision["mlp_ratio"],
        "projection_dim": vision["hidden_size"],
        "block_count": vision["depth"],
        "attention.head_count": vision["num_heads"],
    }.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", images["image_mean"])
    writer.add_array("clip.vision.image_std", images["image_std"])


def _tower_tensors(weights: Mapping[str, Array], depth: int) -> dict[str, Array]:
    patches = weights["visual.patch_embed.proj.weight"][:, :, 0]
    # llama.cpp shows an image as a film of two equal pictures: the second one counts nothing.
    tensors = {"v.patch_embd.weight": patches, "v.patch_embd.weight.1": np.zeros_like(patches)}
    for kind in ("weight", "bias"):
        for layer in range(depth):
            here, there = f"visual.blocks.{layer}", f"v.blk.{layer}"
            for name, of in _OF_BLOCK.items():
                tensors[f"{there}.{name}.{kind}"] = weights[f"{here}.{of}.{kind}"]
            parts = np.split(weights[f"{here}.attn.qkv.{kind}"], 3)
            tensors |= {f"{there}.attn_{name}.{kind}": part for name, part in zip("qkv", parts, strict=True)}
        tensors[f"v.post_ln.{kind}"] = weights[f"visual.merger.ln_q.{kind}"]
        for layer_of_merger in ("0", "2"):
            tensors[f"mm.{layer_of_merger}.{kind}"] = weights[f"visual.merger.mlp.{layer_of_merger}.{kind}"]
    return tensors


def _write(writer: Any, tensors: Mapping[str, Array], *, quantised: bool = False) -> None:
    import gguf  # fetched by the test

    eight_bits = gguf.GGMLQuantizationType.Q8_0
    for name, array in tensors.items():
        if quantised and array.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(array, eight_bits), raw_dtype=eight_bits)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
