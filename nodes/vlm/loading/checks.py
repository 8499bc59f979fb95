"""Checks whether a model can run as described, before it is loaded.

Only a device other than the processor needs torch, which takes seconds to import.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nodes.contract.models.memory import available_memory_bytes
from nodes.contract.models.options import CPU, ModelOptions
from nodes.contract.models.weights import weight_bytes, weights_of
from nodes.errors import ModelError

BESIDE_WEIGHTS_BYTES = 160_000_000  # of a process with a small model: torch, transformers, an image
AT_SERVER = ("dtype", "quantisation", "attention_implementation", "revision")


def check_options(model: str | Path, options: ModelOptions) -> None:
    """Check that this machine has the device, and that the device has the type.

    Args:
        model: Folder or hub name.
        options: How the model shall run.

    Raises:
        ModelError: It cannot run so; the text says why, and what to do instead.
    """
    if options.quantisation is not None:
        for package in ("bitsandbytes", "accelerate"):
            if find_spec(package) is None:
                raise ModelError(
                    f"quantisation {options.quantisation} needs the package {package}: pip install "
                    f"{package}, or leave quantisation unset"
                )
    if options.attention_implementation == "flash_attention_2":
        if options.kind == CPU:
            raise ModelError(
                "attention_implementation flash_attention_2 needs device cuda: use sdpa on a processor"
            )
        if find_spec("flash_attn") is None:
            raise ModelError(
                "attention_implementation flash_attention_2 needs the package flash-attn: "
                "install it, or use sdpa"
            )
    if options.kind != CPU:
        _check_accelerator(options)


def check_server_options(server: str, options: ModelOptions) -> None:
    """Check that no option is set that a server determines.

    Raises:
        ModelError: One is.
    """
    set_here = [name for name in AT_SERVER if getattr(options, name) is not None]
    set_here += ["device"] * (options.device != CPU)
    if set_here:
        raise ModelError(f"{set_here[0]} has no effect on {server}; set it where the server is started")


def check_memory(model: str | Path, options: ModelOptions) -> None:
    """Check that the weights fit into the memory that is free now.

    Raises:
        ModelError: They do not.
    """
    weights = weights_of(Path(model))
    if not weights:
        return  # of a hub, or pickled: its size is unknown
    needed_bytes = round(weights * weight_bytes(options))
    free_bytes = _free_bytes(options)
    on_cpu = BESIDE_WEIGHTS_BYTES if options.kind == CPU else 0
    if free_bytes is not None and needed_bytes + on_cpu > free_bytes:
        raise ModelError(
            f"{model} has {weights / 1e9:.2f} billion weights, which take {needed_bytes / 1e9:.1f} GB as "
            f"{_type_of(options)}, and {free_bytes / 1e9:.1f} GB are free on {options.device}: "
            f"{_instead(options)}"
        )


def check_attention_memory(device: str, tokens: int, size_bytes: int) -> None:
    """Check that the attention between all tokens of a prompt fits into the memory that is free now.

    Args:
        device: Torch device.
        tokens: Number of tokens of the prompt, nearly all of its images.
        size_bytes: Size of the attention of all layers and heads.

    Raises:
        ModelError: It does not.
    """
    free_bytes = _free_bytes(ModelOptions(device=device))
    if free_bytes is not None and size_bytes > free_bytes:
        fits = int(tokens * math.sqrt(free_bytes / size_bytes))
        raise ModelError(
            f"the attention between {tokens} tokens takes {size_bytes / 1e9:.1f} GB, and "
            f"{free_bytes / 1e9:.1f} GB are free on {device}: set max_pixels so that an image has less than "
            f"{fits} tokens"
        )


def _check_accelerator(options: ModelOptions) -> None:
    try:
        import torch  # slow
    except ImportError as error:
        raise ModelError(f"{error}; install the packages of a node: pip install '.[node]'") from error
    module: Any = getattr(torch, options.kind, None)
    if module is None or not hasattr(module, "is_available"):
        raise ModelError(f"torch knows no device {options.device}: use cpu, or cuda with an NVIDIA GPU")
    if not module.is_available():
        build = torch.version.cuda
        why = (
            f"this torch ({torch.__version__}) was built without CUDA"
            if options.kind == "cuda" and build is None
            else f"torch finds no {options.kind} device on this machine"
        )
        raise ModelError(f"device {options.device}: {why}; use cpu, or a machine and a torch that have it")
    number, count = int(options.device.partition(":")[2] or 0), int(module.device_count())
    if number >= count:
        raise ModelError(
            f"device {options.device}: this machine has {count}, counted from 0; use {options.kind}:0"
        )
    if options.dtype == "bfloat16" and options.kind == "cuda":
        with torch.cuda.device(number):
            supported = torch.cuda.is_bf16_supported(including_emulation=False)
        if not supported:
            name = torch.cuda.get_device_name(number)
            raise ModelError(f"{name} does not support bfloat16: use dtype float16, or float32")


def _free_bytes(options: ModelOptions) -> int | None:
    if options.kind == CPU:
        return available_memory_bytes()
    import torch  # slow

    if options.kind != "cuda":
        return None
    return int(torch.cuda.mem_get_info(torch.device(options.device))[0])


def _type_of(options: ModelOptions) -> str:
    return options.quantisation or options.dtype or ("float32" if options.kind == CPU else "16 bits")


def _instead(options: ModelOptions) -> str:
    if options.quantisation == "nf4":
        return "use a smaller model, or more memory"
    if options.quantisation == "int8":
        return "use quantisation nf4, or a smaller model"
    if options.dtype in ("bfloat16", "float16") or options.kind != CPU:
        return "use quantisation int8, or a smaller model"
    return "use dtype bfloat16, which halves it, or a smaller model"
