"""Opens an image file of any mode or rotation as upright 8-bit RGB of bounded size.

A file with more than 100 megapixels is rejected before its pixels are read. Sides longer than 4096 px are
reduced to that (for JPEG during decoding), and sides shorter than 28 px are enlarged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nodes.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_PIXELS = 100_000_000
LONGEST_SIDE_PX = 4096
SHORTEST_SIDE_PX = 28  # one token of Qwen2-VL; below it, some processors mistake pixels for channels
WARM_UP_SIDE_PX = 224
WARM_UP_PROMPT = "What is this?"
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def open_image(path: str | Path | BinaryIO) -> Image:
    """Read an image file.

    Deep greyscale (16-bit, 32-bit, float) is stretched linearly from its darkest to its brightest pixel.

    Args:
        path: The file, or its path.

    Raises:
        ImageError: The image is missing or damaged, or has more than LARGEST_PIXELS.
    """
    from PIL import Image, ImageOps  # not for --help

    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > LARGEST_PIXELS:
                raise _too_large(path, f"{width} x {height} px")
            opened.draft("RGB", (LONGEST_SIDE_PX, LONGEST_SIDE_PX))
            return _bounded(_rgb(ImageOps.exif_transpose(opened)))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(path, "far above it") from None
    except FileNotFoundError:
        raise ImageError(f"no image {path}: check the path") from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImageError(f"{path} cannot be read as an image ({reason}): use a complete image file") from None


def warm_up_image() -> Image:
    """Return the grey image that models are warmed up with."""
    from PIL import Image  # not for --help

    return Image.new("RGB", (WARM_UP_SIDE_PX, WARM_UP_SIDE_PX), (128, 128, 128))


def _too_large(path: str | Path | BinaryIO, size: str) -> ImageError:
    limit = LARGEST_PIXELS // 1_000_000
    return ImageError(f"{path} exceeds the limit of {limit} megapixels ({size}): reduce or crop it first")


def _rgb(image: Image) -> Image:
    if image.mode not in _DEEP_MODES:
        return image.convert("RGB")
    import numpy as np  # for deep greyscale only
    from PIL import Image as Images

    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    span = max(float(np.ptp(values)), 1e-12)
    return Images.fromarray(((values - values.min()) / span * 255).round().astype(np.uint8)).convert("RGB")


def _bounded(image: Image) -> Image:
    width, height = image.size
    scale = min(1.0, LONGEST_SIDE_PX / max(width, height))
    size = tuple(max(SHORTEST_SIDE_PX, round(side * scale)) for side in (width, height))
    return image if size == image.size else image.resize((size[0], size[1]))
