"""Models, policies, and the programs of satellites, ground stations and boards.

    from nodes import COMPACT, EO_MINI, load_model, open_image

    model = load_model(COMPACT)
    answer = model.answer(open_image(EO_MINI / "e0000.jpg"), "How many ships are on the water?")

The names in `__all__` are the public API, together with those of `nodes.policies`. Each is imported on first
use: `import nodes` loads none of torch, transformers and NumPy.

The programs run in an emulated host, on a board or on a laptop: `python -m nodes.satellite`, `nodes.ground`,
`nodes.agent` (a board between runs), `nodes.profile` (measures a machine) and `nodes.ask` (one question).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodes.contract.models.options import ModelOptions
    from nodes.data import EO_MINI, EO_MINI_VAL, FIRST_LIGHT
    from nodes.data.pairs import Pair, read_pairs
    from nodes.errors import DataError, ImageError, ModelError, NodeError, ServerUnavailableError
    from nodes.models import COMPACT, CONFIDENCE, POLICY_PARAMETERS, REGULAR
    from nodes.vlm.answer import Answer, ServerAnswer, Timings
    from nodes.vlm.image import open_image
    from nodes.vlm.model import VisionLanguageModel, load_model
    from nodes.vlm.openai import ServerModel, connect
    from nodes.vlm.protocol import AnsweringModel
    from nodes.vlm.session import Session
    from nodes.vlm.token_grid import TokenGrid, frame_map

__all__ = [
    "COMPACT",
    "CONFIDENCE",
    "EO_MINI",
    "EO_MINI_VAL",
    "FIRST_LIGHT",
    "POLICY_PARAMETERS",
    "REGULAR",
    "Answer",
    "AnsweringModel",
    "DataError",
    "ImageError",
    "ModelError",
    "ModelOptions",
    "NodeError",
    "Pair",
    "ServerAnswer",
    "ServerModel",
    "ServerUnavailableError",
    "Session",
    "Timings",
    "TokenGrid",
    "VisionLanguageModel",
    "connect",
    "frame_map",
    "load_model",
    "open_image",
    "read_pairs",
]

_NAMES_BY_MODULE = {
    "nodes.contract.models.options": ("ModelOptions",),
    "nodes.data": ("EO_MINI", "EO_MINI_VAL", "FIRST_LIGHT"),
    "nodes.data.pairs": ("Pair", "read_pairs"),
    "nodes.errors": ("DataError", "ImageError", "ModelError", "NodeError", "ServerUnavailableError"),
    "nodes.models": ("COMPACT", "CONFIDENCE", "POLICY_PARAMETERS", "REGULAR"),
    "nodes.vlm.answer": ("Answer", "ServerAnswer", "Timings"),
    "nodes.vlm.image": ("open_image",),
    "nodes.vlm.model": ("VisionLanguageModel", "load_model"),
    "nodes.vlm.openai": ("ServerModel", "connect"),
    "nodes.vlm.protocol": ("AnsweringModel",),
    "nodes.vlm.session": ("Session",),
    "nodes.vlm.token_grid": ("TokenGrid", "frame_map"),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
