"""Opens an image file as upright 8-bit RGB of a bounded size, be it CMYK, 16-bit, palette or rotated.

Caps: a file of more than 100 megapixels is refused before its pixels are read; what is longer than 4096 px
on a side is reduced to that (JPEG already while it is decoded); what is shorter than 28 px is enlarged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_PIXELS = 100_000_000
LONGEST_SIDE_PX = 4096
SHORTEST_SIDE_PX = 28  # one token of Qwen2-VL; narrower, some processors take pixels for channels
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class ImageError(ValueError):
    """An image that cannot be used; the text is one line: what, where, what to do."""

    exit_code = 2


def open_image(path: str | Path | BinaryIO) -> Image:
    """Read an image file, by its path or as opened.

    Deep greys (16-bit, 32-bit, float) are stretched linearly from their darkest to their brightest pixel.
    Raises ImageError when there is no such image, it is damaged or it has more than LARGEST_PIXELS.
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
        raise _too_large(path, "far more than that") from None
    except FileNotFoundError:
        raise ImageError(f"no image {path}: check the path") from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImageError(f"{path} cannot be read as an image ({reason}): give a whole image file") from None


def _too_large(path: str | Path | BinaryIO, size: str) -> ImageError:
    limit = LARGEST_PIXELS // 1_000_000
    return ImageError(f"{path} is over the limit of {limit} megapixels ({size}): reduce or crop it first")


def _rgb(image: Image) -> Image:
    if image.mode not in _DEEP_MODES:
        return image.convert("RGB")
    import numpy as np  # for deep images only
    from PIL import Image as Images

    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    span = max(float(np.ptp(values)), 1e-12)
    return Images.fromarray(((values - values.min()) / span * 255).round().astype(np.uint8)).convert("RGB")


def _bounded(image: Image) -> Image:
    width, height = image.size
    scale = min(1.0, LONGEST_SIDE_PX / max(width, height))
    size = tuple(max(SHORTEST_SIDE_PX, round(side * scale)) for side in (width, height))
    return image if size == image.size else image.resize((size[0], size[1]))
