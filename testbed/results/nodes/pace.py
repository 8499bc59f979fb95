"""Answers at another machine's pace (nodes/profiles/pace.py), and whether this machine kept up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodes.contract.events import EventRecord, Paced

# A sleep may end a little late; beside answers that take tenths of a second that does not count.
TOLERATED_S = 5e-3  # real
TOLERATED_SHARE = 0.05  # of the profile's time for an answer, where scenario time runs ahead


@dataclass(frozen=True)
class NodePace:
    """Answers of one node at the pace of a profile.

    Args:
        node: the node's name.
        profile: name of the profile.
        answers: number of answers.
        late: number of answers that came later than on the profile's machine.
        late_s: largest delay of an answer, seconds of scenario time.
    """

    node: str
    profile: str
    answers: int
    late: int
    late_s: float

    def warning(self) -> str | None:
        """Return a warning in one line if this machine was too slow."""
        if not self.late:
            return None
        return (
            f"{self.node}: {self.late} of {self.answers} answers took longer here than in profile "
            f"{self.profile}, by at most {self.late_s:.3f} s: this machine is too slow for the profile"
        )


def node_paces(records: Iterable[EventRecord], speed: float = 1.0) -> tuple[NodePace, ...]:
    """Return the paces of the nodes that follow a profile, sorted by node.

    Args:
        records: the run's events.
        speed: seconds of scenario time in a real one.
    """
    paced: dict[tuple[str, str], list[Paced]] = {}
    for record in records:
        if isinstance(record.event, Paced):
            paced.setdefault((record.node, record.event.profile), []).append(record.event)
    return tuple(
        NodePace(
            node,
            profile,
            len(answers),
            sum(is_late(one, speed) for one in answers),
            max(one.late_s for one in answers),
        )
        for (node, profile), answers in sorted(paced.items())
    )


def is_late(answer: Paced, speed: float) -> bool:
    """Return whether an answer came later than on the profile's machine, at a speed of scenario time."""
    share = 0.0 if speed == 1 else TOLERATED_SHARE
    return answer.late_s > max(TOLERATED_S * speed, share * answer.profile_s)
