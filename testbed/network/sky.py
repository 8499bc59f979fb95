"""The sky: one anonymous network namespace in which every emulated link is a bridge with two ports.

    satellite host --veth--[ port | bridge | port ]--veth-- ground host

All shaping happens at the ports.  Nothing on the host machine is named, changed or left behind: the
namespace is held by file descriptors of this process, so the kernel removes it whenever the process ends.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from testbed.errors import CapabilityError, InputError, LinkError, TestbedError
from testbed.kernel.interface_flags import IFF_UP
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.link import SkyLink, differences
from testbed.network.link_end import PORT_GROUP, LinkEnd, set_if_known
from testbed.network.link_state import Direction, LinkState, OnContactEnd
from testbed.network.shapers.base import Shaper
from testbed.network.shapers.choice import choose_shaper

_LOG = logging.getLogger(__name__)

# A look costs a slow processor milliseconds; looking more often would take rate from the links of a guest.
WATCH_EVERY_S = 0.25


class Sky:
    """The namespace of the links, the links in it, and their shaper.

    Args:
        shaper: "nfqueue" or "netem" (CapabilityError if this machine cannot), a `Shaper`, a function that
            makes one from the sky's namespace path, or None for the better one that works here.
    """

    def __init__(self, shaper: str | Shaper | Callable[[str], Shaper] | None = None) -> None:
        self._links: dict[str, SkyLink] = {}
        self._numbers = itertools.count(1)
        self._closing = ExitStack()
        with ExitStack() as building:
            self.namespace = building.enter_context(NetworkNamespace.create("sky"))
            for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
                set_if_known(self.namespace, family, "0")
            # Bridges send no packets of their own.
            set_if_known(self.namespace, "ipv6/conf/default/disable_ipv6", "1")
            self.shaper = _make_shaper(shaper, self.namespace.path)
            building.callback(self.shaper.close)
            self._failure: TestbedError | None = None
            self._closed = threading.Event()
            watcher = threading.Thread(target=self._watch, name="sky watch", daemon=True)
            watcher.start()
            building.callback(watcher.join)
            building.callback(self._closed.set)
            self._closing = building.pop_all()
        _LOG.info("sky %s with shaper %s (%s)", self.namespace.path, self.shaper.name, self.shaper.how())

    @property
    def netns_path(self) -> str:
        """Path of the sky's namespace, for setns or `nsenter --net=`."""
        return self.namespace.path

    @property
    def links(self) -> dict[str, SkyLink]:
        """The links that exist now, by name."""
        return dict(self._links)

    def add_link(
        self,
        name: str,
        satellite: LinkEnd,
        ground: LinkEnd,
        on_contact_end: OnContactEnd = OnContactEnd.PURGE,
    ) -> SkyLink:
        """Build a link between two ends; it starts down.

        Raises LinkError, and then leaves nothing; CapabilityError if the shaper cannot hold packets.
        """
        if name in self._links:
            raise InputError(f"a link named {name!r} exists already; give each link its own link_name")
        if on_contact_end is OnContactEnd.HOLD and not self.shaper.can_hold:
            raise CapabilityError(
                f"link {name}: the {self.shaper.name} shaper cannot hold packets for the next contact; "
                "use the nfqueue shaper, or on_contact_end purge"
            )
        link = SkyLink(self, name, next(self._numbers), satellite, ground, on_contact_end)
        self._links[name] = link
        _LOG.info("link %s built", name)
        return link

    def set_links(self, requested: Mapping[str, tuple[LinkState, LinkState]]) -> None:
        """Write (down, up) of many links by name, and read them back; as `SkyLink.set` for each, and cheaper.

        Raises LinkError if the shaper holds something else than was requested; such links are then down.
        """
        together = {}
        for name, states in requested.items():
            link = self._links.get(name)
            if link is None:
                raise LinkError(f"there is no link named {name!r} in this sky")
            if link.goes_on_with(*states):
                together[link] = states
            else:
                link.set(*states)
        if not together:
            return
        with ExitStack() as locks:
            for link in sorted(together, key=lambda link: link.number):  # in one order: two threads may come
                locks.enter_context(link.lock)
            self._set_together(together)

    def _set_together(self, requested: Mapping[SkyLink, tuple[LinkState, LinkState]]) -> None:
        orders = [
            (link.name, way, state)
            for link, states in requested.items()
            for way, state in zip(Direction, states, strict=True)
        ]
        try:
            for link, states in requested.items():
                link.stop_super_packets(*states)
            held = self.shaper.apply_all(orders)
            for (name, way, state), found in zip(orders, held, strict=True):
                if wrong := differences(state, found):
                    raise LinkError(f"link {name} {way.value}: {wrong}")
            for link, states in requested.items():
                link.start_super_packets(*states)
        except BaseException:
            for link in requested:
                link.distrust()
            raise

    def check(self) -> None:
        """Raise ShaperDiedError if the shaper has ended, LinkError if a link has lost an end."""
        if self._failure is not None:
            raise self._failure
        self.shaper.check()
        for link in self.links.values():
            if link.failure is not None:
                raise link.failure

    def counters(self) -> dict[str, Any]:
        """Return the packet counters of every link, for JSON.

        {"shaper": name, "how": words, "links": {link: {"down": {...}, "up": {...}}}}, the innermost as
        the shaper's `counters` gives them. Raises LinkError.
        """
        return {
            "shaper": self.shaper.name,
            "how": self.shaper.how(),
            "links": {
                name: {way.value: dict(self.shaper.counters(name, way)) for way in Direction}
                for name in self.links
            },
        }

    def _watch(self) -> None:
        """Take down links that nothing plays any more, whether or not anybody else checks."""
        while not self._closed.wait(WATCH_EVERY_S):
            try:
                self.shaper.check()
            except TestbedError as error:
                if self._closed.is_set():
                    return
                self._failure = error
                for link in self.links.values():
                    link.fail(error)
                return
            with suppress(LinkError):  # of a namespace that is being closed
                links = self.links.values()  # before what is there: one that is added meanwhile is not gone
                flags = self.namespace.flags()
                up = {port for port, its in flags.items() if its & IFF_UP}
                for link in links:
                    link.fail_without_ends(flags)
                    link.distrust_without_carrier(up)

    def forget(self, link: SkyLink) -> None:
        """Drop a link that has closed itself."""
        self._links.pop(link.name, None)

    def remove_links(self) -> None:
        """Remove every link at once, as far as others can see: the bridges end with the sky."""
        self._closed.set()
        with ExitStack() as closing:  # each one, also after an error
            links = list(self._links.values())
            if not links:
                return
            for link in links:
                link.leave_bridges()
                closing.callback(link.close)
            closing.callback(self.namespace.delete_group, PORT_GROUP)
            for link in links:
                closing.callback(self.shaper.detach, link.name)

    def close(self) -> None:
        """Take down every link, end the shaper, and give back the namespace. May be called twice."""
        self._closed.set()
        with self._closing:
            self._closing.callback(self.remove_links)

    def __enter__(self) -> Sky:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_shaper(shaper: str | Shaper | Callable[[str], Shaper] | None, netns_path: str) -> Shaper:
    if shaper is None or isinstance(shaper, str):
        shaper = choose_shaper(shaper)
    return shaper(netns_path) if callable(shaper) else shaper
