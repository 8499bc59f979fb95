"""Vocabulary of the pair: the words of eo-mini's prompts and answers."""

from __future__ import annotations

from collections.abc import Sequence

from nodes.lab.eo_mini.ground import CLOUD_SHARES, COVERS
from nodes.lab.eo_mini.windows import ANSWERS, PROMPTS


def vocabulary() -> Sequence[str]:
    """Return words and punctuation marks, lower case, sorted."""
    sentences = (
        "what covers most of this image ? is there any in how much cloudy more or",
        "upper the lower half cloudier , .",
        *PROMPTS.values(),
        *COVERS,
        *CLOUD_SHARES,
        "yes no",
        *(" ".join(answers) for answers in ANSWERS.values()),
    )
    marks = {"?", ",", "."}
    words = {word.strip("?,.").lower() for sentence in sentences for word in sentence.split()}
    return sorted((words | marks) - {""})
