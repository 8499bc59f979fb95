"""The contact rule: what cannot come down before the contact ends is answered on board instead.

A frame's part of the contact is the remaining capacity without the queue, divided among the frames that are
likely to be sent before the contact ends. Policies with this rule have `contact_aware` set.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodes.policies.situation import Situation


def part_bytes(situation: Situation, sent_share: float) -> float:
    """Return this frame's part of the contact's remaining capacity.

    Args:
        situation: The frame.
        sent_share: Expected share of coming frames that are sent.
    """
    left_bytes = situation.contact.left_bytes - situation.queue.size_bytes
    return left_bytes / (1 + sent_share * situation.queue.captures_left)


def largest_fitting(situation: Situation, shares: Sequence[float], sent_share: float) -> float | None:
    """Return the largest share of the frame's size that fits its part; None if none does."""
    part = part_bytes(situation, sent_share) / situation.whole_bytes
    return max((share for share in shares if share <= part), default=None)
