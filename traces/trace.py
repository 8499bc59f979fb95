"""A trace: one link over time, as it is emulated, drawn and compared with measurements.

A trace is a step function: row i is valid from `time_s[i]` until `time_s[i + 1]`, the last row until `end_s`.
Second 0 is `header.start_utc`. `traces.trace_file` describes the file format.

Each direction is up or down by itself. While either is up, there is a contact, and the ends see a carrier.
What is sent in a direction that is down is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError
from traces.utc import format_utc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Open = Literal["either", "both", "down", "up"]

FLAGS = ("downlink_up", "uplink_up")
VALUES = ("down_bit_s", "up_bit_s", "down_delay_s", "up_delay_s", "down_loss", "up_loss")
COLUMNS = ("time_s", *FLAGS, *VALUES)
_OTHER_WAY = {name: name.replace("down", "up", 1) for name in COLUMNS if name.startswith("down")}
_OTHER_WAY |= {other: name for name, other in _OTHER_WAY.items()}
_MOST_ROWS = 50_000_000
ROWS_AT_ONCE = 4096  # number of rows that `rows` converts to Python numbers at a time
EXTRA_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class TraceHeader:
    """The ends, start and origin of a trace.

    Args:
        satellite: name of the satellite.
        station: name of the ground station.
        start_utc: time of second 0, with a time zone.
        made_by: program or recording that the trace comes from.
        notes: parameters, sources and doubts, one line each.
        element_epoch_utc: epoch of the orbital elements, if the trace was computed from an orbit.

    Raises:
        TraceError: A text is not one printable line, or a time has no time zone.
    """

    satellite: str
    station: str
    start_utc: datetime
    made_by: str
    notes: tuple[str, ...] = ()
    element_epoch_utc: datetime | None = None

    def with_note(self, note: str) -> TraceHeader:
        """Return the header with another note."""
        return replace(self, notes=(*self.notes, note))

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(self.notes))
        named = [("satellite", self.satellite), ("station", self.station), ("made_by", self.made_by)]
        for name, text in [*named, *(("note", note) for note in self.notes)]:
            if not text or not text.isprintable() or text != text.strip():
                raise TraceError(f"{name} is {text!r}; expected one line of printable text")
        for name in ("start_utc", "element_epoch_utc"):
            moment = getattr(self, name)
            if moment is None and name == "element_epoch_utc":
                continue
            if not isinstance(moment, datetime) or moment.tzinfo is None:
                raise TraceError(f"{name} is {moment!r}; expected a datetime with a time zone")
            object.__setattr__(self, name, moment.astimezone(timezone.utc))


@dataclass(frozen=True, slots=True)
class TraceRow:
    """The state of the link from `time_s` until the next row."""

    time_s: float
    downlink_up: bool
    uplink_up: bool
    down_bit_s: float
    up_bit_s: float
    down_delay_s: float
    up_delay_s: float
    down_loss: float
    up_loss: float

    @property
    def up(self) -> bool:
        """Whether either direction is up, which is a contact."""
        return self.downlink_up or self.uplink_up

    @property
    def both_up(self) -> bool:
        """Whether both directions are up, so that a request can be answered."""
        return self.downlink_up and self.uplink_up

    def is_up(self, of: Open) -> bool:
        """Return whether the named directions are up."""
        return {"down": self.downlink_up, "up": self.uplink_up, "both": self.both_up, "either": self.up}[of]


@dataclass(frozen=True, slots=True)
class Contact:
    """An interval in which the link is up, from acquisition (AOS) to loss of signal (LOS)."""

    aos_s: float
    los_s: float

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.los_s - self.aos_s


@dataclass(frozen=True, eq=False)
class Trace:
    """A link over time. It is immutable: the arrays are read-only, and copies of writable ones.

    `traces.read_trace` and `traces.write_trace` read and write it.

    Args:
        header: the ends, start and origin.
        time_s: float64[n], n >= 1, strictly increasing from 0: the beginning of each row.
        downlink_up: bool[n], True while packets pass from satellite to ground.
        uplink_up: bool[n], True while packets pass from ground to satellite.
        down_bit_s: float64[n], rate from satellite to ground; > 0 while the downlink is up.
        up_bit_s: float64[n], rate from ground to satellite; > 0 while the uplink is up.
        down_delay_s: float64[n], one-way delay from satellite to ground.
        up_delay_s: float64[n], one-way delay from ground to satellite.
        down_loss: float64[n], probability that a packet to the ground is lost.
        up_loss: float64[n], probability that a packet to the satellite is lost.
        end_s: the end of the last row; after the last time_s.
        extra: further float64[n] columns by name (elevation_deg, slant_range_m, ...), NaN where unknown.

    Raises:
        TraceError: A column is invalid; the message names the row and what was expected.
    """

    header: TraceHeader
    time_s: Floats
    downlink_up: Bools
    uplink_up: Bools
    down_bit_s: Floats
    up_bit_s: Floats
    down_delay_s: Floats
    up_delay_s: Floats
    down_loss: Floats
    up_loss: Floats
    end_s: float
    extra: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, column in _frozen({name: getattr(self, name) for name in COLUMNS}).items():
            object.__setattr__(self, name, column)
        object.__setattr__(self, "extra", MappingProxyType(_frozen(self.extra)))
        object.__setattr__(self, "end_s", float(self.end_s))
        self._check_shapes()
        fault = first_fault(self.end_s, *(getattr(self, name) for name in COLUMNS))
        if fault:
            raise TraceError(f"trace of {self.header.satellite}, row {fault[0]}: {fault[1]}")

    def _check_shapes(self) -> None:
        rows = self.time_s.shape
        if len(rows) != 1 or rows[0] == 0:
            raise TraceError(f"time_s has shape {rows}; expected one dimension and at least one row")
        for name in (*COLUMNS, *self.extra):
            column = self.extra[name] if name in self.extra else getattr(self, name)
            if column.shape != rows:
                raise TraceError(f"{name} has shape {column.shape}; expected {rows}, like time_s")
        for name in self.extra:
            if name in (*COLUMNS, "up") or not EXTRA_NAME.fullmatch(name):
                raise TraceError(f"extra column {name!r}; expected a new name like elevation_deg")

    @property
    def up(self) -> Bools:
        """bool[n], True during a contact: while either direction is up."""
        alike = self.downlink_up is self.uplink_up
        return self.downlink_up if alike else self.downlink_up | self.uplink_up

    @property
    def both_up(self) -> Bools:
        """bool[n], True while both directions are up, so that a request can be answered."""
        alike = self.downlink_up is self.uplink_up
        return self.downlink_up if alike else self.downlink_up & self.uplink_up

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.time_s)

    def __eq__(self, other: object) -> bool:
        """Compare header and all columns exactly; NaN equals NaN in extra columns."""
        if not isinstance(other, Trace):
            return NotImplemented
        return (
            self.header == other.header
            and self.end_s == other.end_s
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in COLUMNS)
            and list(self.extra) == list(other.extra)
            and all(
                np.array_equal(self.extra[name], other.extra[name], equal_nan=True) for name in self.extra
            )
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content, too large to be a key

    def row_at(self, time_s: float) -> TraceRow:
        """Return the row that is valid at second `time_s`.

        Raises:
            TraceError: `time_s` is not in [0, end_s).
        """
        if not 0 <= time_s < self.end_s:
            raise TraceError(f"second {time_s} is outside the trace, which covers 0 to {self.end_s} s")
        return self._row(int(np.searchsorted(self.time_s, time_s, side="right")) - 1)

    def rows(self) -> Iterator[TraceRow]:
        """Yield the rows in order of time."""
        columns = [getattr(self, name) for name in COLUMNS]
        for first in range(0, len(self), ROWS_AT_ONCE):
            yield from map(TraceRow, *(column[first : first + ROWS_AT_ONCE].tolist() for column in columns))

    def _row(self, index: int) -> TraceRow:
        return TraceRow(
            time_s=float(self.time_s[index]),
            downlink_up=bool(self.downlink_up[index]),
            uplink_up=bool(self.uplink_up[index]),
            down_bit_s=float(self.down_bit_s[index]),
            up_bit_s=float(self.up_bit_s[index]),
            down_delay_s=float(self.down_delay_s[index]),
            up_delay_s=float(self.up_delay_s[index]),
            down_loss=float(self.down_loss[index]),
            up_loss=float(self.up_loss[index]),
        )

    def lengths_s(self) -> Floats:
        """Return the duration of each row in seconds, float64[n]."""
        return np.diff(self.time_s, append=self.end_s)

    def contacts(self, of: Open = "either") -> list[Contact]:
        """Return the contacts in order of time; consecutive rows that are up make one contact.

        Args:
            of: the directions that must be up. With "either", the contacts are the times with a carrier; with
                "both", those in which a request can be answered.
        """
        up = {"down": self.downlink_up, "up": self.uplink_up, "both": self.both_up, "either": self.up}[of]
        edges = np.flatnonzero(np.diff(up, prepend=False, append=False))
        bounds = np.append(self.time_s, self.end_s)[edges].tolist()
        return [Contact(aos, los) for aos, los in zip(bounds[::2], bounds[1::2], strict=True)]

    def cut(self, start_s: float, end_s: float) -> Trace:
        """Return the part [start_s, end_s); `start_s` becomes second 0 and keeps its UTC (to 1 us).

        Raises:
            TraceError: The bounds are not 0 <= start_s < end_s <= the trace's end.
        """
        if not 0 <= start_s < end_s <= self.end_s:
            raise TraceError(
                f"cannot cut {start_s} to {end_s} s; expected start < end, both within 0 to {self.end_s} s"
            )
        first = int(np.searchsorted(self.time_s, start_s, side="right")) - 1
        rows = slice(first, int(np.searchsorted(self.time_s, end_s, side="left")))
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        columns["time_s"] = np.maximum(columns["time_s"] - start_s, 0.0)
        try:
            start_utc = self.header.start_utc + timedelta(seconds=start_s)
        except OverflowError:
            raise TraceError(f"second {start_s} is outside the calendar's range; cut earlier") from None
        return Trace(
            header=replace(self.header, start_utc=start_utc),
            end_s=end_s - start_s,
            extra={name: column[rows] for name, column in self.extra.items()},
            **columns,
        )

    def shift(self, by_s: float) -> Trace:
        """Return the trace delayed by `by_s` >= 0 seconds; the link is down until then.

        Second 0 keeps its UTC, so the contacts no longer match the orbit; a note in the header says so. To
        move the start the other way, use `cut`.

        Raises:
            TraceError: The shift is negative or infinite.
        """
        if not (np.isfinite(by_s) and by_s >= 0):
            raise TraceError(f"cannot shift by {by_s} s; expected 0 or more (to begin later, use cut)")
        if by_s == 0:
            return self
        columns = {name: np.concatenate([[0.0], getattr(self, name)]) for name in COLUMNS}
        columns["time_s"][1:] += by_s
        return Trace(
            header=self.header.with_note(f"shifted by {float(by_s)!r} s"),
            end_s=self.end_s + by_s,
            extra={name: np.concatenate([[np.nan], column]) for name, column in self.extra.items()},
            **columns,
        )

    def join(self, other: Trace, *, gap_s: float = 0.0) -> Trace:
        """Return this trace followed by `other`; the link is down for `gap_s` in between.

        The first row of `other` is dropped if it repeats this trace's last row, so that joining the parts of
        a cut trace restores it. The header is this trace's, with a note about the beginning of `other` unless
        `other` is the same link and continues in UTC.

        Raises:
            TraceError: The gap is negative or infinite.
        """
        if not (np.isfinite(gap_s) and gap_s >= 0):
            raise TraceError(f"cannot join with a gap of {gap_s} s; expected 0 or more")
        seam_s = self.end_s + gap_s
        later = other.shift(gap_s) if gap_s else other
        first = 1 if later._row_values(0) == self._row_values(len(self) - 1) else 0
        columns = {
            name: np.concatenate([getattr(self, name), getattr(later, name)[first:]]) for name in COLUMNS
        }
        columns["time_s"][len(self) :] += self.end_s
        notes = self.header.notes
        if not (self._goes_on_in(other, seam_s) and set(other.header.notes) <= set(notes)):
            whose = f"{other.header.satellite} over {other.header.station}"
            notes = (*notes, f"from {seam_s!r} s on: {whose}, {format_utc(other.header.start_utc)}")
        names = dict.fromkeys((*self.extra, *other.extra))
        return Trace(
            header=replace(self.header, notes=notes),
            end_s=self.end_s + later.end_s,
            extra={
                name: np.concatenate([self._extra_or_nan(name), later._extra_or_nan(name)[first:]])
                for name in names
            },
            **columns,
        )

    def resample(self, step_s: float) -> Trace:
        """Return the trace with rows only at multiples of `step_s` and where a direction goes up or down.

        A new row is the mean of the old ones over its duration, so that contacts stay where they are and the
        total number of bits is unchanged. Extra columns keep the value at the row's beginning.

        Raises:
            TraceError: The step is not positive, or so small that there would be too many rows.
        """
        if not (np.isfinite(step_s) and step_s > 0 and self.end_s / step_s <= _MOST_ROWS):
            raise TraceError(
                f"cannot resample to {step_s} s; expected above 0, for at most {_MOST_ROWS} rows"
            )
        turns = [np.diff(column, prepend=column[0]) for column in (self.downlink_up, self.uplink_up)]
        edges = self.time_s[np.flatnonzero(turns[0] | turns[1])]
        grid_s: Floats = np.arange(int(np.ceil(self.end_s / step_s)), dtype=np.float64) * step_s
        grid_s = grid_s[(grid_s < self.end_s) & ~_near(grid_s, edges, 1e-9 * step_s)]
        time_s = np.union1d(np.append(grid_s, 0.0), edges)
        pieces_s = np.union1d(time_s, self.time_s)
        old = np.searchsorted(self.time_s, pieces_s, side="right") - 1
        begins = np.searchsorted(pieces_s, time_s)
        share = np.diff(pieces_s, append=self.end_s)
        share /= np.repeat(np.add.reduceat(share, begins), np.diff(begins, append=len(pieces_s)))
        columns: dict[str, Any] = {"time_s": time_s}
        columns |= {name: getattr(self, name)[old[begins]] for name in FLAGS}
        for name in VALUES:
            column = getattr(self, name)[old]
            means = np.add.reduceat(column * share, begins)
            # Rounding must not move a mean outside the range of its values.
            columns[name] = np.clip(
                means, np.minimum.reduceat(column, begins), np.maximum.reduceat(column, begins)
            )
        return Trace(
            header=self.header.with_note(f"resampled to {float(step_s)!r} s"),
            end_s=self.end_s,
            extra={name: column[old[begins]] for name, column in self.extra.items()},
            **columns,
        )

    def scale(
        self, *, time: float = 1.0, down_rate: float = 1.0, up_rate: float = 1.0, delay: float = 1.0
    ) -> Trace:
        """Return the trace with times, rates or delays multiplied by a factor.

        Args:
            time: factor of all times; 2 makes everything last twice as long, with twice the bits.
            down_rate: factor of the downlink's rate.
            up_rate: factor of the uplink's rate.
            delay: factor of both delays; may be 0.

        Raises:
            TraceError: A factor is not a number above 0, or the result is too large.
        """
        factors = {"time": time, "down_rate": down_rate, "up_rate": up_rate, "delay": delay}
        for name, factor in factors.items():
            if not (np.isfinite(factor) and (factor > 0 or (name == "delay" and factor == 0))):
                raise TraceError(f"cannot scale {name} by {factor}; expected a number above 0")
        changed = [f"{name} by {float(factor)!r}" for name, factor in factors.items() if factor != 1]
        if not changed:
            return self
        with np.errstate(over="ignore"):  # the check of the new trace reports it
            return replace(
                self,
                header=self.header.with_note(f"scaled: {', '.join(changed)}"),
                time_s=self.time_s * time,
                end_s=self.end_s * time,
                down_bit_s=self.down_bit_s * down_rate,
                up_bit_s=self.up_bit_s * up_rate,
                down_delay_s=self.down_delay_s * delay,
                up_delay_s=self.up_delay_s * delay,
            )

    def reverse(self) -> Trace:
        """Return the trace with its two directions swapped: the downlink becomes the uplink.

        The names of the ends stay, and a note in the header says so; reversing again removes the note. The
        order in time is unchanged.
        """
        note, notes = "directions changed places", self.header.notes
        return replace(
            self,
            header=replace(self.header, notes=notes[:-1] if notes[-1:] == (note,) else (*notes, note)),
            **{name: getattr(self, _OTHER_WAY.get(name, name)) for name in COLUMNS},
        )

    def _row_values(self, index: int) -> tuple[float, ...]:
        """Return the values of a row except its time; NaN, which equals nothing, as None."""
        values = [getattr(self, name)[index] for name in COLUMNS[1:]]
        named = sorted((name, column[index]) for name, column in self.extra.items())
        return (*values, *((name, None if np.isnan(value) else value) for name, value in named))

    def _extra_or_nan(self, name: str) -> Floats:
        return self.extra.get(name, np.full(len(self), np.nan))

    def _goes_on_in(self, other: Trace, seam_s: float) -> bool:
        """Tell whether `other` is the same link, `seam_s` after this trace's beginning (to 2 us)."""
        apart_s = (other.header.start_utc - self.header.start_utc).total_seconds() - seam_s
        ends = [(header.satellite, header.station) for header in (self.header, other.header)]
        return ends[0] == ends[1] and abs(apart_s) <= 2e-6


def _frozen(columns: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
    """Return read-only columns: copies of arrays that somebody could write to, otherwise the same arrays.

    A constant column (made by NumPy's broadcast_to) stays constant, and an array that is used for two columns
    stays one array, which saves memory in long recordings.
    """
    frozen: dict[str, npt.NDArray[Any]] = {}
    known: dict[tuple[int, type], npt.NDArray[Any]] = {}
    for name, original in columns.items():
        kind: type = bool if name in FLAGS else np.float64
        column: npt.NDArray[Any] = np.asarray(original, dtype=kind)
        key = (id(original), kind)
        if key not in known:
            if is_constant(column):
                column = np.broadcast_to(column[:1].copy(), column.shape)
            elif column is original and _is_writeable(column):
                column = column.copy()
            column.setflags(write=False)
            known[key] = column
        frozen[name] = known[key]
    return frozen


def is_constant(column: npt.NDArray[Any]) -> bool:
    """Tell whether a column stores one value for all rows."""
    return column.strides == (0,)


def _is_writeable(column: npt.NDArray[Any]) -> bool:
    """Tell whether an array, or an array that it is a view of, is writable."""
    below: Any = column
    while isinstance(below, np.ndarray):
        if below.flags.writeable:
            return True
        below = below.base
    return below is not None


def first_fault(
    end_s: float, time_s: Floats, downlink_up: Floats | Bools, uplink_up: Floats | Bools, *values: Floats
) -> tuple[int, str] | None:
    """Return the index of the first invalid row and what was expected of it; None if all are valid."""
    broken = [
        (int(np.argmin(holds)), what, column)
        for holds, what, column in _rules(end_s, time_s, (downlink_up, uplink_up), values)
        if not holds.all()
    ]
    if not broken:
        return None
    index, what, column = min(broken, key=lambda rule: rule[0])
    return index, f"{what}; found {column[index]!s}"


def _rules(
    end_s: float, time_s: Floats, flags: tuple[Floats | Bools, Floats | Bools], values: tuple[Floats, ...]
) -> Iterator[tuple[Bools, str, Floats | Bools]]:
    """Yield for each rule the rows that keep it; a generator, since all at once would take much memory."""
    yield np.isfinite(time_s), "expected a finite time_s", time_s
    ordered = np.append(time_s[0] == 0, time_s[1:] > time_s[:-1])
    yield ordered, "expected time_s to start at 0 and to increase", time_s
    del ordered
    yield time_s < end_s, f"expected time_s before end_s, {end_s!r}", time_s
    names = ("up", "up") if flags[0] is flags[1] else FLAGS
    for name, flag in zip(names, flags, strict=True):
        if flag.dtype != np.bool_:
            yield (flag == 0) | (flag == 1), f"expected {name} 0 or 1", flag
    columns = dict(zip(VALUES, values, strict=True))
    for name in VALUES[:4]:
        column = columns[name]
        short = column[:1] if is_constant(column) else column
        yield np.isfinite(short) & (short >= 0), f"expected a finite {name}, not negative", column
    for name, flag, when in zip(VALUES[:2], flags, names, strict=True):
        column = columns[name]
        short = column[:1] if is_constant(column) else column
        if not (short > 0).all():
            yield (flag == 0) | (column > 0), f"expected {name} > 0 while {when}", column
    for name in VALUES[4:]:
        column = columns[name]
        short = column[:1] if is_constant(column) else column
        yield (short >= 0) & (short <= 1), f"expected {name}, a probability from 0 to 1", column


def _near(points: Floats, others: Floats, within: float) -> Bools:
    """Tell which points lie `within` of one of `others`; both are sorted."""
    fenced = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(fenced, points)
    return np.asarray(np.minimum(points - fenced[after - 1], fenced[after] - points) <= within)
