"""Cells of an evaluation: one policy over the links of one case.

A cell is a value that can be computed in any process on any machine that has the same package, models and
data; its result depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodes.contract.evaluation import JobCase, JobPass
from nodes.contract.queueing import SendOrder
from nodes.data.pairs import Pair
from nodes.errors import DataError
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.lab.evaluation.dealing import deal
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.event_model.replay import ReplayedPair, replay
from nodes.lab.evaluation.outcomes import Outcomes, image_digest
from nodes.onboard.judge import Judge
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.policies import policy_named

ORACLE = "oracle"  # the policy that knows every answer beforehand


@dataclass(frozen=True)
class Setting:
    """What all cells of an evaluation have in common.

    Attributes:
        pairs: The test pairs.
        images: SHA-256 of the image of each pair.
        times: Compute times.
        judge: Confidence network and attention heads.
        answer_within_s: Deadline of an answer, after capture.
        send_order: Order in which images that wait for a contact are sent.
        ground_servers: Copies of the regular model on the ground.
        seed: Seed of the order in which frames are captured.
    """

    pairs: tuple[Pair, ...]
    images: tuple[bytes, ...]
    times: ComputeTimes
    judge: Judge
    answer_within_s: float
    send_order: SendOrder
    ground_servers: int
    seed: int

    def evaluated_pairs(self, outcomes: Outcomes) -> list[EvaluatedPair]:
        """Return the pairs with their outcomes.

        Raises:
            DataError: An image is missing on this machine, or is another one than where the job began.
        """
        for pair, digest in zip(self.pairs, self.images, strict=True):
            try:
                same = image_digest(pair.image) == digest
            except OSError as error:
                raise DataError(f"{pair.image}: cannot be read: {error.strerror}") from None
            if not same:
                raise DataError(f"{pair.image} differs from the file where the evaluation was started")
        return [EvaluatedPair(pair, outcomes, self.times, self.judge) for pair in self.pairs]


@dataclass(frozen=True)
class Cell:
    """One policy over one case.

    Attributes:
        setting: A pickled `Setting`: equal for all cells, so that a worker unpickles it once.
        case: The links, and the times of capture.
        policy: Name or file of the policy.
        parameters: Parameters that were selected for it; None for its defaults.
    """

    setting: bytes
    case: JobCase
    policy: str
    parameters: Mapping[str, Any] | None


def replay_cell(setting: Setting, evaluated_pairs: Sequence[EvaluatedPair], cell: Cell) -> list[ReplayedPair]:
    """Replay the pairs over each pass of a cell's case."""
    policy = policy_named(cell.policy, cell.parameters)
    replayed: list[ReplayedPair] = []
    frames = [evaluated.pair.frame for evaluated in evaluated_pairs]
    for pass_, dealt in zip(cell.case.passes, deal(frames, cell.case, setting.seed), strict=True):
        captures = [(time_s, evaluated_pairs[index]) for time_s, index in dealt]
        if captures:
            for result in replay(
                policy,
                captures,
                line_of(pass_),
                answer_within_s=setting.answer_within_s,
                send_order=setting.send_order,
                servers=setting.ground_servers,
                reporting_s=setting.times.reporting_s,
                with_foresight=cell.policy == ORACLE,
            ):
                result.link, result.trace_end_s = pass_.name, pass_.end_s
                replayed.append(result)
    return replayed


def line_of(pass_: JobPass) -> LinkForecast:
    """Return the link of a pass."""
    return LinkForecast([ForecastRow(**row.model_dump()) for row in pass_.rows], pass_.end_s)
