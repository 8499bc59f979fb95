"""Arguments with which transformers loads a model as described."""

from __future__ import annotations

from typing import Any

from nodes.contract.models.options import CPU, ModelOptions


def loading_arguments(options: ModelOptions) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for type, quantisation and attention.

    On a processor the type is float32 by default, since most compute 16-bit types more slowly.
    """
    import torch  # slow

    default: Any = torch.float32 if options.kind == CPU else "auto"
    arguments: dict[str, Any] = {"dtype": getattr(torch, options.dtype) if options.dtype else default}
    if options.attention_implementation is not None:
        arguments["attn_implementation"] = options.attention_implementation
    if options.quantisation is not None:
        from transformers import BitsAndBytesConfig  # slow

        configured: Any = BitsAndBytesConfig  # untyped in transformers
        computes = arguments["dtype"] if arguments["dtype"] != "auto" else torch.bfloat16
        arguments["quantization_config"] = (
            configured(load_in_8bit=True)
            if options.quantisation == "int8"
            else configured(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=computes)
        )
        arguments["device_map"] = {"": options.device}  # it cannot be moved afterwards
    return arguments
