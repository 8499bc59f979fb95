"""The choice of a shaper, by what this machine has."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

from testbed.errors import CapabilityError, InputError
from testbed.network.shapers.base import Shaper
from testbed.network.shapers.netem.shaper import NetemShaper, netem_lack, no_netem
from testbed.network.shapers.nfqueue.hook import NFQUEUE_FIX, nfqueue_way
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper

SHAPERS = ("netem", "nfqueue")  # in order of preference


def choose_shaper(name: str | None = None) -> Callable[[str], Shaper]:
    """Return the shaper called `name`; None or "auto" means the better one that this machine has.

    netem comes first: it runs in the kernel, takes no processor time from inference, and carries more links
    and higher rates. nfqueue works where the kernel has no netem.

    Returns:
        A factory that takes the path of the sky's network namespace.

    Raises:
        InputError: there is no shaper of that name.
        CapabilityError: this machine lacks that shaper, or any; the text names the command that fixes it.
    """
    if name not in (None, "auto", *SHAPERS):
        raise InputError(f"there is no shaper {name!r}; choose one of auto, {', '.join(SHAPERS)}")
    if os.geteuid() != 0:
        raise CapabilityError("an emulated link needs root; run the same command with sudo")
    if name in (None, "auto", "netem") and has_netem():
        return NetemShaper
    if name in (None, "auto", "nfqueue") and has_nfqueue():
        return NfqueueShaper
    if name == "netem":
        raise CapabilityError(no_netem())
    fix = f"fix it with: {NFQUEUE_FIX}"
    if name == "nfqueue":
        raise CapabilityError(f"this machine has no NFQUEUE for bridged packets; {fix}")
    raise CapabilityError(f"this machine has neither netem nor NFQUEUE, so no link can be shaped; {fix}")


@functools.cache
def has_netem() -> bool:
    """Return whether netem can be put on an interface here; False without root."""
    return netem_lack() is None


@functools.cache
def has_nfqueue() -> bool:
    """Return whether bridged packets can be queued to user space here; False without root."""
    return nfqueue_way() is not None
