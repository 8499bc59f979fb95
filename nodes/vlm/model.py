"""Answers prompts about images with any vision-language model that transformers loads, and says where time
went.

    model = load_model("nodes/models/compact")          a folder, or a hub name such as owner/model
    answer = model.answer(image, "Are there ships on the water?")
    answer.text, answer.confidence, answer.timings.total_s

torch and transformers take seconds to import: this module imports them when a model is loaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.vlm.chunked_vision import look_few_at_once
from nodes.vlm.folder import ModelError, check_model_folder, is_hub_name
from nodes.vlm.peak_memory import MemoryWatch, PeakMemory
from nodes.vlm.views import Views, read_views, shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.session import Session
    from nodes.vlm.token_grid import Box

__all__ = ["Answer", "ModelError", "PeakMemory", "Timings", "VisionLanguageModel", "load_model"]

WARM_UP_SIDE_PX = 224


@dataclass(frozen=True)
class Timings:
    """Where the seconds of one answer went; the four parts follow each other and sum to `total_s`.

    preprocess_s: image to patches, prompt to tokens, copy to the device.
    vision_s: the vision tower; 0 for a family that has none apart, whose vision is then part of prefill_s.
    prefill_s: the rest up to the first token: projection, the language model over image and prompt.
    decode_s: all further tokens, and tokens to text.
    """

    preprocess_s: float
    vision_s: float
    prefill_s: float
    decode_s: float

    @property
    def total_s(self) -> float:
        """From the call to its return."""
        return self.preprocess_s + self.vision_s + self.prefill_s + self.decode_s


@dataclass(frozen=True)
class Answer:
    """A model's answer: text, its tokens without the one that ends the turn, and their log-probabilities."""

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    timings: Timings
    peak_memory: PeakMemory | None = None

    @property
    def confidence(self) -> float:
        """Geometric mean of the tokens' probabilities, 0 to 1; 0 for an empty answer."""
        if not self.token_logprobs:
            return 0.0
        return math.exp(sum(self.token_logprobs) / len(self.token_logprobs))


def load_model(
    name_or_folder: str | Path, *, device: str = "cpu", dtype: str | None = None, threads: int | None = None
) -> VisionLanguageModel:
    """Load a vision-language model.

    Args:
        name_or_folder: a folder written by `save_pretrained`, or a hub name.
        device: as torch names it ("cpu", "cuda", "cuda:1").
        dtype: "float32", "bfloat16", ...; default: as saved, but float32 on a CPU, where halves are slower.
        threads: torch threads for the whole process; default: as torch chooses.

    Raises ModelError (one line) when it cannot be loaded.
    """
    check_model_folder(name_or_folder)
    source = str(name_or_folder)
    try:
        views = read_views(source)
    except ValueError as error:
        raise ModelError(str(error)) from error
    import torch  # slow
    import transformers  # slow

    from nodes.vlm.processor import load_processor  # imports transformers

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = getattr(torch, dtype) if dtype else (torch.float32 if device == "cpu" else "auto")
    automatic: Any = transformers  # its classes are typed in part only
    automatic.utils.logging.disable_progress_bar()
    try:
        processor = load_processor(source)
        network = automatic.AutoModelForImageTextToText.from_pretrained(source, dtype=chosen)
        network = network.to(device).eval()
    except Exception as error:  # transformers raises many kinds for one mistake: this is no model to use
        place = f"{source} is no folder here and the hub did not give it" if is_hub_name(source) else source
        raise ModelError(f"cannot load a vision-language model from {place}: {first_line(error)}") from error
    return VisionLanguageModel(network, processor, device, views)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class VisionLanguageModel:
    """A loaded model and its processor; one call at a time. Greedy, so equal inputs have equal answers.

    Args:
        views: how one frame is shown to it; None: as it is.
    """

    def __init__(self, network: Any, processor: Any, device: str = "cpu", views: Views | None = None) -> None:
        self.views = views
        self._network = network
        self._processor = processor
        self._device = device
        for sampling in ("temperature", "top_p", "top_k", "min_p"):
            setattr(
                network.generation_config, sampling, None
            )  # or each greedy answer warns that it is unused
        ends = network.generation_config.eos_token_id
        self._ends = {int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None}
        self._stopwatch = _Stopwatch(device)
        self._memory = MemoryWatch(device)
        tower = network.get_encoder(modality="image")
        # Families without a tower answer with a module that also holds the language model.
        self.has_vision_tower = tower not in (network, network.base_model, network.get_decoder())
        if device == "cpu":
            look_few_at_once(network.base_model)
        if self.has_vision_tower:
            tower.register_forward_pre_hook(self._stopwatch.vision_starts)
            tower.register_forward_hook(self._stopwatch.vision_ends)

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self._network

    @property
    def processor(self) -> Any:
        """The transformers processor."""
        return self._processor

    @property
    def ends(self) -> set[int]:
        """The tokens that end an answer."""
        return self._ends

    @property
    def memory(self) -> MemoryWatch:
        """Counts the device's memory."""
        return self._memory

    def now_s(self) -> float:
        """Monotonic time at which the device has done all it was given, seconds."""
        return self._stopwatch.now_s()

    def warm_up(self) -> float:
        """Answer once about a grey picture; returns the seconds that it took.

        What happens once (kernels chosen or compiled, memory taken) is then in no answer's times. Raises
        ModelError for a model that cannot answer at all.
        """
        from PIL import Image  # not for --help

        grey = Image.new("RGB", (WARM_UP_SIDE_PX, WARM_UP_SIDE_PX), (128, 128, 128))
        try:
            return self.answer(grey, "What is this?", max_new_tokens=2).timings.total_s
        except Exception as error:  # whatever somebody's model does
            raise ModelError(f"the model loads but cannot answer: {first_line(error)}") from error

    def prepare(self, images: Image | Sequence[Image], prompt: str) -> Any:
        """Make the network's inputs, on its device."""
        return self._prepare(images, prompt)

    def begin(
        self,
        images: Image | Sequence[Image],
        prompt: str,
        *,
        boxes: Sequence[Box] | None = None,
        max_new_tokens: int = 32,
    ) -> Session:
        """Preprocess a prompt and look at its images; nothing is decoded yet.

        Args:
            images: a frame, which is shown as the model's `views` say; or a sequence of images, of any
                scales, which are shown as they are.
            prompt: the question.
            boxes: where each image lies in the frame (left, top, right, bottom), frame pixels; by default
                each image is a whole frame in its own pixels.
            max_new_tokens: at most so many in all.

        Raises ValueError for families whose vision cannot be run apart (no `get_image_features`).
        """
        from nodes.vlm.session import begin  # numpy

        if isinstance(images, Sequence):
            return begin(self, list(images), prompt, boxes, max_new_tokens)
        several, found = shown(images, self.views)
        return begin(self, list(several), prompt, boxes or found, max_new_tokens)

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(weight.numel() for weight in self._network.parameters())

    def answer(self, images: Image | Sequence[Image], prompt: str, *, max_new_tokens: int = 32) -> Answer:
        """Answer a prompt about a frame or several images, decoding greedily up to `max_new_tokens` tokens.

        `images` as for `begin`.

        Raises ValueError for several images and a family that takes one per prompt.
        """
        from transformers import StoppingCriteria, StoppingCriteriaList  # slow

        watch = self._stopwatch

        class AfterToken(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                watch.token_is_out()
                return input_ids.new_zeros(input_ids.shape[0], dtype=bool)

        self._memory.start()
        watch.start()
        inputs = self._prepare(images, prompt)
        watch.preprocessing_ends()
        output = self._network.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            output_logits=True,
            return_dict_in_generate=True,
            stopping_criteria=StoppingCriteriaList([AfterToken()]),
        )
        token_ids, token_logprobs = self._tokens(output, inputs["input_ids"].shape[1])
        text = str(self._processor.decode(token_ids, skip_special_tokens=True)).strip()
        return Answer(text, token_ids, token_logprobs, watch.stop(), self._memory.peak())

    def _prepare(self, images: Image | Sequence[Image], prompt: str) -> Any:
        several = images if isinstance(images, Sequence) else shown(images, self.views)[0]
        pictures = [image.convert("RGB") for image in several]
        if getattr(self._processor, "chat_template", None) is None:
            inputs = self._prepare_without_chat(pictures, prompt)
        else:
            inputs = self._prepare_chat(pictures, prompt)
        return inputs.to(self._device, self._network.dtype)

    def _prepare_chat(self, pictures: Sequence[Image], prompt: str) -> Any:
        content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
        content.append({"type": "text", "text": prompt})
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _prepare_without_chat(self, pictures: Sequence[Image], prompt: str) -> Any:
        """Families of before chats (Florence-2, BLIP): their processor puts one picture before the text."""
        if len(pictures) != 1:
            family = self._network.config.model_type
            raise ValueError(f"{len(pictures)} images, but {family} takes one per prompt: give one")
        return self._processor(images=pictures[0], text=prompt, return_tensors="pt")

    def _tokens(self, output: Any, prompt_tokens: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        # Encoder-decoder families return the answer alone, the others the prompt before it: count from the
        # end.
        made = len(output.logits)
        token_ids, token_logprobs = [], []
        for token, logits in zip(output.sequences[0, -made:].tolist(), output.logits, strict=True):
            if token in self._ends:
                break
            token_ids.append(int(token))
            token_logprobs.append(float(logits[0].float().log_softmax(-1)[token]))
        return tuple(token_ids), tuple(token_logprobs)


class _Stopwatch:
    """Takes the times of one answer; on an accelerator it waits for the device first."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._vision_s = 0.0

    def now_s(self) -> float:
        """Monotonic time, seconds."""
        if self._device != "cpu":
            import torch  # loaded long since

            torch.accelerator.synchronize(torch.device(self._device))
        return time.perf_counter()

    def start(self) -> None:
        self._vision_s = 0.0
        self._first_token_s: float | None = None
        self._start_s = time.perf_counter()

    def preprocessing_ends(self) -> None:
        self._prepared_s = self.now_s()

    def vision_starts(self, *_: Any) -> None:
        self._vision_start_s = self.now_s()

    def vision_ends(self, *_: Any) -> None:
        self._vision_s += self.now_s() - self._vision_start_s

    def token_is_out(self) -> None:
        if self._first_token_s is None:
            self._first_token_s = self.now_s()

    def stop(self) -> Timings:
        end_s = self.now_s()
        first_s = end_s if self._first_token_s is None else self._first_token_s
        return Timings(
            preprocess_s=self._prepared_s - self._start_s,
            vision_s=self._vision_s,
            prefill_s=first_s - self._prepared_s - self._vision_s,
            decode_s=end_s - first_s,
        )
