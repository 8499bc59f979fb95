"""The progressive confidence network, which predicts whether the on-board answer is good enough.

There is one small head per stage. Its input is at stage 0 the pooled visual features and the prompt, before
any token; at stage k the hidden state of token k and the probabilities so far; at the last stage those of the
whole answer. A head is a projection onto the principal components of its input, one hidden layer, and a
sigmoid.

The paper (arXiv 2507.05731) describes a progressive confidence network that decides which frames stay on
board. A third-party note adds that its inputs are visual features, and later partial tokens, and that it is
fitted to the agreement of the two models. Shapes, features and training are this project's own. There are two
targets: `agreement` (the compact model's answer equals the regular model's) and `correctness`.
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

from nodes.contract.files import FILE, WEIGHTS, read_network, replacing
from nodes.errors import ConfidenceError

Floats = NDArray[np.float64]
END = -1  # the stage of a complete answer
PROMPT_BUCKETS = 32
_HIDDEN = 16
_STEPS = 300
_RATE = 5e-3
_FOLDS = 5


def prompt_features(prompt: str) -> Floats:
    """Return a hashed bag of words, float64[PROMPT_BUCKETS], which is the same on every machine."""
    counts = np.zeros(PROMPT_BUCKETS)
    for word in prompt.lower().replace("?", " ").split():
        counts[zlib.crc32(word.encode()) % PROMPT_BUCKETS] += 1
    return counts


def token_features(logprobs: Sequence[float]) -> Floats:
    """Return features of the tokens' probabilities, float64[3]: geometric mean, minimum, last."""
    if not logprobs:
        return np.zeros(3)
    return np.array([np.exp(np.mean(logprobs)), np.exp(min(logprobs)), np.exp(logprobs[-1])])


def token_confidence(logprobs: Sequence[float]) -> float:
    """Return the geometric mean of the tokens' probabilities; 0 without tokens."""
    return float(np.exp(np.mean(logprobs))) if len(logprobs) else 0.0


@dataclass(frozen=True)
class Regularization:
    """Regularization of a head.

    Attributes:
        components: Number of principal components of its input.
        decay: Decay of its weights.
    """

    components: int
    decay: float


REGULARIZATIONS = tuple(
    Regularization(components, decay) for components in (4, 8, 16, 32) for decay in (0.3, 3.0)
)


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
        """Return the confidence of rows [n, d] or of one row [d].

        Raises:
            ConfidenceError: d differs from the number of features in training.
        """
        if features.shape[-1] != len(self.mean):
            raise ConfidenceError(
                f"{features.shape[-1]} features, but these heads expect {len(self.mean)}: train them again"
            )
        inner = np.tanh(((features - self.mean) / self.scale) @ self.components @ self.hidden + self.bias)
        return np.asarray(1 / (1 + np.exp(-(inner @ self.out + self.offset[0]))), dtype=np.float64)

    def problem(self, features: int | None) -> str | None:
        """Return why it cannot work, or None.

        Args:
            features: Number of its inputs; None if that is not known.
        """
        parts = [np.asarray(part) for part in vars(self).values()]
        if not all(part.dtype.kind == "f" and np.isfinite(part).all() for part in parts):
            return "has numbers that are not finite"
        if features not in (None, self.mean.size):
            return f"expects {self.mean.size} features, and the model has {features}"
        count, middle, last = self.mean.size, self.components.shape[-1:], self.hidden.shape[-1:]
        shapes = ((count,), (count,), (count, *middle), (*middle, *last), last, last, (1,))
        if count == 0 or tuple(part.shape for part in parts) != shapes:
            return "has shapes that do not fit"
        return None if (self.scale != 0).all() else "divides by zero"


def train_head(
    features: Floats,
    hits: NDArray[np.bool_],
    regularization: Regularization = REGULARIZATIONS[-1],
    *,
    seed: int = 0,
) -> Head:
    """Train one head by Adam with decoupled weight decay on all rows at once.

    It uses NumPy, because at this size the overhead of torch calls dominates. Equal inputs give equal heads.

    Args:
        features: Inputs, float64[n, d].
        hits: Whether the answer of each row met the target.
        regularization: Components and weight decay.
        seed: Seed of the initial weights.

    Returns:
        The head.

    Raises:
        ConfidenceError: All rows are hits, or none is.
    """
    if hits.all() or not hits.any():
        outcome = "right" if hits.any() else "wrong"
        raise ConfidenceError(f"{len(hits)} answers, all {outcome}: nothing to learn from")
    mean, scale = features.mean(0), features.std(0) + 1e-6
    rows = (features - mean) / scale
    _, strength, axes = np.linalg.svd(rows, full_matrices=False)
    count = min(regularization.components, len(axes))
    components = axes[:count].T / (strength[:count] / np.sqrt(len(rows)) + 1e-3)
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(0, count**-0.5, (count, _HIDDEN)),
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
            decay = regularization.decay if weights[number].size > 1 else 0.0
            weights[number] = weights[number] * (1 - _RATE * decay) - _RATE * move
    return Head(mean, scale, components, *weights)


def _slopes(x: Floats, y: Floats, weights: Sequence[Floats]) -> list[Floats]:
    """Return the gradients of the mean cross-entropy by hidden, bias, out and offset."""
    hidden, bias, out, offset = weights
    inner = np.tanh(x @ hidden + bias)
    error = (1 / (1 + np.exp(-(inner @ out + offset[0]))) - y) / len(y)
    back = np.outer(error, out) * (1 - inner**2)
    return [x.T @ back, back.sum(0), inner.T @ error, np.array([error.sum()])]


def choose_regularization(features: Floats, hits: NDArray[np.bool_], groups: Sequence[str]) -> Regularization:
    """Return the regularization with the least cross-entropy on held-out groups.

    A few hundred answers do not suffice for 32 components at every stage: such a head can be worse than the
    token probabilities that are among its own inputs.

    Args:
        features: Inputs, float64[n, d].
        hits: Whether the answer of each row met the target.
        groups: The group of each row; a group is never in training and held-out data at once.
    """

    def loss(regularization: Regularization) -> float:
        confidence = np.clip(cross_fitted(features, hits, groups, regularization), 1e-6, 1 - 1e-6)
        return -float(np.log(np.where(hits, confidence, 1 - confidence)).mean())

    return min(REGULARIZATIONS, key=loss)


def cross_fitted(
    features: Floats,
    hits: NDArray[np.bool_],
    groups: Sequence[str],
    regularization: Regularization = REGULARIZATIONS[-1],
    *,
    seed: int = 0,
) -> Floats:
    """Return the confidence of each row by a head that was trained without the row's group.

    Thresholds are chosen on these values. If all training rows of a fold are hits, or none is, its
    confidence is their share of hits.

    Args:
        features: Inputs, float64[n, d].
        hits: Whether the answer of each row met the target.
        groups: The group of each row.
        regularization: Components and weight decay.
        seed: Seed of the folds and the initial weights.
    """
    names = sorted(set(groups))
    fold_of = {
        name: number % _FOLDS for number, name in enumerate(np.random.default_rng(seed).permutation(names))
    }
    folds = np.array([fold_of[group] for group in groups])
    out = np.zeros(len(hits))
    for fold in sorted(set(folds.tolist())):
        tested, rest = folds == fold, folds != fold
        try:
            head = train_head(features[rest], hits[rest], regularization, seed=seed)
            out[tested] = head.predict(features[tested])
        except ConfidenceError:
            out[tested] = hits[rest].mean() if rest.any() else 0.5
    return out


class ConfidenceNetwork:
    """Trained heads by target and stage.

    Args:
        heads: Heads by target and stage; stage END is that of the complete answer.
        about: Information that is stored with them: weights, data, split and figures of the training.
    """

    def __init__(self, heads: Mapping[str, Mapping[int, Head]], about: Mapping[str, Any]) -> None:
        self.heads = {target: dict(stages) for target, stages in heads.items()}
        self.about = dict(about)

    def confidence(self, target: str, stage: int, features: Floats) -> float | None:
        """Return the confidence at a stage, or None if no head was trained for it."""
        head = self.heads.get(target, {}).get(stage)
        return None if head is None else float(head.predict(features))

    def save(self, folder: Path) -> None:
        """Write the heads and `about` into a folder; each file is replaced in one step."""
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
    def of_files(cls, files: Mapping[str, bytes], place: Path | str) -> ConfidenceNetwork:
        """Read the files of a network.

        Args:
            files: Their contents, by name.
            place: Where they are from, for errors.

        Raises:
            ConfidenceError: They are no confidence network.
        """
        from safetensors.numpy import load

        try:
            about = dict(json.loads(files[FILE].decode("utf-8")))
            tensors = load(files[WEIGHTS])
            parts: dict[str, dict[int, dict[str, Floats]]] = {}
            for key, value in tensors.items():
                target, stage, name = key.split("/")
                parts.setdefault(target, {}).setdefault(int(stage), {})[name] = value
            heads = {
                target: {stage: Head(**values) for stage, values in stages.items()}
                for target, stages in parts.items()
            }
        except Exception as error:  # the file may hold anything, and safetensors has errors of its own
            raise _no_network(place, error) from error
        return cls(heads, about)

    def check(self, like: ConfidenceNetwork | None) -> None:
        """Check that every head can work.

        Args:
            like: A network for the same model, whose heads have the same inputs.

        Raises:
            ConfidenceError: A head has a number that is not finite, or shapes that do not fit.
        """
        for target, stages in self.heads.items():
            known = {} if like is None else like.heads.get(target, {})
            for stage, head in stages.items():
                expected = len(known[stage].mean) if stage in known else None
                if (problem := head.problem(expected)) is not None:
                    raise ConfidenceError(f"the head of stage {stage} for {target} {problem}")


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a network by name.

    Raises:
        ConfidenceError: There are none, or they are too large.
    """
    try:
        return read_network(folder)
    except (OSError, ValueError) as error:
        raise _no_network(folder, error) from error


def _no_network(place: Path | str, error: Exception) -> ConfidenceError:
    return ConfidenceError(f"{place} holds no confidence network ({type(error).__name__}): train it again")
