"""Loads the processor of an image-text-to-text model, also where torchvision is not installed.

Many families' processors take videos too, and their video processors exist for torchvision only;
AutoProcessor then refuses although the image processor has a PIL version (transformers issue 48558). Frames
are images: leave the video processor out.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any


def load_processor(name_or_folder: str, **options: Any) -> Any:
    """Load the processor of a model, for images and text; `options` go to `from_pretrained`.

    Raises what transformers raises when there is none.
    """
    import transformers  # slow

    if find_spec("torchvision") is None and (processor_class := _class_of(name_or_folder, **options)):
        return without_video(processor_class).from_pretrained(name_or_folder, **options)
    automatic: Any = transformers.AutoProcessor  # untyped in transformers
    return automatic.from_pretrained(name_or_folder, **options)


def _class_of(name_or_folder: str, **options: Any) -> Any:
    """Find the model's own processor class, or None where it has none or where it takes no videos."""
    import transformers  # slow
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING  # slow

    config = transformers.AutoConfig.from_pretrained(name_or_folder, **options)
    processor_class: Any = PROCESSOR_MAPPING.get(type(config), None)
    if processor_class is None or "video_processor" not in processor_class.get_attributes():
        return None
    return processor_class


@cache
def without_video(processor_class: Any) -> Any:
    """Derive a processor class that neither needs nor makes a video processor; it keeps its name in files."""

    def get_attributes(cls: Any) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != "video_processor"]

    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes)})
