"""All routes of a run, computed before it begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

from testbed.errors import InputError
from testbed.network.routes.choice import Choice, Parents, has_alternatives, shortest_delay
from testbed.network.routes.contact_graph import ContactGraph, OpenLink, RoutedLink

# Contacts are left this long before they end if there is another way, so that their queues are empty then:
# those hold 0.2 s of traffic (testbed/network/player.py). The rest is for routes that are set late.
CLOSING_S = 0.5
EVERY_S = 5.0  # between two choices among links that stay open, whose delays change
ANYBODY = ""  # destination of the route to the parent

Table = Mapping[str, str]
"""Next hop by destination; `ANYBODY` stands for all others."""


@dataclass(frozen=True)
class RouteStep:
    """The routes from a moment on.

    Args:
        time_s: scenario time.
        parents: the next node on the way to the root, of each node that has one.
    """

    time_s: float
    parents: Parents

    def path(self, node: str, root: str) -> tuple[str, ...]:
        """Return the nodes from `node` to the root; () if there is no way."""
        found = [node]
        while found[-1] != root:
            parent = self.parents.get(found[-1])
            if parent is None or parent in found:
                return ()
            found.append(parent)
        return tuple(found)

    def tables(self, root: str) -> dict[str, dict[str, str]]:
        """Return the routes of each node: to its parent, and to every node behind each of its children."""
        tables: dict[str, dict[str, str]] = {}
        for node, parent in self.parents.items():
            tables.setdefault(node, {})[ANYBODY] = parent
            path = self.path(node, root)
            for child, above in pairwise(path):
                tables.setdefault(above, {})[node] = child
        return tables


@dataclass(frozen=True)
class Stay:
    """An interval in which a node's path to the root is the same.

    Args:
        begin_s: scenario time.
        end_s: likewise.
        path: the nodes from the node to the root; () while there is none.
    """

    begin_s: float
    end_s: float
    path: tuple[str, ...]


@dataclass(frozen=True)
class RouteSchedule:
    """The routes of a network over time.

    Args:
        root: the node that all others talk to.
        links: all links.
        steps: the routes from each moment on at which some change, in order of time; the first is at 0 s.
        end_s: end of the last step.
        graph: the contacts of the links.
        choose: chose the routes.
    """

    root: str
    links: tuple[RoutedLink, ...]
    steps: tuple[RouteStep, ...]
    end_s: float
    graph: ContactGraph = field(compare=False, repr=False)
    choose: Choice = field(default=shortest_delay, compare=False, repr=False)

    @classmethod
    def compute(
        cls,
        links: Sequence[RoutedLink],
        root: str,
        choose: Choice = shortest_delay,
        *,
        closing_s: float = CLOSING_S,
        every_s: float = EVERY_S,
    ) -> RouteSchedule:
        """Compute the routes: anew whenever a link opens, begins to close or closes.

        Args:
            links: all links.
            root: the node that all others talk to.
            choose: chooses the routes of a moment.
            closing_s: how long before its end a contact is left if there is another way.
            every_s: time between two choices among links that stay open.

        Raises:
            InputError: `choose` named a parent to which no link is open.
        """
        graph = ContactGraph(links, closing_s)
        steps: list[RouteStep] = []
        before: frozenset[tuple[str, bool]] | None = None
        chooses = False
        for time_s, open_links in graph.over(graph.moments(every_s)):
            now = frozenset((link.link, link.closing) for link in open_links)
            if now == before and not chooses:
                continue
            if now != before:
                before, chooses = now, has_alternatives(open_links)
            parents = choose(open_links, root)
            _check(parents, open_links, time_s)
            if not steps or parents != steps[-1].parents:
                steps.append(RouteStep(time_s, parents))
        return cls(root, tuple(links), tuple(steps) or (RouteStep(0.0, {}),), graph.end_s, graph, choose)

    def without(self, time_s: float, closed: Collection[str]) -> RouteStep:
        """Return the routes at a moment at which some links are closed, whatever was foreseen."""
        time_s = max(time_s, 0.0)
        if not self.graph.open_at(time_s, closed):
            return self.at(time_s)
        links = [link for link in self.graph.at(time_s) if link.link not in closed]
        return RouteStep(time_s, self.choose(links, self.root))

    def at(self, time_s: float) -> RouteStep:
        """Return the routes at a moment; before 0 s those of 0 s."""
        index = bisect_right(self.steps, time_s, key=attrgetter("time_s")) - 1
        return self.steps[max(index, 0)]

    def path(self, node: str, time_s: float) -> tuple[str, ...]:
        """Return the nodes from `node` to the root at a moment; () if there is no way."""
        return self.at(time_s).path(node, self.root)

    def stays(self, node: str) -> Iterator[Stay]:
        """Yield the paths of a node to the root, one after another."""
        begin_s, path = 0.0, self.steps[0].path(node, self.root)
        for step in self.steps[1:]:
            new = step.path(node, self.root)
            if new != path:
                yield Stay(begin_s, step.time_s, path)
                begin_s, path = step.time_s, new
        if self.end_s > begin_s:
            yield Stay(begin_s, self.end_s, path)


def _check(parents: Parents, links: Sequence[OpenLink], time_s: float) -> None:
    """Check what a choice returned. Raises InputError."""
    joined = {end for link in links for end in (link.ends, link.ends[::-1])}
    for pair in parents.items():
        if pair not in joined:
            raise InputError(
                f"routes at {time_s:g} s: {pair[0]} is to send by {pair[1]}, but no link between them is"
                " open; correct the function that chooses the routes"
            )
