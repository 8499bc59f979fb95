"""A local vision-language model: any image-text-to-text model that transformers loads.

    model = load_model("nodes/models/compact")          a folder, or a hub name such as owner/model
    answer = model.answer(image, "Are there ships on the water?")
    answer.text, answer.confidence, answer.timings.total_s

torch and transformers take seconds to import, so they are imported when a model is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nodes.contract.models.options import ModelOptions
from nodes.contract.strict import problem_text
from nodes.errors import ModelError, first_line
from nodes.vlm.answer import Answer, Timings
from nodes.vlm.chunked_vision import chunk_vision
from nodes.vlm.folder import check_model_folder, is_hub_name
from nodes.vlm.loading.arguments import loading_arguments
from nodes.vlm.loading.checks import check_memory, check_options
from nodes.vlm.loading.image_size import sized
from nodes.vlm.peak_memory import MemoryWatch
from nodes.vlm.protocol import answer_once
from nodes.vlm.views import Views, read_views, shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.session import Session
    from nodes.vlm.token_grid import Box


def load_model(
    name_or_folder: str | Path,
    options: ModelOptions | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
) -> VisionLanguageModel:
    """Load a vision-language model; code in its folder is not run, whether in Python files or in pickles.

    Args:
        name_or_folder: A folder written by `save_pretrained`, or a hub name.
        options: How it runs; by default on the processor, in float32.
        device: Torch device, instead of that of the options.
        dtype: Type of the weights, instead of that of the options.
        threads: Number of torch threads of the whole process, instead of that of the options.

    Returns:
        The loaded model.

    Raises:
        ModelError: The model cannot be loaded, or cannot run so on this machine.
    """
    runs = _options(options, device=device, dtype=dtype, model_threads=threads)
    check_model_folder(name_or_folder)
    check_options(name_or_folder, runs)
    check_memory(name_or_folder, runs)
    source = str(name_or_folder)
    try:
        views = read_views(source)
    except ValueError as error:
        raise ModelError(str(error)) from error
    import torch  # slow
    import transformers  # slow

    from nodes.vlm.processor import load_processor  # imports transformers

    if runs.model_threads is not None:
        torch.set_num_threads(runs.model_threads)
    automatic: Any = transformers  # only partly typed
    automatic.utils.logging.disable_progress_bar()
    at = {} if runs.revision is None or not is_hub_name(source) else {"revision": runs.revision}
    try:
        processor = load_processor(source, trust_remote_code=False, **at)
        network = automatic.AutoModelForImageTextToText.from_pretrained(
            source, trust_remote_code=False, weights_only=True, **at, **loading_arguments(runs)
        )
        network = (network if runs.quantisation else network.to(runs.device)).eval()
    except Exception as error:  # transformers has no common error class
        place = (
            f"{source} (no such folder, and not available from the hub)" if is_hub_name(source) else source
        )
        raise ModelError(f"cannot load a vision-language model from {place}: {first_line(error)}") from error
    return VisionLanguageModel(network, processor, runs.device, views, runs)


def _options(options: ModelOptions | None, **instead: Any) -> ModelOptions:
    """Return the options with those of `instead` that are set. Raises ModelError."""
    given = {name: value for name, value in instead.items() if value is not None}
    described = options or ModelOptions()
    try:
        return ModelOptions(**{name: getattr(described, name) for name in ModelOptions.model_fields} | given)
    except ValidationError as error:
        raise ModelError(problem_text(error)) from error


class VisionLanguageModel:
    """A loaded model and its processor; takes one call at a time.

    Decoding is greedy, so equal inputs give equal answers.

    Args:
        network: The transformers model.
        processor: Its processor.
        device: torch device, e.g. cpu or cuda:0.
        views: The views in which a frame is shown to the model; None for the frame itself.
        options: How the model runs.
    """

    def __init__(
        self,
        network: Any,
        processor: Any,
        device: str = "cpu",
        views: Views | None = None,
        options: ModelOptions | None = None,
    ) -> None:
        self.views = views
        self.options = options or ModelOptions(device=device)
        self._network = network
        self._processor = processor
        self._device = device
        for sampling in ("temperature", "top_p", "top_k", "min_p"):
            # Otherwise each greedy answer warns about the unused option.
            setattr(network.generation_config, sampling, None)
        ends = network.generation_config.eos_token_id
        self._end_tokens = {
            int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None
        }
        self._stopwatch = _Stopwatch(device)
        self._memory = MemoryWatch(device)
        tower = network.get_encoder(modality="image")
        # For a family without a tower this is a module that also contains the language model.
        self.has_vision_tower = tower not in (network, network.base_model, network.get_decoder())
        if device == "cpu":
            chunk_vision(network.base_model)
        if self.has_vision_tower:
            tower.register_forward_pre_hook(self._stopwatch.vision_started)
            tower.register_forward_hook(self._stopwatch.vision_ended)

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self._network

    @property
    def processor(self) -> Any:
        """The transformers processor."""
        return self._processor

    @property
    def end_tokens(self) -> set[int]:
        """The tokens that end an answer."""
        return self._end_tokens

    @property
    def memory(self) -> MemoryWatch:
        """The counter of the device's memory."""
        return self._memory

    def now_s(self) -> float:
        """Wait until the device is idle and return the monotonic time in seconds."""
        return self._stopwatch.now_s()

    def warm_up(self) -> float:
        """Answer once about a grey image and return the duration in seconds.

        One-time costs (choosing or compiling kernels, allocating memory) then affect no later timings.

        Raises:
            ModelError: The model cannot answer.
        """
        return answer_once(self)

    def prepare(
        self, images: Image | Sequence[Image], prompt: str, boxes: Sequence[Box] | None = None
    ) -> Any:
        """Return the network's inputs, on its device; arguments are those of `begin`."""
        if not isinstance(images, Sequence):
            images, boxes = shown(images, self.views)
        pictures = sized([image.convert("RGB") for image in images], self.options)
        if getattr(self._processor, "chat_template", None) is None:
            inputs = self._prepare_without_chat(pictures, prompt)
        else:
            names = self.views.names_of(boxes) if self.views and boxes else [""] * len(pictures)
            inputs = self._prepare_chat(pictures, names, prompt)
        return inputs.to(self._device, self._network.dtype)

    def begin(
        self,
        images: Image | Sequence[Image],
        prompt: str,
        *,
        boxes: Sequence[Box] | None = None,
        max_new_tokens: int = 32,
    ) -> Session:
        """Preprocess a prompt and run the vision tower on its images, without decoding anything yet.

        Args:
            images: A frame, which is shown in the model's `views`; or a sequence of images of any scale,
                which are shown unchanged.
            prompt: The question.
            boxes: The position of each image in the frame (left, top, right, bottom), in frame pixels. By
                default each image is a whole frame.
            max_new_tokens: Maximum length of the answer.

        Returns:
            A session that decodes the answer step by step.

        Raises:
            ValueError: The family's vision tower cannot be run separately (no `get_image_features`).
        """
        from nodes.vlm.session import begin  # imports numpy

        if isinstance(images, Sequence):
            return begin(self, list(images), prompt, boxes, max_new_tokens)
        shown_images, shown_boxes = shown(images, self.views)
        return begin(self, list(shown_images), prompt, boxes or shown_boxes, max_new_tokens)

    @property
    def place(self) -> str:
        """Device and type of its weights, as they are: "cuda:0 bfloat16"."""
        return f"{self._network.device} {str(self._network.dtype).removeprefix('torch.')}"

    @property
    def parameters(self) -> int:
        """Number of weights; tied weights count once."""
        return sum(weight.numel() for weight in self._network.parameters())

    def answer(self, images: Image | Sequence[Image], prompt: str, *, max_new_tokens: int = 32) -> Answer:
        """Answer a prompt about a frame or several images.

        Args:
            images: As for `begin`.
            prompt: The question.
            max_new_tokens: Maximum length of the answer.

        Returns:
            The answer, decoded greedily.

        Raises:
            ValueError: There are several images, and the family takes one per prompt.
        """
        from transformers import StoppingCriteria, StoppingCriteriaList  # slow

        watch = self._stopwatch

        class AfterToken(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                watch.token_decoded()
                return input_ids.new_zeros(input_ids.shape[0], dtype=bool)

        self._memory.start()
        watch.start()
        inputs = self.prepare(images, prompt)
        watch.preprocessing_ended()
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

    def _prepare_chat(self, pictures: Sequence[Image], names: Sequence[str], prompt: str) -> Any:
        """Prepare inputs of families with a chat template: images, each after its name, then the prompt."""
        content: list[dict[str, Any]] = []
        for picture, name in zip(pictures, names, strict=True):
            content += [{"type": "text", "text": name}] if name else []
            content.append({"type": "image", "image": picture})
        content.append({"type": "text", "text": prompt})
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _prepare_without_chat(self, pictures: Sequence[Image], prompt: str) -> Any:
        """Prepare inputs of families without a chat template (Florence-2, BLIP): one image, then the text."""
        if len(pictures) != 1:
            family = self._network.config.model_type
            raise ValueError(f"{len(pictures)} images, but {family} takes one per prompt: pass one")
        return self._processor(images=pictures[0], text=prompt, return_tensors="pt")

    def _tokens(self, output: Any, prompt_tokens: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        # Encoder-decoder families return only the answer, others return prompt and answer: count from the
        # end.
        count = len(output.logits)
        token_ids, token_logprobs = [], []
        for token, logits in zip(output.sequences[0, -count:].tolist(), output.logits, strict=True):
            if token in self._end_tokens:
                break
            token_ids.append(int(token))
            token_logprobs.append(float(logits[0].float().log_softmax(-1)[token]))
        return tuple(token_ids), tuple(token_logprobs)


class _Stopwatch:
    """The timer of one answer; it synchronizes with an accelerator before it reads the clock."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._vision_s = 0.0

    def now_s(self) -> float:
        """Return the monotonic time in seconds, once the device is idle."""
        if self._device != "cpu":
            import torch  # already loaded

            torch.accelerator.synchronize(torch.device(self._device))
        return time.perf_counter()

    def start(self) -> None:
        self._vision_s = 0.0
        self._first_token_s: float | None = None
        self._start_s = time.perf_counter()

    def preprocessing_ended(self) -> None:
        self._prepared_s = self.now_s()

    def vision_started(self, *_: Any) -> None:
        self._vision_start_s = self.now_s()

    def vision_ended(self, *_: Any) -> None:
        self._vision_s += self.now_s() - self._vision_start_s

    def token_decoded(self) -> None:
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
