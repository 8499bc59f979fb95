"""What `vcgencmd` tells of a Raspberry Pi: power (Pi 5 and its kin only), temperature, throttling.

Raspberry Pi documentation, "vcgencmd"; and "Extra PMIC features on Raspberry Pi 4, Raspberry Pi 5 and Compute
Module 4" (RP-004340-WP) for pmic_read_adc.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from nodes.sensors.reading import PowerReading, SensorError, Temperature

ANSWER_WITHIN_S = 2.0
_RAIL = re.compile(r"^\s*(\w+)_([AV])\s+\w+\(\d+\)=([\d.]+)[AV]\s*$", re.MULTILINE)
_NOW = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


class PmicAdc:
    """The Pi 5's power, from what its power management chip measures of its outputs.

    Raises SensorError on a Pi whose chip measures no currents, and elsewhere.
    """

    source = "vcgencmd pmic_read_adc"
    scope = "the PMIC's rails; without what hangs on 5 V (USB, HATs, fan) and the PMIC's own losses"

    def __init__(self) -> None:
        self.read()

    def read(self) -> PowerReading:
        """Measure now; takes some 10 ms, for it starts a program."""
        rails = rails_w(vcgencmd("pmic_read_adc"))
        if not rails:
            raise SensorError("vcgencmd pmic_read_adc names no rail with current and voltage: is it a Pi 5?")
        return PowerReading(sum(rails.values()), self.source, self.scope, rails)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """What slows the board down: `now`, and what did so `since_boot`."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


def rails_w(text: str) -> dict[str, float]:
    """Power of each rail of which both current and voltage are measured, watts.

    The input (EXT5V) and the clock's battery have no current, so they are none of them. The numbers in
    brackets are the ADC's channels: a rail's current and its voltage have different ones, only the name joins
    them.
    """
    values: dict[str, dict[str, float]] = {}
    for rail, unit, value in _RAIL.findall(text):
        values.setdefault(rail, {})[unit] = float(value)
    return {rail: both["A"] * both["V"] for rail, both in values.items() if len(both) == 2}


def throttling() -> Throttling:
    """What `vcgencmd get_throttled` says. Raises SensorError."""
    text = vcgencmd("get_throttled")
    name, _, value = text.strip().partition("=")
    try:
        bits = int(value, 16)
    except ValueError:
        raise SensorError(f"vcgencmd get_throttled says {text.strip()!r}") from None
    if name != "throttled":
        raise SensorError(f"vcgencmd get_throttled says {text.strip()!r}")
    return Throttling(
        now=tuple(words for bit, words in _NOW.items() if bits >> bit & 1),
        since_boot=tuple(words for bit, words in _NOW.items() if bits >> (bit + 16) & 1),
    )


def temperature() -> Temperature:
    """The processor's, from `vcgencmd measure_temp`. Raises SensorError."""
    text = vcgencmd("measure_temp").strip()
    found = re.fullmatch(r"temp=([\d.]+)'C", text)
    if found is None:
        raise SensorError(f"vcgencmd measure_temp says {text!r}")
    return Temperature("SoC", float(found[1]), "vcgencmd measure_temp")


def vcgencmd(command: str) -> str:
    """What `vcgencmd COMMAND` prints. Raises SensorError."""
    program = shutil.which("vcgencmd")
    if program is None:
        raise SensorError("vcgencmd is not installed: not a Raspberry Pi")
    try:
        done = subprocess.run(
            [program, command], capture_output=True, text=True, check=False, timeout=ANSWER_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"vcgencmd {command}: {error}") from error
    # It says "error=1 ..." and still exits with 0 for a command that the firmware does not know.
    if done.returncode != 0 or done.stdout.startswith("error="):
        said = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
        raise SensorError(f"vcgencmd {command}: {said[-1]}")
    return done.stdout
