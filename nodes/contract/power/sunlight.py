"""Power of a satellite's solar panels over scenario time, as a run computes it ahead."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from nodes.contract.strict import Strict


class SunRow(Strict):
    """Power of the panels from `time_s` until the next row.

    Args:
        time_s: begin of the row.
        input_w: electrical power.
        sunlit: whether the satellite sees the sun.
    """

    time_s: float = Field(ge=0, allow_inf_nan=False)
    input_w: float = Field(ge=0, allow_inf_nan=False)
    sunlit: bool


class Sunlight(Strict):
    """Power of the panels by scenario time; the last row holds for ever."""

    rows: tuple[SunRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Sunlight:
        times_s = [row.time_s for row in self.rows]
        if times_s[0] != 0 or any(late <= early for early, late in pairwise(times_s)):
            raise ValueError("the rows do not begin at 0, or are not in order")
        return self

    def energy_j(self, begin_s: float, end_s: float) -> float:
        """Return the energy between two scenario times."""
        ends_s = [*(row.time_s for row in self.rows[1:]), float("inf")]
        return sum(
            row.input_w * max(0.0, min(end_s, until_s) - max(begin_s, row.time_s))
            for row, until_s in zip(self.rows, ends_s, strict=True)
        )
