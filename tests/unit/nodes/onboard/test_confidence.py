"""The confidence network: learning, cross-fitting without leaks, and storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.errors import ConfidenceError
from nodes.lab.evaluation.figures import auroc
from nodes.onboard.confidence import (
    END,
    FILE,
    PROMPT_BUCKETS,
    WEIGHTS,
    ConfidenceNetwork,
    _slopes,
    choose_regularization,
    cross_fitted,
    files_of,
    prompt_features,
    token_features,
    train_head,
)


def rows(count: int = 160, signal: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 20))
    hits = features[:, 3] * signal + rng.normal(size=count) > 0
    return features, hits, [f"frame{number // 4}" for number in range(count)]


def test_a_head_learns_a_signal_and_finds_none_in_noise() -> None:
    features, hits, groups = rows()
    assert auroc(cross_fitted(features, hits, groups), hits) > 0.8
    noise = np.random.default_rng(5).permutation(hits)
    # 160 rows: the standard error of an AUROC of 0.5 here is about 0.05.
    assert abs(auroc(cross_fitted(features, noise, groups), noise) - 0.5) < 0.15


def test_cross_fitting_never_sees_the_frame_that_it_judges() -> None:
    count = 40
    groups = [f"frame{number // 4}" for number in range(count)]
    # Each frame has a mark of its own and one outcome: all there is to learn is which frame it is.
    features = np.repeat(np.eye(10), 4, axis=0)
    hits = np.repeat([True, False] * 5, 4)
    seen = train_head(features, hits).predict(features)
    assert auroc(seen, hits) > 0.95
    assert auroc(cross_fitted(features, hits, groups), hits) < 0.7


def test_a_head_is_no_freer_than_pays() -> None:
    """One direction tells, and sixty rows: with 32 components there would be more to learn than rows tell."""
    rng = np.random.default_rng(3)
    level = rng.normal(size=60)
    features = np.concatenate(
        [level[:, None] + 0.5 * rng.normal(size=(60, 20)), rng.normal(size=(60, 60))], axis=1
    )
    hits = level + 0.5 * rng.normal(size=60) > 0
    groups = [f"frame{number // 2}" for number in range(60)]
    regularization = choose_regularization(features, hits, groups)
    assert regularization.components <= 8
    free = auroc(cross_fitted(features, hits, groups), hits)
    assert auroc(cross_fitted(features, hits, groups, regularization), hits) > free


def test_training_again_gives_the_same_head() -> None:
    features, hits, _ = rows()
    assert np.array_equal(train_head(features, hits).out, train_head(features, hits).out)


def test_probabilities_are_probabilities_and_not_far_off() -> None:
    features, hits, groups = rows(800)
    confidence = cross_fitted(features, hits, groups)
    assert ((confidence > 0) & (confidence < 1)).all()
    high = confidence > 0.8
    assert high.sum() > 50
    assert hits[high].mean() > 0.75


def test_nothing_to_learn_from_is_an_error() -> None:
    features, hits, groups = rows(40)
    with pytest.raises(ConfidenceError, match="all right"):
        train_head(features, np.ones_like(hits))
    assert (cross_fitted(features, np.zeros_like(hits), groups) == 0).all()
    with pytest.raises(ConfidenceError, match="train them again"):
        train_head(features, hits).predict(features[:, :7])


def test_a_network_round_trips_through_its_folder(tmp_path: Path) -> None:
    features, hits, _ = rows(60)
    made = ConfidenceNetwork(
        {"correctness": {0: train_head(features, hits), END: train_head(features, ~hits)}},
        {"data": "made up"},
    )
    made.save(tmp_path)
    again = ConfidenceNetwork.of_files(files_of(tmp_path), tmp_path)
    for stage in (0, END):
        before = made.confidence("correctness", stage, features[0])
        assert again.confidence("correctness", stage, features[0]) == pytest.approx(before, rel=1e-12)
    assert again.confidence("agreement", 0, features[0]) is None
    assert again.about == {"data": "made up"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, WEIGHTS]


@pytest.mark.parametrize("name", [FILE, WEIGHTS])
def test_a_damaged_folder_is_one_line(tmp_path: Path, name: str) -> None:
    features, hits, _ = rows(60)
    ConfidenceNetwork({"agreement": {0: train_head(features, hits)}}, {}).save(tmp_path)
    (tmp_path / name).write_bytes(b"\x00{")
    with pytest.raises(ConfidenceError, match="train it again") as caught:
        ConfidenceNetwork.of_files(files_of(tmp_path), tmp_path)
    assert "\n" not in str(caught.value)


def test_features_of_prompts_and_tokens() -> None:
    assert prompt_features("Are there ships?").shape == (PROMPT_BUCKETS,)
    assert np.array_equal(prompt_features("are there SHIPS ?"), prompt_features("Are there ships?"))
    assert not np.array_equal(prompt_features("are there trees?"), prompt_features("are there ships?"))
    assert token_features([np.log(0.5), np.log(0.125)]) == pytest.approx([0.25, 0.125, 0.125])
    assert token_features([]).tolist() == [0, 0, 0]


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 4)), (rng.random(9) > 0.5).astype(float)
    weights = [rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=3), rng.normal(size=1)]

    def loss() -> float:
        logits = np.tanh(x @ weights[0] + weights[1]) @ weights[2] + weights[3][0]
        return float(np.mean(np.logaddexp(0, logits) - y * logits))

    for weight, slope in zip(weights, _slopes(x, y, weights), strict=True):
        place = (0,) * weight.ndim
        before = loss()
        weight[place] += 1e-6
        assert (loss() - before) / 1e-6 == pytest.approx(slope[place], abs=1e-4)
        weight[place] -= 1e-6
