"""How late links followed their traces: on a busy machine a contact begins later than its trace says."""

from __future__ import annotations

from collections.abc import Sequence

LATE_S = 0.02  # the player applies the changes of 4 ms together; an idle machine stays below 10 ms


def lateness_warning(late_s: Sequence[float]) -> str | None:
    """Return a warning if a change of a link came late; None if all came in time.

    Args:
        late_s: lateness of each change, in seconds.
    """
    late = [one for one in late_s if one > LATE_S]
    if not late:
        return None
    return (
        f"links changed up to {max(late) * 1e3:.0f} ms late ({len(late)} of {len(late_s)} changes by more "
        f"than {LATE_S * 1e3:.0f} ms), so that contacts and rates were shifted: use fewer nodes, or a less "
        "busy machine"
    )
