"""State of this machine's wall clock as reported by chronyd."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from nodes.contract.board import ChronyReport

ANSWER_WITHIN_S = 2.0
LOCAL = "7F7F0101"  # chronyd's own clock as reference: it has no source
FIELDS = 14  # of `chronyc -c tracking`, in the order of its report; chronyc(1)


class ChronyError(RuntimeError):
    """The state is unknown; the text is the reason."""


@dataclass(frozen=True, slots=True)
class ChronyState:
    """The figures of `chronyc tracking` that bound the error of CLOCK_REALTIME.

    Attributes:
        reference: id of the current source; LOCAL for the machine's own clock.
        stratum: distance from a reference clock; 0 without a source.
        system_offset_s: remaining difference between the clock and chronyd's estimate of the time.
        frequency_ppm: rate error of the clock without correction.
        skew_ppm: estimated error bound of `frequency_ppm`.
        root_delay_s: network delay to the reference clock.
        root_dispersion_s: error accumulated on the way from the reference clock.
        leap: "Normal", or "Not synchronised".
    """

    reference: str
    stratum: int
    system_offset_s: float
    frequency_ppm: float
    skew_ppm: float
    root_delay_s: float
    root_dispersion_s: float
    leap: str

    @property
    def synchronised(self) -> bool:
        """Whether chronyd has a source."""
        return self.stratum > 0 and self.reference != LOCAL and self.leap != "Not synchronised"

    @property
    def bound_s(self) -> float | None:
        """Largest error of the wall clock if its sources are right; None without a source.

        |system time| + root dispersion + root delay / 2; see chronyc(1), "tracking".
        """
        if not self.synchronised:
            return None
        return abs(self.system_offset_s) + self.root_dispersion_s + self.root_delay_s / 2

    def report(self) -> ChronyReport:
        """Return the figures that are sent to the run."""
        return ChronyReport(
            reference=self.reference,
            stratum=self.stratum,
            synchronised=self.synchronised,
            bound_s=self.bound_s,
            frequency_ppm=self.frequency_ppm,
            skew_ppm=self.skew_ppm,
        )


def parse_tracking(text: str) -> ChronyState:
    """Read the output of `chronyc -c tracking`.

    Raises:
        ChronyError: the text has another format.
    """
    values = text.strip().split(",")
    if len(values) != FIELDS:
        raise ChronyError(f"chronyc printed {len(values)} fields, not {FIELDS}: {text.strip()[:80]!r}")
    try:
        return ChronyState(
            reference=values[1] or values[0],
            stratum=int(values[2]),
            system_offset_s=float(values[4]),
            frequency_ppm=float(values[7]),
            skew_ppm=float(values[9]),
            root_delay_s=float(values[10]),
            root_dispersion_s=float(values[11]),
            leap=values[13],
        )
    except ValueError as error:
        raise ChronyError(f"chronyc printed no valid tracking report: {error}") from None


def read_chrony() -> ChronyState:
    """Query chronyd on this machine.

    Raises:
        ChronyError: chrony is not installed or does not run.
    """
    program = shutil.which("chronyc")
    if program is None:
        raise ChronyError("chronyc is not installed")
    try:
        process = subprocess.run(
            [program, "-n", "-c", "tracking"],
            capture_output=True, text=True, check=False, timeout=ANSWER_WITHIN_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ChronyError(f"chronyc did not answer: {error}") from error
    if process.returncode != 0:
        printed = (process.stdout + process.stderr).strip().splitlines() or ["no message"]
        raise ChronyError(f"chronyc: {printed[-1]}")
    return parse_tracking(process.stdout)
