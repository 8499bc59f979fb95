"""The supported formats, their detection, and the conversion of a file to a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from traces.errors import TraceError, TraceInputError
from traces.recordings import (
    columns,
    contact_reports,
    dish_history,
    intervals,
    ion,
    iperf3,
    lens,
    mahimahi,
    mahimahi_log,
    ping,
    satnogs,
    speedtest,
)
from traces.recordings.completion import changed, complete
from traces.recordings.options import OWN, check_options, given_fields
from traces.recordings.plausibility import check_detected
from traces.recordings.recording import Assumptions, Recording
from traces.recordings.text_encoding import as_utf8
from traces.trace import Trace
from traces.trace_file import parse_trace

_OWN_START = b"# spaceverse-trace"
_HEAD_BYTES = 16_384


@dataclass(frozen=True)
class Format:
    """A format of recordings.

    Args:
        name: name of the format, for example for `--from`.
        about: description in one line.
        sniff: function that tells from a file's beginning whether it has this format.
        read: function that reads a file, from its bytes, its name for messages and the assumptions.
    """

    name: str
    about: str
    sniff: Callable[[bytes], bool]
    read: Callable[[bytes, str, Assumptions], Recording]


FORMATS = {
    known.name: known
    for known in (
        Format("lens-irtt", "LENS: timestamp,rtt,uplink,downlink (ns, ms)", lens.sniff_irtt, lens.read_irtt),
        Format("lens-ping", "LENS: timestamp,rtt (s, ms)", lens.sniff_ping, lens.read_ping),
        Format("ping", "output of ping, best with -D", ping.sniff, ping.read),
        Format(
            "wetlinks-ping", "WetLinks net_ping", intervals.sniff_wetlinks_ping, intervals.read_wetlinks_ping
        ),
        Format(
            "wetlinks-iperf",
            "WetLinks net_iperf",
            intervals.sniff_wetlinks_iperf,
            intervals.read_wetlinks_iperf,
        ),
        Format(
            "road-iperf", "Starlink on the Road iperf", intervals.sniff_road_iperf, intervals.read_road_iperf
        ),
        Format("iperf3", "iperf3: text or JSON", iperf3.sniff, iperf3.read),
        Format(
            "speedtest",
            "speedtest, speedtest-cli, librespeed-cli: CSV or JSON",
            speedtest.sniff,
            speedtest.read,
        ),
        Format("dish-history", "Starlink dish: get_history (JSON)", dish_history.sniff, dish_history.read),
        Format("ion", "ION contact plan", ion.sniff, ion.read),
        Format("satnogs", "SatNOGS observations (JSON)", satnogs.sniff, satnogs.read),
        Format("gmat", "GMAT ContactLocator report", contact_reports.sniff_gmat, contact_reports.read_gmat),
        Format(
            "stk", "STK access or AER report (text, CSV)", contact_reports.sniff_stk, contact_reports.read_stk
        ),
        Format(
            "mahimahi",
            "mahimahi: the ms of each delivery opportunity of 1500 bytes",
            mahimahi.sniff,
            mahimahi.read,
        ),
        Format(
            "mahimahi-log",
            "log of mm-link, of mahimahi or LeoReplayer",
            mahimahi_log.sniff,
            mahimahi_log.read,
        ),
        Format(
            "leoreplayer-delay",
            "LeoReplayer: one delay in ms per 10 ms",
            mahimahi.sniff_delays,
            mahimahi.read_delays,
        ),
        Format("csv", "plain CSV, with --columns", columns.sniff, columns.read),
    )
}


def format_of(data: bytes, name: str, columns: str | None = None) -> str:
    """Return the name of a file's format, detected from its beginning; OWN for a trace.

    With a declaration of columns, any other file is "csv".

    Raises:
        TraceError: The file has none of the formats.
    """
    head = as_utf8(data[:_HEAD_BYTES])
    if head.startswith(_OWN_START):
        return OWN
    if columns:
        return "csv"
    form = next((known.name for known in FORMATS.values() if known.sniff(head)), None)
    if form is None:
        raise TraceError(
            f"{name}, line 1: expected a known format; found none of {', '.join(FORMATS)};"
            " name the format with --from, or declare the columns of a CSV file with --columns"
        )
    return form


def parse_recording(data: bytes, name: str, assumptions: Assumptions, form: str | None = None) -> Trace:
    """Return the trace that a recording's bytes describe.

    Args:
        data: the file's content.
        name: the file's name in error messages and notes.
        assumptions: values that the recording lacks.
        form: name of the format; None to detect it.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    detected = form is None
    form = form or format_of(data, name, assumptions.columns)
    check_options(name, form, given_fields(assumptions))
    if form == OWN:
        return changed(parse_trace(data, name=name), assumptions)
    recording = _read(data, name, assumptions, form)
    if detected:
        check_detected(recording)
    return complete(recording, assumptions)


def _read(data: bytes, name: str, assumptions: Assumptions, form: str) -> Recording:
    if form not in FORMATS:
        raise TraceError(f"unknown format {form!r}; expected one of {', '.join([OWN, *FORMATS])}")
    data = as_utf8(data)
    if not data or data.isspace():
        raise TraceError(f"{name}, line 1: expected a {form} recording; the file is empty")
    try:
        return FORMATS[form].read(data, name, assumptions)
    except TraceError:
        raise
    except TraceInputError as fault:  # from an orbit or a station in the file
        raise TraceError(f"{name}: {fault}") from None


def read_recording(
    path: str | Path,
    assumptions: Assumptions | None = None,
    form: str | None = None,
    *,
    up_file: str | Path | None = None,
    delay_file: str | Path | None = None,
) -> Trace:
    """Read a recording, and optionally the files that complete it, into a trace.

    Args:
        path: the recording, in any format of `FORMATS`, or a trace.
        assumptions: values that the recording lacks; each is noted in the trace's header.
        form: name of the format; None to detect it from the content.
        up_file: a mahimahi trace of the uplink, if `path` is that of the downlink.
        delay_file: a recording of the delay, from LeoReplayer or in any other format.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    assumptions = assumptions or Assumptions()
    data, name = _bytes(path), str(path)
    detected = form is None
    form = form or format_of(data, name, assumptions.columns)
    delay_form = None if delay_file is None else form_of_delays(delay_file)
    check_options(name, form, given_fields(assumptions), delay_form)
    if delay_file is not None:
        assumptions = replace(assumptions, delays=read_delays(delay_file, assumptions))
    if form == OWN:
        if up_file is not None or delay_file is not None:
            raise TraceError(f"{name} is a whole trace; expected no --up-file or --delay-from")
        return changed(parse_trace(data, name=name), assumptions)
    recording = _read(data, name, assumptions, form)
    if detected:
        check_detected(recording)
    if up_file is not None:
        if form != "mahimahi":
            raise TraceError(f"{name}: --up-file has no effect on a {form} recording; it is for mahimahi")
        if assumptions.up_bit_s is not None:
            raise TraceError(f"{name}: expected only one of --up-file and --up-rate")
        recording = mahimahi.with_uplink(
            recording, _read(_bytes(up_file), str(up_file), assumptions, "mahimahi")
        )
    return complete(recording, assumptions)


def read_delays(path: str | Path, assumptions: Assumptions) -> Trace | Recording:
    """Read a recording for its delays; a file of integers is taken for LeoReplayer's.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    data, name = _bytes(path), str(path)
    form = _form_of_delays(data, name)
    if form == OWN:
        return parse_trace(data, name=name)
    return _read(data, name, assumptions, form)


def form_of(path: str | Path, columns: str | None = None) -> str:
    """Return the format of a file, detected from its beginning; see `format_of`.

    Raises:
        TraceError: The file cannot be read, or has none of the formats.
    """
    return format_of(_bytes(path, _HEAD_BYTES), str(path), columns)


def form_of_delays(path: str | Path) -> str:
    """Return the format of a recording that is read for its delays.

    Raises:
        TraceError: The file cannot be read, or has none of the formats.
    """
    return _form_of_delays(_bytes(path, _HEAD_BYTES), str(path))


def _form_of_delays(data: bytes, name: str) -> str:
    first = as_utf8(data[:_HEAD_BYTES]).split(b"\n", 1)[0].strip()
    return "leoreplayer-delay" if first.isdigit() else format_of(data, name)


def _bytes(path: str | Path, most: int = -1) -> bytes:
    try:
        with Path(path).open("rb") as source:
            return source.read(most)
    except OSError as fault:
        raise TraceError(f"cannot read {path}: {fault.strerror or fault}") from fault
