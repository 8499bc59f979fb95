"""Options that only some formats use, so that one without effect can be refused with its name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

from traces.errors import TraceError
from traces.recordings.recording import Assumptions

OWN = "spaceverse"
_PROBES = ("lens-irtt", "lens-ping", "ping")
_TEXT_TIMES = ("wetlinks-ping", "wetlinks-iperf", "road-iperf", "csv")
_USED_BY = {
    "zone": ("--zone", ("ping", "speedtest", *_TEXT_TIMES)),
    "gaps": ("--gaps", (*_PROBES, *_TEXT_TIMES, "iperf3", "speedtest")),
    "interval_s": ("--interval", ("ping", "speedtest")),
    "bin_s": ("--bin", ("mahimahi", "mahimahi-log")),
    "outage_s": ("--outage", ("mahimahi", "mahimahi-log", *_PROBES, "dish-history")),
    "loss_window_s": ("loss_window_s", _PROBES),
    "delay_unit": ("--delay-unit", ("leoreplayer-delay",)),
    "range_delay": ("--range-delay", ("ion",)),
    "columns": ("--columns", ("csv",)),
    "separator": ("--separator", ("csv",)),
    "missing": ("--missing", ("csv",)),
}
"""Fields of Assumptions with their options and the formats that use them."""
_OF_RECORDINGS = {"elements": "--tle", "place": "--tle", "delays": "--delay-from"}
_BOTH_WAYS = {"rate_bit_s": "rate", "delay_s": "delay", "loss": "loss"}


def given_fields(assumptions: Assumptions) -> set[str]:
    """Return the names of the fields that differ from their defaults."""
    return {field.name for field in fields(assumptions) if getattr(assumptions, field.name) != field.default}


def check_options(name: str, form: str, given: Collection[str], delay_form: str | None = None) -> None:
    """Raise TraceError for a given field of Assumptions that a file of this format does not use.

    Args:
        name: the file's name, for the message.
        form: the file's format.
        given: names of the fields.
        delay_form: format of the file with the delays, if there is one.
    """
    for field in sorted(given):
        option, forms = _USED_BY.get(field, ("", ()))
        # What lies outside a file of delays is a gap of any recording.
        joined = delay_form is not None and field == "gaps" and form != OWN
        if option and form not in forms and delay_form not in forms and not joined:
            users = ", ".join(forms)
            raise TraceError(f"{name}: {option} has no effect on {_described(form)}; it is for {users}")
    if form != OWN:
        return
    for field, option in _OF_RECORDINGS.items():
        if field in given:
            raise TraceError(f"{name}: {option} has no effect on a trace, which has all delays")
    for field, value in _BOTH_WAYS.items():
        if field in given:
            raise TraceError(
                f"{name}: --{value} has no effect: a trace has the {value} of both directions;"
                f" to replace it, use --down-{value} and --up-{value}"
            )


def _described(form: str) -> str:
    return "a trace" if form == OWN else f"a {form} recording"
