"""The function that chooses routes, by its name or from a user's Python file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from testbed.errors import InputError
from testbed.network.routes.choice import CHOICES, Choice, Parents
from testbed.network.routes.contact_graph import OpenLink

FUNCTION = "choose"


def choice_named(name: str) -> Choice:
    """Return a choice of routes.

    Args:
        name: one of `CHOICES`, or the path of a Python file with a function `choose(links, root)`.

    Raises:
        InputError: there is none, or the file cannot be used. The text is one line.
    """
    if name in CHOICES:
        return CHOICES[name]
    path = Path(name)
    spec = importlib.util.spec_from_file_location(f"routes_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"routes {name!r}: expected {', '.join(CHOICES)}, or the path of a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        text = " ".join(str(error).split())
        raise InputError(f"{path} cannot be used: {type(error).__name__}: {text}") from error
    choose = getattr(module, FUNCTION, None)
    if not callable(choose):
        raise InputError(f"{path} has no function {FUNCTION}(links, root), which returns each node's parent")
    return partial(_chosen, choose, path)


def _chosen(choose: Choice, path: Path, links: Sequence[OpenLink], root: str) -> Parents:
    """Call a user's function; its errors become one line."""
    try:
        parents = dict(choose(links, root))
    except Exception as error:
        text = " ".join(str(error).split())
        raise InputError(f"{FUNCTION} of {path} failed: {type(error).__name__}: {text}") from error
    return parents
