"""Messages for frames that the ground answers: made on the satellite, read on the ground.

    form      bytes                                  read as
    whole     the file as captured                   itself
    reduced   an image of fewer pixels               itself
    regions   a message of `nodes.regions`           the overview at full size, the regions pasted over it

The event model of `nodes.lab.evaluation` makes and reads messages with these functions too, so a frame gets
the same answer there as in a run.

A model whose views are tiles gets those of the whole frame, even if only a few regions were received: the
shipped regular model was trained on whole frames and rarely answers from regions alone. The ground's
inference then takes as long as for a whole frame. A model whose tiles name their places (`nodes.vlm.views`)
gets those of the received regions only.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast, get_args

from PIL import Image

from nodes.onboard.layout import Layout
from nodes.policies import Decision, SendReduced, SendRegions, SendWhole
from nodes.regions import Grid, Unpacked, pack, unpack
from nodes.regions.payload import MAX_BYTES
from nodes.vlm.answer import Answer, ServerAnswer
from nodes.vlm.image import open_image
from nodes.vlm.protocol import AnsweringModel, StagedModel
from nodes.vlm.views import Views

Form = Literal["whole", "reduced", "regions"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True)
class FrameMessage:
    """A message to the ground.

    Attributes:
        form: Its form.
        data: Its bytes; None for the image file as captured.
        pieces_bytes: Sizes of the pieces that other messages of the frame may have as well, in the order of
            the data; empty for a message that is equal to another one or has nothing in common with it.
    """

    form: Form
    data: bytes | None = None
    pieces_bytes: tuple[int, ...] = ()


def make_message(
    decision: Decision,
    frame: Callable[[], Image.Image],
    scores: Callable[[], Sequence[float]],
    layout: Layout,
) -> FrameMessage:
    """Make the message of a decision.

    Args:
        decision: The policy's decision.
        frame: Returns the frame's pixels; only called if they are needed.
        scores: Returns the relevance of each region; only called for a message of regions.
        layout: Grid of regions and codec.

    Raises:
        ValueError: The decision sends no image.
    """
    if isinstance(decision, SendWhole):
        return FrameMessage("whole")
    if isinstance(decision, SendReduced):
        return FrameMessage("reduced", _reduced(frame(), decision, layout))
    if isinstance(decision, SendRegions):
        pixels = frame()
        grid = Grid(pixels.width, pixels.height, layout.rows, layout.columns)
        packed = pack(pixels, grid, scores(), decision.budget_bytes, layout.settings)
        return FrameMessage("regions", packed.data, tuple(map(len, packed.pieces)))
    raise ValueError(f"{decision} sends no image")


def _reduced(frame: Image.Image, decision: SendReduced, layout: Layout) -> bytes:
    size = max(1, frame.width // decision.reduction), max(1, frame.height // decision.reduction)
    data = io.BytesIO()
    small = frame if size == frame.size else frame.resize(size, Image.Resampling.LANCZOS)
    small.save(data, layout.settings.codec, quality=decision.quality or layout.settings.quality)
    return data.getvalue()


def read_regions(source: Path | BinaryIO) -> Unpacked:
    """Unpack a message of regions.

    Raises:
        PayloadError: The message is malformed.
        OSError: It cannot be read.
    """
    if not isinstance(source, Path):
        return unpack(source.read(MAX_BYTES + 1))
    with source.open("rb") as file:
        return unpack(file.read(MAX_BYTES + 1))


def received_frame(form: str, source: Path | BinaryIO) -> Image.Image:
    """Return the received message as one image.

    Raises:
        ImageError: The image cannot be used.
        PayloadError: The message of regions is malformed.
        OSError: The file cannot be read.
    """
    return read_regions(source).compose() if form == "regions" else open_image(source)


def answer_received(
    model: AnsweringModel, form: str, source: Path | BinaryIO, prompt: str, max_new_tokens: int
) -> Answer | ServerAnswer:
    """Return the regular model's answer about a received message; raises the errors of `received_frame`."""
    views: Views | None = getattr(model, "views", None)  # a model behind a server has none
    if form == "regions" and views is not None and views.places:
        return _answer_regions(cast(StagedModel, model), views, read_regions(source), prompt, max_new_tokens)
    return model.answer(received_frame(form, source), prompt, max_new_tokens=max_new_tokens)


def _answer_regions(
    model: StagedModel, views: Views, unpacked: Unpacked, prompt: str, max_new_tokens: int
) -> Answer:
    """Let a model answer from an overview and those tiles that are sharper in the received regions."""
    grid = unpacked.grid
    reduction = max(grid.width_px, grid.height_px) / views.overview_px
    received = [grid.box(region.index) for region in unpacked.regions if region.reduction < reduction]
    images, boxes = views.of(unpacked.compose(), received)
    session = model.begin(images, prompt, boxes=boxes, max_new_tokens=max_new_tokens)
    try:
        session.decode()
        return session.answer()
    finally:
        session.__exit__()
