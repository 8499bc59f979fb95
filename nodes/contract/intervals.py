"""95 % intervals of a share: the same in the results of a run, of an evaluation and of a training.

The score interval of Wilson (1927) holds at the edges, where bootstrap intervals collapse: 16 of 16 gives
80.6 to 100 %. Rows that are not independent, such as prompts about one frame, count as fewer: their number
is divided by the design effect (Kish 1965), the variance between groups over that of independent rows.
Franco, Little, Louis and Slud (2019, Journal of Survey Statistics and Methodology 7) compare such
intervals. Where all rows are alike the effect is unknown: a group counts as one row.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

Z_95 = 1.959963984540054


def wilson_interval(hits: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of a share of independent rows (Wilson 1927); (0, 1) for n = 0.

    Args:
        hits: number of hits.
        n: number of rows; both may be fractions, for an effective number.
        z: quantile of the normal distribution; that of 95 % by default.
    """
    if n <= 0:
        return 0.0, 1.0
    p = hits / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def share_interval(groups: Sequence[Hashable], hits: Sequence[bool]) -> tuple[float, float]:
    """Return the interval of a share of rows in groups; that of Wilson if each row is a group of its own."""
    n = effective_rows(groups, hits)
    return wilson_interval(sum(hits) / len(hits) * n, n) if len(hits) else (0.0, 1.0)


def effective_rows(groups: Sequence[Hashable], hits: Sequence[bool]) -> float:
    """Return the number of independent rows that would determine the share of hits as well as these do."""
    n, count = len(hits), len(set(groups))
    p = sum(hits) / n if n else 0.0
    if not 0 < p < 1 or count < 2:
        return float(count)
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for group, hit in zip(groups, hits, strict=True):
        sums[group] += hit - p
    between = count / (count - 1) * sum(value * value for value in sums.values()) / (n * n)
    independent = p * (1 - p) / (n - 1)
    return n / max(1.0, between / independent)
