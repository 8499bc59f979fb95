"""What models need, imported with this module: for a process from which others are forked.

The import takes seconds. It computes nothing with torch and starts no thread, which a fork would not take
along. If the libraries are not installed, loading a model says what is missing.
"""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    import torch  # noqa: F401
    import transformers
    from transformers.models.auto import modeling_auto, processing_auto  # noqa: F401

    for _name in ("AutoModelForImageTextToText", "StoppingCriteriaList"):
        getattr(transformers, _name)
    from nodes.vlm import model, processor, session  # noqa: F401
