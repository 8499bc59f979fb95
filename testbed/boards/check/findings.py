"""The result of checking one aspect of a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "refused"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking one aspect of a board.

    Args:
        what: The aspect, in a word or two.
        verdict: "refused" means that the board cannot be used as it is.
        detail: The observed state; for a refusal, the reason.
        instead: How to resolve a refusal.
    """

    what: str
    verdict: Verdict
    detail: str
    instead: str = ""


def usable(findings: Sequence[Finding]) -> bool:
    """Return whether nothing was refused."""
    return all(finding.verdict != "refused" for finding in findings)
