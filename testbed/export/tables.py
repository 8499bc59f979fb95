"""Events and results of a run as tables, for pandas, polars, DuckDB or a spreadsheet."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from testbed.errors import InputError
from testbed.export.sources import read_results, run_traces
from traces.trace import Trace
from traces.utc import format_utc

TableFormat = Literal["parquet", "csv"]
ENVELOPE = ("event", "node", "time_s", "monotonic_s", "sequence", "frame", "link", "satellite", "station")
# What a probe measures, by its name in fidelity.json, as the column `quantity` has it: with its unit.
QUANTITIES = {
    "rtt": "rtt_s",
    "queued_rtt": "queued_rtt_s",
    "down_delay": "down_delay_s",
    "up_delay": "up_delay_s",
    "down_rate": "down_bit_s",
    "up_rate": "up_bit_s",
}
_EVENT_TYPES = {"time_s": "float64", "monotonic_s": "float64", "sequence": "Int64"}
_SAMPLE_COLUMNS = ("link", "quantity", "time_s", "requested", "measured")
_CONTACT_COLUMNS = ("link", "aos_s", "los_s", "aos_utc", "los_utc")


def run_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name: frames, links, samples, contacts, events.

    Args:
        folder: the run's folder.

    Raises:
        InputError: the folder is not that of a run, or a file in it is damaged.
    """
    traces = run_traces(folder)
    results = read_results(folder)
    return {
        "frames": _table(_flat(frame) for frame in results["frames"]),
        "links": _table(_flat(link) for link in results.get("links", [])),
        "samples": pd.DataFrame(_samples(folder / "fidelity.json"), columns=list(_SAMPLE_COLUMNS)),
        "contacts": pd.DataFrame(_contacts(traces), columns=list(_CONTACT_COLUMNS)),
        "events": _events(folder / "events.jsonl"),
    }


def table_bytes(table: pd.DataFrame, form: TableFormat) -> bytes:
    """Return a table as the content of a file; Parquet needs pyarrow."""
    if form == "csv":
        return str(table.to_csv(index=False, lineterminator="\n")).encode()
    content = io.BytesIO()
    table.to_parquet(content, engine="pyarrow", index=False)
    return content.getvalue()


def _table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table; the type of a column depends on its values, and not on which are missing."""
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    nested = {name.rpartition(".")[0] for name in names}
    columns = {name: [row.get(name) for row in listed] for name in names if name not in nested}
    return pd.DataFrame({name: pd.Series(values, dtype=_dtype(values)) for name, values in columns.items()})


def _dtype(values: Iterable[Any]) -> str:
    types = {type(value) for value in values if value is not None}
    for kinds, dtype in (({bool}, "boolean"), ({int}, "Int64"), ({int, float}, "float64")):
        if types and types <= kinds:
            return dtype
    return "string"


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without nesting: objects become columns such as latency.queue_s, lists JSON."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in _flat(value).items()}
        else:
            flat[name] = json.dumps(value) if isinstance(value, list) else value
    return flat


def _contacts(traces: Iterable[Trace]) -> Iterator[tuple[Any, ...]]:
    """Yield each contact of each link, from the traces that the run played."""
    for trace in traces:
        header = trace.header
        for contact in trace.contacts():
            edges_s = (contact.aos_s, contact.los_s)
            utc = (format_utc(header.start_utc + timedelta(seconds=round(edge_s, 3))) for edge_s in edges_s)
            yield (f"{header.satellite} - {header.station}", *edges_s, *utc)


def _samples(path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield each measurement of the probes; none if the run did not come to its end."""
    if not path.is_file():
        return
    for link in _json(path):
        for name, quantity in QUANTITIES.items():
            for sample in link.get(name, []):
                values = (sample[column] for column in ("time_s", "requested", "measured"))
                yield (link["link"], quantity, *values)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _events(path: Path) -> pd.DataFrame:
    """Return the events: columns that most have, and all other fields of each as JSON."""
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            fields = json.loads(line)
            row = {name: fields.pop(name, None) for name in ENVELOPE}
        except (ValueError, AttributeError):
            warnings.warn(f"{path}, line {number}: not an event, left out", stacklevel=2)
            continue
        rows.append({**row, "fields": json.dumps(fields)})
    table = pd.DataFrame(rows, columns=[*ENVELOPE, "fields"])
    texts = {name: "string" for name in table.columns if name not in _EVENT_TYPES}
    return table.astype({**_EVENT_TYPES, **texts})


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
