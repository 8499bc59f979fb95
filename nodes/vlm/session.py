"""One prompt under way: vision first, then tokens as many as asked for, paused and resumed at will."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nodes.vlm.token_grid import Box, TokenGrid, token_grids

if TYPE_CHECKING:
    from nodes.vlm.model import Answer, VisionLanguageModel


class Session:
    """Made by `VisionLanguageModel.begin`; several sessions of one model may take turns.

    Attributes:
        visual_features: float32[2 * dim], mean then maximum of the projected image tokens over all images,
            as the language model will read them.
        tokens, logprobs: the answer so far, without the token that ends it.
        finished: the model ended its answer, or `max_new_tokens` are out.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        inputs: Any,
        boxes: Sequence[Box],
        max_new_tokens: int,
        start_s: float,
    ) -> None:
        self._model, self._inputs, self._boxes = model, inputs, boxes
        self._network, self._base = model.network, model.network.base_model
        # Its name changed within transformers 5.
        taken = inspect.signature(self._network.forward).parameters
        self._cache_name = "cache" if "cache" in taken else "past_key_values"
        self._left = max_new_tokens
        self._cache: Any = None
        self._rope_deltas: Any = None
        self._encoded: Any = None  # what the text encoder made, for families that have one
        self._ids = inputs["input_ids"]
        self._hidden: list[NDArray[np.float32]] = []
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finished = max_new_tokens < 1
        self.prefill_s = self.decode_s = 0.0
        prepared_s = model.now_s()
        self.preprocess_s = prepared_s - start_s
        self._vision = self._see()
        self.visual_features = _pooled(self._vision)
        self.vision_s = model.now_s() - prepared_s

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._cache = None
        self.finished = True

    @property
    def hidden_states(self) -> NDArray[np.float32]:
        """float32[k, dim]: what the last layer held (after its norm) when each of `tokens` was chosen."""
        return np.stack(self._hidden) if self._hidden else np.zeros((0, 0), np.float32)

    def decode(self, most_tokens: int | None = None) -> None:
        """Decode up to `most_tokens` further tokens (default: all); the first call also prefills."""
        count = self._left if most_tokens is None else min(most_tokens, self._left)
        if self.finished or count < 1:
            return
        start_s = self._model.now_s()
        first = self._cache is None
        marks: list[float] = []
        states: list[Any] = []

        def take(_module: Any, given: tuple[Any, ...]) -> None:
            states.append(given[0][0, -1])
            marks.append(self._model.now_s())

        def keep(_module: Any, _given: Any, encoded: Any) -> None:
            self._encoded = encoded

        hooks = [self._network.get_output_embeddings().register_forward_pre_hook(take)]
        if self._network.config.is_encoder_decoder and first:
            hooks.append(self._network.get_encoder().register_forward_hook(keep))
        try:
            with self._seen(), self._positions():
                output = self._generate(count)
        finally:
            for hook in hooks:
                hook.remove()
        end_s = self._model.now_s()
        prefill_s = marks[0] - start_s if first else 0.0
        self.prefill_s += prefill_s
        self.decode_s += end_s - start_s - prefill_s
        self._keep(output, states)

    def answer(self) -> Answer:
        """Give the answer as decoded so far; `timings` hold the work done, without the pauses."""
        from nodes.vlm.model import Answer, Timings  # it imports this module

        text = str(self._model.processor.decode(self.tokens, skip_special_tokens=True)).strip()
        timings = Timings(self.preprocess_s, self.vision_s, self.prefill_s, self.decode_s)
        peak = self._model.memory.peak()
        return Answer(text, tuple(self.tokens), tuple(self.logprobs), timings, peak)

    @property
    def grids(self) -> list[TokenGrid]:
        """Where each image token looks. Raises ValueError for a family whose layout is not known."""
        names = self._model.processor.tokenizer.convert_ids_to_tokens(self._inputs["input_ids"][0].tolist())
        vision = getattr(self._network.config, "vision_config", None)
        merge = int(getattr(vision, "spatial_merge_size", 1))
        return token_grids(self._inputs, names, self._image_tokens(), self._boxes, merge)

    def attention(self, *, all_keys: bool = False) -> NDArray[np.float32]:
        """Attention from the prompt's tokens behind the last image to the image tokens.

        Returns float32[layers, heads, prompt tokens, image tokens]; with `all_keys`, to all tokens of the
        prompt, so that each row sums to 1. One more prefill with plain attention, without the vision tower.
        Raises ValueError for encoder-decoder families and for those that name no image token.
        """
        import torch  # loaded long since

        if self._network.config.is_encoder_decoder:
            family = self._network.config.model_type
            raise ValueError(f"{family} has an encoder and a decoder: where its prompt looks is not known")
        where = self._image_tokens()
        after = int(np.flatnonzero(where)[-1]) + 1
        chosen = self._network.config._attn_implementation
        self._network.set_attn_implementation("eager")
        try:
            with torch.inference_mode(), self._seen(), self._positions():
                output = self._network(**self._inputs, output_attentions=True, use_cache=False)
        finally:
            self._network.set_attn_implementation(chosen)
        looked = np.stack([layer[0, :, after:].float().cpu().numpy() for layer in output.attentions])
        return looked if all_keys else looked[..., where]

    def _image_tokens(self) -> NDArray[Any]:
        config = self._network.config
        token = getattr(config, "image_token_id", None)
        token = getattr(config, "image_token_index", None) if token is None else token
        if token is None:
            raise ValueError(f"{config.model_type} names no image token: its attention cannot be mapped")
        where: NDArray[Any] = (self._inputs["input_ids"][0] == token).cpu().numpy()
        if not where.any():
            raise ValueError("there is no image token in the prompt: attention cannot be mapped")
        return where

    def _see(self) -> Any:
        import torch  # loaded long since

        taken = inspect.signature(self._base.get_image_features).parameters
        given = {name: value for name, value in self._inputs.items() if name in taken and name != "input_ids"}
        with torch.no_grad():
            return self._base.get_image_features(**given, return_dict=True)

    @contextmanager
    def _seen(self) -> Iterator[None]:
        """Let the network find the images already seen."""
        seeing = self._base.get_image_features

        @wraps(seeing)  # generate looks at the signature
        def seen(*_: Any, **__: Any) -> Any:
            return self._vision

        before = vars(self._base).get("get_image_features")
        self._base.get_image_features = seen
        try:
            yield
        finally:
            del self._base.get_image_features
            if before is not None:
                self._base.get_image_features = before

    @contextmanager
    def _positions(self) -> Iterator[None]:
        """Keep this session's positions: Qwen-VL leaves them in the network between calls."""
        if not hasattr(self._base, "rope_deltas"):
            yield
            return
        self._base.rope_deltas = self._rope_deltas
        yield
        self._rope_deltas = self._base.rope_deltas

    def _generate(self, count: int) -> Any:
        from transformers import StoppingCriteria, StoppingCriteriaList  # slow

        class Enough(StoppingCriteria):
            """Not by `max_new_tokens`: some families (Florence-2) force the last of them to be the end."""

            left = count

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                self.left -= 1
                return input_ids.new_full(input_ids.shape[:1], self.left <= 0, dtype=bool)

        given = self._resumed() if self._network.config.is_encoder_decoder else self._continued()
        return self._network.generate(
            **given,
            max_new_tokens=self._left,
            stopping_criteria=StoppingCriteriaList([Enough()]),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            output_logits=True,
            return_dict_in_generate=True,
        )

    def _resumed(self) -> dict[str, Any]:
        """Inputs of an encoder-decoder family: after the first call the encoder's work is given."""
        if self._cache is None:
            return dict(self._inputs)
        return {
            "encoder_outputs": self._encoded,
            "attention_mask": self._inputs["attention_mask"],
            "decoder_input_ids": self._ids,
            # As long as the tokens: else transformers takes them all for new ones, behind the cache.
            "decoder_attention_mask": self._ids.new_ones(self._ids.shape),
            self._cache_name: self._cache,
        }

    def _continued(self) -> dict[str, Any]:
        """Inputs of a decoder: the prompt, the tokens so far, and what was computed for them."""
        import torch  # loaded long since

        given = dict(self._inputs)
        more = self._ids.shape[1] - given["input_ids"].shape[1]
        given["input_ids"] = self._ids
        for name, fill in (("attention_mask", 1), ("mm_token_type_ids", 0)):
            if more and name in given:
                given[name] = torch.cat([given[name], given[name].new_full((1, more), fill)], dim=1)
        if self._cache is not None:
            given[self._cache_name] = self._cache
            given = {name: value for name, value in given.items() if not name.startswith("pixel")}
        return given

    def _keep(self, output: Any, states: Sequence[Any]) -> None:
        self._cache, self._ids = getattr(output, self._cache_name), output.sequences
        made = len(output.logits)
        self._left -= made
        for token, logits, state in zip(
            output.sequences[0, -made:].tolist(), output.logits, states, strict=True
        ):
            if token in self._model.ends:
                self.finished = True
                break
            self.tokens.append(int(token))
            self.logprobs.append(float(logits[0].float().log_softmax(-1)[token]))
            self._hidden.append(state.detach().float().cpu().numpy())
        self.finished = self.finished or self._left < 1


def begin(
    model: VisionLanguageModel, images: Sequence[Any], prompt: str, boxes: Sequence[Box] | None, most: int
) -> Session:
    """Preprocess and see; see `VisionLanguageModel.begin`."""
    if not hasattr(model.network.base_model, "get_image_features"):
        raise ValueError(f"{model.network.config.model_type} cannot be paused: use answer()")
    if boxes is not None and len(boxes) != len(images):
        raise ValueError(f"{len(boxes)} boxes for {len(images)} images: give one each")
    model.memory.start()
    start_s = time.perf_counter()
    inputs = model.prepare(images, prompt)
    whole = [(0.0, 0.0, float(image.width), float(image.height)) for image in images]
    return Session(model, inputs, whole if boxes is None else boxes, most, start_s)


def _pooled(vision: Any) -> NDArray[np.float32]:
    import torch  # loaded long since

    seen = getattr(vision, "pooler_output", vision)
    parts = list(seen) if isinstance(seen, list | tuple) else [seen]
    tokens = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]).float()
    pooled: NDArray[np.float32] = torch.cat([tokens.mean(0), tokens.amax(0)]).cpu().numpy()
    return pooled
