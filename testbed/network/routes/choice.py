"""How routes are chosen among the links that are open at a moment; a function, which can be replaced."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from testbed.network.routes.contact_graph import OpenLink

Parents: TypeAlias = dict[str, str]
Choice: TypeAlias = Callable[[Sequence[OpenLink], str], Parents]
"""Returns the parent of each node that can reach the root: its neighbour on the way there."""

LAST_RESORT_S = 1e6  # longer than any way over links that are not closing


def shortest_delay(links: Sequence[OpenLink], root: str) -> Parents:
    """Choose the ways with the least delay; over a link that is closing only where there is no other way."""

    def longer(cost: float, link: OpenLink, _: str) -> float:
        return cost + link.delay_s + (LAST_RESORT_S if link.closing else 0.0)

    return _tree(links, root, 0.0, longer)


def most_data(links: Sequence[OpenLink], root: str) -> Parents:
    """Choose the ways that can carry most to the root before one of their links closes.

    The least of a way's links counts. Of ways that carry the same, one with fewer links is taken.
    """

    def narrower(cost: tuple[float, int], link: OpenLink, node: str) -> tuple[float, int]:
        return max(cost[0], -link.bits_from(node)), cost[1] + 1

    return _tree(links, root, (-math.inf, 0), narrower)


CHOICES: Mapping[str, Choice] = {"delay": shortest_delay, "data": most_data}


def _tree(links: Sequence[OpenLink], root: str, nothing: object, further: Callable[..., object]) -> Parents:
    """Return the tree of the cheapest ways to the root, Dijkstra's.

    Args:
        links: the open links.
        root: the root.
        nothing: cost of the root itself.
        further: returns the cost of a node, which is never below that of its parent: from the parent's cost,
            the link to it, and the node.
    """
    at: dict[str, list[OpenLink]] = {}
    for link in links:
        for end in link.ends:
            at.setdefault(end, []).append(link)
    parents: Parents = {}
    order = itertools.count()  # of equal costs the first found, so that the same links give the same routes
    waiting: list[tuple[object, int, str, str | None]] = [(nothing, next(order), root, None)]
    done: set[str] = set()
    while waiting:
        cost, _, node, parent = heapq.heappop(waiting)
        if node in done:
            continue
        done.add(node)
        if parent is not None:
            parents[node] = parent
        for link in at.get(node, ()):
            other = link.other(node)
            if other not in done:
                heapq.heappush(waiting, (further(cost, link, other), next(order), other, node))
    return parents


def has_alternatives(links: Sequence[OpenLink]) -> bool:
    """Return whether there is more than one way between any two nodes."""
    group: dict[str, str] = {}

    def first_of(node: str) -> str:
        while (above := group.setdefault(node, node)) != node:
            group[node] = group.setdefault(above, above)
            node = above
        return node

    for link in links:
        one, other = (first_of(end) for end in link.ends)
        if one == other:
            return True
        group[one] = other
    return False
