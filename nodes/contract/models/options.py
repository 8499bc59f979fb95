"""How a model runs: the one description that runs, boards, evaluations, questions and profiles share.

Code in a model's folder is never run: there is no option for it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from nodes.contract.strict import Strict

MAX_NEW_TOKENS = 8  # of an answer, unless configured
CPU = "cpu"


class ModelOptions(Strict):
    """How a model runs.

    Args:
        device: torch device, e.g. cpu, cuda or cuda:0.
        dtype: type of the weights; None: float32 on a processor, elsewhere the type in which they were saved.
        quantisation: reduce the weights of linear layers while loading, with the package bitsandbytes.
        attention_implementation: None: the one that transformers chooses for the model.
        min_pixels: images of fewer pixels are enlarged to this many before the model sees them.
        max_pixels: images of more pixels are reduced to this many before the model sees them.
        model_threads: threads of the processor for inference; None: torch's own choice.
        max_new_tokens: longest answer, in tokens.
        revision: branch, tag or commit of a model that comes from a hub.
    """

    device: str = Field(default=CPU, pattern=r"^[a-z]+(:[0-9]{1,3})?$")
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    quantisation: Literal["int8", "nf4"] | None = None
    attention_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=28 * 28)
    model_threads: int | None = Field(default=None, ge=1, le=1024)
    max_new_tokens: int = Field(default=MAX_NEW_TOKENS, ge=1, le=4096)
    revision: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")

    @model_validator(mode="after")
    def _least_below_most(self) -> ModelOptions:
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels ({self.min_pixels}) is above max_pixels ({self.max_pixels})")
        return self

    @property
    def kind(self) -> str:
        """Kind of device: cuda for cuda:1."""
        return self.device.partition(":")[0]

    @property
    def answer_key(self) -> str:
        """What answers depend on, without the length of an answer; empty for the defaults.

        Which device of a kind computes, and in how many threads, is not among it.
        """
        given: dict[str, Any] = {name: getattr(self, name) for name in CHANGING_ANSWERS} | {
            "device": self.kind
        }
        default = {name: ModelOptions.model_fields[name].default for name in CHANGING_ANSWERS}
        if self.kind == CPU and self.stated_dtype == "float32":
            given["dtype"] = None  # as without it
        changed = {name: value for name, value in given.items() if value != default[name]}
        return " ".join(f"{name}={value}" for name, value in sorted(changed.items()))

    @property
    def loading(self) -> ModelOptions:
        """The same, with the length of an answer as by default: models that differ in it alone are one."""
        return self.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})

    @property
    def stated_dtype(self) -> str | None:
        """Type of the weights, as far as the options tell it; None for as saved."""
        return self.dtype or ("float32" if self.kind == CPU else None)


CHANGING_ANSWERS = (
    "device",
    "dtype",
    "quantisation",
    "attention_implementation",
    "min_pixels",
    "max_pixels",
    "revision",
)
"""The fields that change a model's answers, beside `max_new_tokens`."""


def options_in(described: ModelOptions) -> ModelOptions:
    """Return the options alone of a description that has further fields."""
    return ModelOptions(**{name: getattr(described, name) for name in ModelOptions.model_fields})
