"""Profile of an imaginary machine, for tests."""

from __future__ import annotations

from typing import Any

MADE_UP: dict[str, Any] = {
    "name": "made-up",
    "model": "owner/model",
    "parameters": 2_000_000_000,
    "stages": {
        "preprocess": {"p50_s": 0.02, "p95_s": 0.03, "count": 20},
        "vision": {"p50_s": 0.10, "p95_s": 0.12, "count": 20},
        "prefill": {"p50_s": 0.05, "p95_s": 0.06, "count": 20},
        "decode": {"p50_s": 0.01, "p95_s": 0.02, "count": 20},
        "pack": {"p50_s": 0.04, "p95_s": 0.05, "count": 20},
        "reduce": {"p50_s": 0.03, "p95_s": 0.05, "count": 20},
    },
}
