"""Loads the processor of an image-text-to-text model, with or without torchvision.

Many families also have a video processor, which requires torchvision. Without it AutoProcessor fails,
although the image processor has a PIL version (transformers issue 48558). Frames are images, so the video
processor is left out.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any


def load_processor(name_or_folder: str, **options: Any) -> Any:
    """Load the processor of a model, for images and text.

    Args:
        name_or_folder: The model's hub name or folder.
        **options: Passed to `from_pretrained`, whose errors are passed on.
    """
    import transformers  # slow

    if find_spec("torchvision") is None and (processor_class := _class_of(name_or_folder, **options)):
        return without_video(processor_class).from_pretrained(name_or_folder, **options)
    automatic: Any = transformers.AutoProcessor  # untyped in transformers
    return automatic.from_pretrained(name_or_folder, **options)


def _class_of(name_or_folder: str, **options: Any) -> Any:
    """Return the model's processor class, or None if it has none or one without videos."""
    import transformers  # slow
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING  # slow

    config = transformers.AutoConfig.from_pretrained(name_or_folder, **options)
    processor_class: Any = PROCESSOR_MAPPING.get(type(config), None)
    if processor_class is None or "video_processor" not in processor_class.get_attributes():
        return None
    return processor_class


@cache
def without_video(processor_class: Any) -> Any:
    """Derive a processor class without a video processor; its name in saved files stays the same."""

    def get_attributes(cls: Any) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != "video_processor"]

    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes)})
