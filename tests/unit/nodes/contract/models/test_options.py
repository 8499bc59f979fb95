"""How a model runs is said once, is checked, and tells what answers depend on."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.contract.config import GroundConfig, ModelRun, read_config
from nodes.contract.models.command_line import add_model_options, command_line_of, model_options_of
from nodes.contract.models.options import ModelOptions
from nodes.contract.models.weights import weight_bytes


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"device": "CUDA"}, "device"),
        ({"device": "cuda:x"}, "device"),
        ({"dtype": "int8"}, "dtype"),
        ({"max_pixels": 10}, "max_pixels"),
        ({"min_pixels": 5000, "max_pixels": 4000}, "min_pixels .5000. is above max_pixels"),
        ({"revision": "--upload-pack=x"}, "revision"),
        ({"trust_remote_code": True}, "trust_remote_code"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ModelOptions(**given)


def test_answers_depend_on_what_changes_them_and_on_nothing_else() -> None:
    assert ModelOptions(model_threads=7, max_new_tokens=3).answer_key == ""
    assert ModelOptions(dtype="float32").answer_key == "", "it is the default on a processor"
    different: list[dict[str, Any]] = [
        {"device": "cuda"}, {"device": "cuda", "dtype": "float32"}, {"dtype": "bfloat16"},
        {"dtype": "float16"}, {"quantisation": "int8"}, {"quantisation": "nf4"},
        {"attention_implementation": "eager"},
        {"min_pixels": 9000}, {"max_pixels": 9000}, {"revision": "v2"},
    ]  # fmt: skip
    keys = [ModelOptions(**given).answer_key for given in different]
    assert len({"", *keys}) == len(different) + 1
    assert ModelOptions(device="cuda:1").answer_key == ModelOptions(device="cuda").answer_key


def test_a_node_s_model_has_its_options_in_one_place(tmp_path: Any) -> None:
    run = ModelRun(model="m", device="cuda", dtype="bfloat16", model_threads=2)
    assert run.options == ModelOptions(device="cuda", dtype="bfloat16", model_threads=2)
    old = tmp_path / "ground.json"
    old.write_text(
        '{"name": "G", "model": "m", "model_threads": 3, "management": {"host": "h"}, '
        '"broker": {"host": "h"}, "inbox": "i"}'
    )
    assert read_config(GroundConfig, old).options == ModelOptions(model_threads=3)


def test_command_lines_have_an_option_for_each_field() -> None:
    parser = argparse.ArgumentParser()
    add_model_options(parser, tokens=32)
    assert model_options_of(parser.parse_args([])) == ModelOptions(max_new_tokens=32)
    given = (
        "--device cuda:1 --dtype float16 --quantisation nf4 --attention-implementation sdpa "
        "--min-pixels 1000 --max-pixels 2000 --threads 3 --tokens 4 --revision main"
    )
    made = model_options_of(parser.parse_args(given.split()))
    assert all(getattr(made, name) != field.default for name, field in ModelOptions.model_fields.items())
    assert model_options_of(parser.parse_args(command_line_of(made))) == made
    with pytest.raises(ValueError, match=r"^--threads: .*greater than or equal to 1"):
        model_options_of(parser.parse_args(["--threads", "0"]))


def test_weights_take_what_their_type_takes() -> None:
    kinds: list[dict[str, Any]] = [{}, {"dtype": "bfloat16"}, {"device": "cuda"}, {"quantisation": "int8"}]
    assert [weight_bytes(ModelOptions(**kind)) for kind in kinds] == [4, 2, 2, 1]
