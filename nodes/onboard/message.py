"""What goes down for a frame that the ground is to answer, and how the ground reads it.

    form      bytes                                  read as
    whole     the file as captured                   itself
    reduced   an image of fewer pixels               itself
    regions   a message of `nodes.regions`           the overview at full size, the regions pasted over it

The satellite's program makes them, the ground's reads them, and the event model of `nodes.lab.evaluation`
does both: so a frame has one answer, wherever it is asked for.

A model that is shown tiles is shown those of the whole picture, also where only a few regions of it came
down: shown those few alone, the shipped regular model, which learnt from whole frames, answered 0 to 39 % of
the fine prompts, of the pasted picture 75 to 100 % (val split; its time is that of a whole frame then).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from PIL import Image

from nodes.onboard.layout import Layout
from nodes.policies import Decision, SendReduced, SendRegions, SendWhole
from nodes.regions import Grid, Unpacked, pack, unpack
from nodes.vlm.answer import Answer, ServerAnswer
from nodes.vlm.image import open_image
from nodes.vlm.protocol import AnsweringModel

Form = Literal["whole", "reduced", "regions"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True)
class FrameMessage:
    """`data` goes down; None stands for the image file as captured."""

    form: Form
    data: bytes | None = None


def make_message(
    decision: Decision,
    frame: Callable[[], Image.Image],
    scores: Callable[[], Sequence[float]],
    layout: Layout,
) -> FrameMessage:
    """Make what a decision sends.

    Args:
        frame: gives the frame's pixels; called only where they are needed.
        scores: gives the relevance of each region; called only for a message of regions.

    Raises ValueError for a decision that sends no picture.
    """
    if isinstance(decision, SendWhole):
        return FrameMessage("whole")
    if isinstance(decision, SendReduced):
        return FrameMessage("reduced", _reduced(frame(), decision.reduction, layout))
    if isinstance(decision, SendRegions):
        pixels = frame()
        grid = Grid(pixels.width, pixels.height, layout.rows, layout.columns)
        return FrameMessage(
            "regions", pack(pixels, grid, scores(), decision.budget_bytes, layout.settings).data
        )
    raise ValueError(f"{decision} sends no picture")


def _reduced(frame: Image.Image, reduction: int, layout: Layout) -> bytes:
    size = max(1, frame.width // reduction), max(1, frame.height // reduction)
    data = io.BytesIO()
    small = frame.resize(size, Image.Resampling.LANCZOS)
    small.save(data, layout.settings.codec, quality=layout.settings.quality)
    return data.getvalue()


def read_regions(source: Path | BinaryIO) -> Unpacked:
    """Unpack a message of regions. Raises PayloadError, OSError."""
    return unpack(source.read_bytes() if isinstance(source, Path) else source.read())


def received_frame(form: str, source: Path | BinaryIO) -> Image.Image:
    """Read what came down as one picture. Raises ImageError, PayloadError, OSError (each one line)."""
    return read_regions(source).compose() if form == "regions" else open_image(source)


def answer_received(
    model: AnsweringModel, form: str, source: Path | BinaryIO, prompt: str, max_new_tokens: int
) -> Answer | ServerAnswer:
    """Show the regular model what came down, and ask it; gives its answer, raises as `received_frame`."""
    return model.answer(received_frame(form, source), prompt, max_new_tokens=max_new_tokens)
