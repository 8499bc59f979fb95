"""The progressive confidence network: will the on-board answer do?

One small head per stage. Stage 0 sees pooled visual features and the prompt, before any token; stage k the
hidden state that made token k and the probabilities so far; the last stage the whole answer's. A head is a
projection on the principal components of its features, one hidden layer, and a sigmoid.

Published (arXiv 2507.05731) is a progressive confidence network that decides which frames stay on board; a
third-party note adds that it looks at visual features and again after partial tokens, and is fitted to the
agreement of the two models. Shapes, features and training are this project's own. Two targets can be trained:
`agreement` (the compact model says what the regular one says) and `correctness`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.contract.files import replacing
from nodes.errors import ConfidenceError

Floats = NDArray[np.float64]
END = -1  # the stage of a whole answer
PROMPT_BUCKETS = 32
_HIDDEN = 16
_STEPS = 300
_RATE = 5e-3
_FOLDS = 5
FILE, WEIGHTS = "confidence.json", "confidence.safetensors"


def prompt_features(prompt: str) -> Floats:
    """A hashed bag of words, float64[PROMPT_BUCKETS]: the same for every model and machine."""
    counts = np.zeros(PROMPT_BUCKETS)
    for word in prompt.lower().replace("?", " ").split():
        counts[zlib.crc32(word.encode()) % PROMPT_BUCKETS] += 1
    return counts


def token_features(logprobs: Sequence[float]) -> Floats:
    """What the probabilities of the tokens so far tell, float64[3]: geometric mean, least, last."""
    if not logprobs:
        return np.zeros(3)
    return np.array([np.exp(np.mean(logprobs)), np.exp(min(logprobs)), np.exp(logprobs[-1])])


def token_confidence(logprobs: Sequence[float]) -> float:
    """Geometric mean of the probabilities of tokens; 0 where there is none."""
    return float(np.exp(np.mean(logprobs))) if len(logprobs) else 0.0


@dataclass(frozen=True)
class Freedom:
    """How much a head may learn: principal components of its features, and the decay of its weights."""

    components: int
    decay: float


FREEDOMS = tuple(Freedom(components, decay) for components in (4, 8, 16, 32) for decay in (0.3, 3.0))


@dataclass(frozen=True)
class Head:
    """One stage's network: sigmoid(out . tanh(hidden . components . (x - mean) / scale + bias) + offset)."""

    mean: Floats
    scale: Floats
    components: Floats
    hidden: Floats
    bias: Floats
    out: Floats
    offset: Floats

    def predict(self, features: Floats) -> Floats:
        """Confidence of rows [n, d] or of one row [d]; raises ConfidenceError for another d."""
        if features.shape[-1] != len(self.mean):
            raise ConfidenceError(
                f"{features.shape[-1]} features, but these heads know {len(self.mean)}: train them again"
            )
        inner = np.tanh(((features - self.mean) / self.scale) @ self.components @ self.hidden + self.bias)
        return np.asarray(1 / (1 + np.exp(-(inner @ self.out + self.offset[0]))), dtype=np.float64)


def train_head(
    features: Floats, hits: NDArray[np.bool_], freedom: Freedom = FREEDOMS[-1], *, seed: int = 0
) -> Head:
    """Train one head on rows [n, d] and whether the answer did: Adam, decoupled decay, all rows at once.

    In numpy: at this size torch spends its time on calls. Equal inputs give equal heads. Raises
    ConfidenceError where all rows are hits, or none.
    """
    if hits.all() or not hits.any():
        which = "right" if hits.any() else "wrong"
        raise ConfidenceError(f"{len(hits)} answers, all {which}: nothing to learn from")
    mean, scale = features.mean(0), features.std(0) + 1e-6
    rows = (features - mean) / scale
    _, strength, axes = np.linalg.svd(rows, full_matrices=False)
    kept = min(freedom.components, len(axes))
    components = axes[:kept].T / (strength[:kept] / np.sqrt(len(rows)) + 1e-3)
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(0, kept**-0.5, (kept, _HIDDEN)),
        np.zeros(_HIDDEN),
        rng.normal(0, _HIDDEN**-0.5, _HIDDEN),
        np.zeros(1),
    ]
    x, y = rows @ components, hits.astype(np.float64)
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    for step in range(1, _STEPS + 1):
        for number, slope in enumerate(_slopes(x, y, weights)):
            first[number] += 0.1 * (slope - first[number])
            second[number] += 1e-3 * (slope**2 - second[number])
            move = first[number] / (1 - 0.9**step) / (np.sqrt(second[number] / (1 - 0.999**step)) + 1e-8)
            decay = freedom.decay if weights[number].size > 1 else 0.0
            weights[number] = weights[number] * (1 - _RATE * decay) - _RATE * move
    return Head(mean, scale, components, *weights)


def _slopes(x: Floats, y: Floats, weights: Sequence[Floats]) -> list[Floats]:
    """Gradients of the mean cross-entropy by hidden, bias, out and offset."""
    hidden, bias, out, offset = weights
    inner = np.tanh(x @ hidden + bias)
    error = (1 / (1 + np.exp(-(inner @ out + offset[0]))) - y) / len(y)
    back = np.outer(error, out) * (1 - inner**2)
    return [x.T @ back, back.sum(0), inner.T @ error, np.array([error.sum()])]


def freest_that_pays(features: Floats, hits: NDArray[np.bool_], groups: Sequence[str]) -> Freedom:
    """The freedom with the least cross-entropy on groups that its heads never saw.

    A few hundred answers do not carry 32 components at every stage: with them a head was further from the
    truth than the token probabilities that are among its own features.
    """

    def loss(freedom: Freedom) -> float:
        told = np.clip(cross_fitted(features, hits, groups, freedom), 1e-6, 1 - 1e-6)
        return -float(np.log(np.where(hits, told, 1 - told)).mean())

    return min(FREEDOMS, key=loss)


def cross_fitted(
    features: Floats,
    hits: NDArray[np.bool_],
    groups: Sequence[str],
    freedom: Freedom = FREEDOMS[-1],
    *,
    seed: int = 0,
) -> Floats:
    """Confidence of each row by a head that never saw its group: what thresholds are chosen on.

    A fold whose training rows are all alike gets their share as confidence.
    """
    names = sorted(set(groups))
    fold_of = {
        name: number % _FOLDS for number, name in enumerate(np.random.default_rng(seed).permutation(names))
    }
    folds = np.array([fold_of[group] for group in groups])
    out = np.zeros(len(hits))
    for fold in sorted(set(folds.tolist())):
        held, rest = folds == fold, folds != fold
        try:
            out[held] = train_head(features[rest], hits[rest], freedom, seed=seed).predict(features[held])
        except ConfidenceError:
            out[held] = hits[rest].mean() if rest.any() else 0.5
    return out


class ConfidenceNetwork:
    """Trained heads by target and stage, and the attention heads that find regions.

    Args:
        heads: [target][stage]; stage END is the whole answer's.
        about: what they were trained on: weights, data, split, figures; kept with them.
    """

    def __init__(self, heads: Mapping[str, Mapping[int, Head]], about: Mapping[str, Any]) -> None:
        self.heads = {target: dict(stages) for target, stages in heads.items()}
        self.about = dict(about)

    def confidence(self, target: str, stage: int, features: Floats) -> float | None:
        """Confidence at a stage, or None where no head was trained for it."""
        head = self.heads.get(target, {}).get(stage)
        return None if head is None else float(head.predict(features))

    def save(self, folder: Path) -> None:
        """Write heads and what is known about them into a folder; nothing is left half-written."""
        from safetensors.numpy import save_file

        tensors = {
            f"{target}/{stage}/{name}": np.ascontiguousarray(value, dtype=np.float64)
            for target, stages in self.heads.items()
            for stage, head in stages.items()
            for name, value in vars(head).items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in (
            (WEIGHTS, lambda path: save_file(tensors, path)),
            (FILE, lambda path: path.write_text(json.dumps(self.about, indent=2) + "\n", encoding="utf-8")),
        ):
            with replacing(folder / name) as temporary:
                write(temporary)

    @classmethod
    def load(cls, folder: Path) -> ConfidenceNetwork:
        """Read what `save` wrote. Raises ConfidenceError."""
        from safetensors.numpy import load_file

        try:
            about = json.loads((folder / FILE).read_text(encoding="utf-8"))
            tensors = load_file(folder / WEIGHTS)
            parts: dict[str, dict[int, dict[str, Floats]]] = {}
            for key, value in tensors.items():
                target, stage, name = key.split("/")
                parts.setdefault(target, {}).setdefault(int(stage), {})[name] = value
            heads = {
                target: {stage: Head(**values) for stage, values in stages.items()}
                for target, stages in parts.items()
            }
        except Exception as error:  # safetensors has its own types, and the file may hold anything
            raise ConfidenceError(
                f"{folder} holds no confidence network ({type(error).__name__}): train it again"
            ) from error
        return cls(heads, about)
