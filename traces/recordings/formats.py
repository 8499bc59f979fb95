"""Which formats there are, which one a file has, and the way from a file to a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from traces.errors import TraceError, TraceInputError
from traces.recordings import columns, intervals, ion, lens, mahimahi, ping, windows
from traces.recordings.recording import Assumptions, Recording, complete
from traces.trace import Trace
from traces.trace_file import parse_trace

OWN = "spaceverse"
_OWN_START = b"# spaceverse-trace"
_HEAD_BYTES = 16_384


@dataclass(frozen=True)
class Format:
    """A format that is read.

    Args:
        name: what `--from` calls it.
        about: one line for people.
        sniff: whether a file that begins so has it.
        read: bytes, name for messages and what was said beside them; raises TraceError.
    """

    name: str
    about: str
    sniff: Callable[[bytes], bool]
    read: Callable[[bytes, str, Assumptions], Recording]


FORMATS = {
    one.name: one
    for one in (
        Format("lens-irtt", "LENS: timestamp,rtt,uplink,downlink (ns, ms)", lens.sniff_irtt, lens.read_irtt),
        Format("lens-ping", "LENS: timestamp,rtt (s, ms)", lens.sniff_ping, lens.read_ping),
        Format("ping", "what ping -D prints", ping.sniff, ping.read),
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
        Format("ion", "ION contact plan", ion.sniff, ion.read),
        Format("satnogs", "SatNOGS observations (JSON)", windows.sniff_satnogs, windows.read_satnogs),
        Format("gmat", "GMAT ContactLocator report", windows.sniff_gmat, windows.read_gmat),
        Format("stk", "STK access report (CSV)", windows.sniff_stk, windows.read_stk),
        Format("mahimahi", "mahimahi: a ms per chance of 1500 bytes", mahimahi.sniff, mahimahi.read),
        Format(
            "leoreplayer-delay",
            "LeoReplayer: a delay in ms per 10 ms",
            mahimahi.sniff_delays,
            mahimahi.read_delays,
        ),
        Format("csv", "plain CSV, with --columns", columns.sniff, columns.read),
    )
}


def format_of(data: bytes, name: str) -> str:
    """Return the name of the format that a file's beginning shows; OWN for the project's own.

    Raises:
        TraceError: none of them.
    """
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if head.startswith(_OWN_START):
        return OWN
    found = next((one.name for one in FORMATS.values() if one.sniff(head)), None)
    if found is None:
        raise TraceError(
            f"{name}, line 1: expected a known format, found none of {', '.join(FORMATS)};"
            " name it with --from, or declare the columns of a CSV with --columns"
        )
    return found


def parse_recording(data: bytes, name: str, given: Assumptions, form: str | None = None) -> Trace:
    """Make a trace of a file's bytes; `form` None looks at the content.

    Raises:
        TraceError: names file, line and what was expected.
    """
    if form is None:
        form = "csv" if given.columns else format_of(data, name)
    if form == OWN:
        return parse_trace(data, name=name)
    return complete(_read(data, name, given, form), given)


def _read(data: bytes, name: str, given: Assumptions, form: str) -> Recording:
    if form not in FORMATS:
        raise TraceError(f"no format {form!r}; expected one of {', '.join([OWN, *FORMATS])}")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data or data.isspace():
        raise TraceError(f"{name}, line 1: expected a {form} recording; the file is empty")
    try:
        return FORMATS[form].read(data, name, given)
    except TraceError:
        raise
    except TraceInputError as fault:  # an orbit or a station within the file
        raise TraceError(f"{name}: {fault}") from None


def read_recording(
    path: Path,
    given: Assumptions,
    form: str | None = None,
    *,
    up_file: Path | None = None,
    delay_file: Path | None = None,
) -> Trace:
    """Read a file, and those beside it, into a trace.

    Args:
        path: the recording, of any format or the project's own.
        given: what was said beside it.
        form: its format; None looks at the content.
        up_file: mahimahi's trace of the uplink, where `path` is the downlink's.
        delay_file: a recording of the delay: LeoReplayer's, or any other.

    Raises:
        TraceError: names file, line and what was expected.
    """
    data, name = _bytes(path), str(path)
    form = form or ("csv" if given.columns else format_of(data, name))
    if delay_file is not None:
        given = replace(given, delays=read_delays(delay_file, given))
    if form == OWN:
        if up_file is not None or delay_file is not None:
            raise TraceError(f"{name} is a whole trace; expected no other file beside it")
        return parse_trace(data, name=name)
    recording = _read(data, name, given, form)
    if up_file is not None:
        if form != "mahimahi":
            raise TraceError(f"{name} is {form}; expected mahimahi beside an uplink's file")
        recording = mahimahi.with_uplink(recording, _read(_bytes(up_file), str(up_file), given, "mahimahi"))
    return complete(recording, given)


def read_delays(path: Path, given: Assumptions) -> Trace:
    """Read a recording for its delays: a file of integers is LeoReplayer's."""
    data, name = _bytes(path), str(path)
    first = data[:_HEAD_BYTES].split(b"\n", 1)[0].strip()
    form = "leoreplayer-delay" if first.isdigit() else format_of(data, name)
    if form == OWN:
        return parse_trace(data, name=name)
    # A rate is of no interest here, and any will do.
    only = replace(given, down_bit_s=1.0, up_bit_s=1.0, down_delay_s=None, up_delay_s=None, start_utc=None)
    return complete(_read(data, name, only, form), only)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise TraceError(f"cannot read {path}: {fault.strerror or fault}") from fault
