"""A model that cannot run as described is refused before it is loaded, with the reason and an alternative."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from PIL import Image

from nodes.contract.config import ConfigError, GroundConfig
from nodes.contract.models.options import ModelOptions
from nodes.errors import ModelError
from nodes.models import COMPACT, REGULAR
from nodes.runtime.program import check_model
from nodes.vlm.loading import checks
from nodes.vlm.loading.checks import check_memory, check_options, check_server_options
from nodes.vlm.model import load_model


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA: nothing to refuse")
def test_a_device_that_is_not_there_is_refused_before_anything_is_built(tmp_path: Any) -> None:
    config = GroundConfig.model_validate(
        {"name": "G", "model": str(COMPACT), "device": "cuda", "management": {"host": "h"},
         "broker": {"host": "h"}, "inbox": tmp_path}
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"g.json: model: device cuda: .*; use cpu, or") as refused:
        check_model(config, tmp_path / "g.json")
    assert "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="device cuda:3: "):
        load_model(COMPACT, device="cuda:3")
    with pytest.raises(ModelError, match="torch knows no device abacus: use cpu"):
        load_model(COMPACT, device="abacus")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"quantisation": "int8"}, "needs the package .*: pip install"),
        ({"attention_implementation": "flash_attention_2"}, "needs device cuda: use sdpa"),
    ],
)
def test_what_a_processor_or_this_installation_lacks_is_said(
    options: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=expected):
        check_options(COMPACT, ModelOptions(**options))


def test_a_processor_is_checked_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    check_options(COMPACT, ModelOptions(dtype="bfloat16"))
    check_memory(COMPACT, ModelOptions())


def test_too_little_memory_is_said_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    free = checks.BESIDE_WEIGHTS_BYTES + 5_000_000
    monkeypatch.setattr(checks, "available_memory_bytes", lambda: free)
    with pytest.raises(ModelError, match=r"0\.0 GB as float32, and 0\.2 GB are free on cpu: use dtype bf"):
        load_model(REGULAR, ModelOptions())
    check_memory(REGULAR, ModelOptions(dtype="bfloat16"))
    monkeypatch.setattr(checks, "available_memory_bytes", lambda: None)
    check_memory(REGULAR, ModelOptions())


def test_attention_that_does_not_fit_is_refused_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with load_model(COMPACT, threads=1).begin(Image.new("RGB", (224, 224)), "?") as session:
        assert session.attention().size
        monkeypatch.setattr(checks, "available_memory_bytes", lambda: 10_000)
        with pytest.raises(ModelError, match=r"free on cpu: set max_pixels so that an image has less"):
            session.attention()


@pytest.mark.parametrize(
    "options", [{"device": "cuda"}, {"dtype": "bfloat16"}, {"quantisation": "int8"}, {"revision": "v1"}]
)
def test_a_server_determines_its_own_options(options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=f"^{next(iter(options))} has no effect on openai:"):
        check_server_options("openai:http://h/v1", ModelOptions(**options))
    check_server_options("openai:http://h/v1", ModelOptions(model_threads=4, max_pixels=10_000))
