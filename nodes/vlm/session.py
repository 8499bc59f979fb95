"""One prompt in progress: its images are encoded first, then tokens are decoded in steps of any size."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nodes.vlm.answer import Answer, Timings
from nodes.vlm.loading.checks import check_attention_memory
from nodes.vlm.token_grid import Box, TokenGrid, token_grids

if TYPE_CHECKING:
    from nodes.vlm.protocol import PausableModel


class Session:
    """One answer in progress, made by `VisionLanguageModel.begin`; sessions of one model may be interleaved.

    Attributes:
        visual_features: float32[2 * dim], mean and then maximum of the projected image tokens over all
            images, as the language model reads them.
        tokens: Tokens of the answer so far, without the end-of-turn token.
        logprobs: Their log-probabilities.
        finished: Whether the model has ended its answer or reached `max_new_tokens`.
    """

    def __init__(
        self,
        model: PausableModel,
        inputs: Any,
        boxes: Sequence[Box],
        max_new_tokens: int,
        start_s: float,
    ) -> None:
        self._model, self._inputs, self._boxes = model, inputs, boxes
        self._network, self._base = model.network, model.network.base_model
        # The parameter was renamed within transformers 5.
        parameters = inspect.signature(self._network.forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        self._left = max_new_tokens
        self._cache: Any = None
        self._rope_deltas: Any = None
        self._encoded: Any = None  # output of the text encoder, if the family has one
        self._ids = inputs["input_ids"]
        self._hidden: list[NDArray[np.float32]] = []
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finished = max_new_tokens < 1
        self.prefill_s = self.decode_s = 0.0
        prepared_s = model.now_s()
        self.preprocess_s = prepared_s - start_s
        self._vision = self._encode_images()
        self.visual_features = _pooled(self._vision)
        self.vision_s = model.now_s() - prepared_s

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._cache = None
        self.finished = True

    @property
    def hidden_states(self) -> NDArray[np.float32]:
        """float32[k, dim]: the last layer's state (after its norm) from which each of `tokens` was chosen."""
        return np.stack(self._hidden) if self._hidden else np.zeros((0, 0), np.float32)

    def decode(self, max_tokens: int | None = None) -> None:
        """Decode further tokens; the first call also prefills.

        Args:
            max_tokens: Maximum number of further tokens; by default all that are left.
        """
        count = self._left if max_tokens is None else min(max_tokens, self._left)
        if self.finished or count < 1:
            return
        start_s = self._model.now_s()
        first = self._cache is None
        marks: list[float] = []
        states: list[Any] = []

        def record_state(_module: Any, arguments: tuple[Any, ...]) -> None:
            states.append(arguments[0][0, -1])
            marks.append(self._model.now_s())

        def keep_encoded(_module: Any, _arguments: Any, encoded: Any) -> None:
            self._encoded = encoded

        hooks = [self._network.get_output_embeddings().register_forward_pre_hook(record_state)]
        if self._network.config.is_encoder_decoder and first:
            hooks.append(self._network.get_encoder().register_forward_hook(keep_encoded))
        try:
            with self._image_features(), self._positions():
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
        """Return the answer as decoded so far; its `timings` exclude the pauses."""
        text = str(self._model.processor.decode(self.tokens, skip_special_tokens=True)).strip()
        timings = Timings(self.preprocess_s, self.vision_s, self.prefill_s, self.decode_s)
        peak = self._model.memory.peak()
        return Answer(text, tuple(self.tokens), tuple(self.logprobs), timings, peak)

    @property
    def grids(self) -> list[TokenGrid]:
        """Grids of the image tokens over the frame.

        Raises:
            ValueError: The family's layout of image tokens is unknown.
        """
        names = self._model.processor.tokenizer.convert_ids_to_tokens(self._inputs["input_ids"][0].tolist())
        vision = getattr(self._network.config, "vision_config", None)
        merge = int(getattr(vision, "spatial_merge_size", 1))
        return token_grids(self._inputs, names, self._image_tokens(), self._boxes, merge)

    def attention(self, *, all_keys: bool = False) -> NDArray[np.float32]:
        """Return the attention from the prompt's tokens after the last image to the image tokens.

        It costs one more prefill with eager attention, without the vision tower.

        Args:
            all_keys: Return the attention to all tokens of the prompt, so that each row sums to 1.

        Returns:
            float32[layers, heads, prompt tokens, image tokens].

        Raises:
            ValueError: The family is an encoder-decoder or defines no image token.
            ModelError: The attention does not fit into memory.
        """
        import torch  # already loaded

        if self._network.config.is_encoder_decoder:
            family = self._network.config.model_type
            raise ValueError(f"{family} has an encoder and a decoder: its attention cannot be mapped")
        where = self._image_tokens()
        self._check_room(len(where))
        after = int(np.flatnonzero(where)[-1]) + 1
        configured = self._network.config._attn_implementation
        self._network.set_attn_implementation("eager")
        try:
            with torch.inference_mode(), self._image_features(), self._positions():
                output = self._network(**self._inputs, output_attentions=True, use_cache=False)
        finally:
            self._network.set_attn_implementation(configured)
        attention = np.stack([layer[0, :, after:].float().cpu().numpy() for layer in output.attentions])
        return attention if all_keys else attention[..., where]

    def _check_room(self, tokens: int) -> None:
        text = self._network.config.get_text_config()
        layers, heads = int(text.num_hidden_layers), int(text.num_attention_heads)
        size_bytes = layers * heads * tokens**2 * self._network.dtype.itemsize
        check_attention_memory(str(self._network.device), tokens, size_bytes)

    def _image_tokens(self) -> NDArray[Any]:
        config = self._network.config
        token = getattr(config, "image_token_id", None)
        token = getattr(config, "image_token_index", None) if token is None else token
        if token is None:
            raise ValueError(f"{config.model_type} defines no image token: its attention cannot be mapped")
        where: NDArray[Any] = (self._inputs["input_ids"][0] == token).cpu().numpy()
        if not where.any():
            raise ValueError("there is no image token in the prompt: attention cannot be mapped")
        return where

    def _encode_images(self) -> Any:
        import torch  # already loaded

        parameters = set(inspect.signature(self._base.get_image_features).parameters) - {"input_ids"}
        arguments = {name: value for name, value in self._inputs.items() if name in parameters}
        with torch.no_grad():
            return self._base.get_image_features(**arguments, return_dict=True)

    @contextmanager
    def _image_features(self) -> Iterator[None]:
        """Make the network reuse the images' features instead of running its vision tower again."""
        features_of = self._base.get_image_features

        @wraps(features_of)  # generate inspects the signature
        def cached(*_: Any, **__: Any) -> Any:
            return self._vision

        before = vars(self._base).get("get_image_features")
        self._base.get_image_features = cached
        try:
            yield
        finally:
            del self._base.get_image_features
            if before is not None:
                self._base.get_image_features = before

    @contextmanager
    def _positions(self) -> Iterator[None]:
        """Restore this session's positions, which Qwen-VL keeps in the network between calls."""
        if not hasattr(self._base, "rope_deltas"):
            yield
            return
        self._base.rope_deltas = self._rope_deltas
        yield
        self._rope_deltas = self._base.rope_deltas

    def _generate(self, count: int) -> Any:
        from transformers import StoppingCriteria, StoppingCriteriaList  # slow

        class Enough(StoppingCriteria):
            """Stops after `count` tokens; `max_new_tokens` makes some families (Florence-2) force an end."""

            left = count

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                self.left -= 1
                return input_ids.new_full(input_ids.shape[:1], self.left <= 0, dtype=bool)

        arguments = self._resumed() if self._network.config.is_encoder_decoder else self._continued()
        return self._network.generate(
            **arguments,
            max_new_tokens=self._left,
            stopping_criteria=StoppingCriteriaList([Enough()]),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            output_logits=True,
            return_dict_in_generate=True,
        )

    def _resumed(self) -> dict[str, Any]:
        """Return the inputs of an encoder-decoder family; later calls reuse the encoder's output."""
        if self._cache is None:
            return dict(self._inputs)
        return {
            "encoder_outputs": self._encoded,
            "attention_mask": self._inputs["attention_mask"],
            "decoder_input_ids": self._ids,
            # As long as the tokens; otherwise transformers treats them all as new ones after the cache.
            "decoder_attention_mask": self._ids.new_ones(self._ids.shape),
            self._cache_name: self._cache,
        }

    def _continued(self) -> dict[str, Any]:
        """Return the inputs of a decoder: the prompt, the tokens so far, and their key-value cache."""
        import torch  # already loaded

        inputs = dict(self._inputs)
        added = self._ids.shape[1] - inputs["input_ids"].shape[1]
        inputs["input_ids"] = self._ids
        for name, fill in (("attention_mask", 1), ("mm_token_type_ids", 0)):
            if added and name in inputs:
                inputs[name] = torch.cat([inputs[name], inputs[name].new_full((1, added), fill)], dim=1)
        if self._cache is not None:
            inputs[self._cache_name] = self._cache
            inputs = {name: value for name, value in inputs.items() if not name.startswith("pixel")}
        return inputs

    def _keep(self, output: Any, states: Sequence[Any]) -> None:
        self._cache, self._ids = getattr(output, self._cache_name), output.sequences
        count = len(output.logits)
        self._left -= count
        for token, logits, state in zip(
            output.sequences[0, -count:].tolist(), output.logits, states, strict=True
        ):
            if token in self._model.end_tokens:
                self.finished = True
                break
            self.tokens.append(int(token))
            self.logprobs.append(float(logits[0].float().log_softmax(-1)[token]))
            self._hidden.append(state.detach().float().cpu().numpy())
        self.finished = self.finished or self._left < 1


def begin(
    model: PausableModel,
    images: Sequence[Any],
    prompt: str,
    boxes: Sequence[Box] | None,
    max_new_tokens: int,
) -> Session:
    """Preprocess a prompt and encode its images; see `VisionLanguageModel.begin`."""
    if not hasattr(model.network.base_model, "get_image_features"):
        raise ValueError(f"{model.network.config.model_type} cannot be paused: use answer()")
    if boxes is not None and len(boxes) != len(images):
        raise ValueError(f"{len(boxes)} boxes for {len(images)} images: pass one per image")
    model.memory.start()
    start_s = time.perf_counter()
    inputs = model.prepare(images, prompt, boxes)
    whole = [(0.0, 0.0, float(image.width), float(image.height)) for image in images]
    return Session(model, inputs, whole if boxes is None else boxes, max_new_tokens, start_s)


def _pooled(vision: Any) -> NDArray[np.float32]:
    """Return the mean and the maximum of the image tokens' features."""
    import torch  # already loaded

    features = getattr(vision, "pooler_output", vision)
    parts = list(features) if isinstance(features, list | tuple) else [features]
    tokens = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]).float()
    pooled: NDArray[np.float32] = torch.cat([tokens.mean(0), tokens.amax(0)]).cpu().numpy()
    return pooled
