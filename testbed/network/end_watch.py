"""Ends of links that another program changed in a host: an interface taken down, an address removed.

Such a link carries nothing, though its shaper and its carrier are as they should be. It is set again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from nodes.contract.board import RESTARTS_MAX, RESTARTS_WITHIN_S, RestartRule
from testbed.errors import LinkError
from testbed.network.contact_link import ContactInterface, ContactLink

EVERY_S = 1.0


class EndWatch:
    """Looks after the ends of links between Mininet hosts.

    Args:
        links: the links, with the addresses that they have now.
    """

    def __init__(self, links: Iterable[ContactLink]) -> None:
        self._ends = [
            (link, number, end)
            for link in links
            for number, end in enumerate((link.intf1, link.intf2))
            if end is not None and end.ip is not None
        ]
        self._rules = [RestartRule() for _ in self._ends]
        self._next_s = 0.0

    def look(self) -> list[tuple[str, int, str]]:
        """Set again what was changed; cheap to call often.

        Returns:
            (name of the link, 0 for the satellite's end and 1 for the ground's, what was changed) of each.

        Raises:
            LinkError: an end is changed again and again.
        """
        now_s = time.monotonic()
        if now_s < self._next_s:
            return []
        self._next_s = now_s + EVERY_S
        found = []
        for (link, number, end), rule in zip(self._ends, self._rules, strict=True):
            change = _change(link, end)
            if change is None:
                continue
            if rule.pause_s(now_s) is None:
                raise LinkError(
                    f"link {link.name}: {change} by another program, again after it was set {RESTARTS_MAX} "
                    f"times within {RESTARTS_WITHIN_S:.0f} s"
                )
            _restore(link, end)
            found.append((link.name, number, change))
        return found


def _change(link: ContactLink, end: ContactInterface) -> str | None:
    assert link.sky is not None  # noqa: S101  # a link that exists has one
    try:
        up, address = link.sky.namespace.look_for_address(end.node.namespace.path, end.name)
    except LinkError:  # it has vanished: the sky tells
        return None
    if not up:
        return f"its interface {end.name} was taken down"
    if address != end.ip:
        return f"the address {end.ip} of its interface {end.name} was removed"
    return None


def _restore(link: ContactLink, end: ContactInterface) -> None:
    with end.namespace() as space:
        space.set_up(end.name, True)
        if f"{end.ip}/{end.prefixLen}" not in space.addresses(end.name):
            space.add_address(end.name, end.ip, end.prefixLen)
    link.introduce()
