"""`spaceverse export tables`: events and results of a run as CSV or Parquet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from testbed.cli.export.folder import add_folder_options, write_files
from testbed.export.extras import check_package

_EPILOG = """examples:
  spaceverse export tables runs/20261123T120000-dove_pass -o tables
  # needs the extra `export`
  spaceverse export tables runs/20261123T120000-dove_pass --format parquet \\
      -o tables
  duckdb -c "select kind, avg(correct::int) from 'tables/frames.parquet'
      group by kind"

The tables are frames, links, samples (each measurement of the probes), contacts and events.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `tables`."""
    parser = subparsers.add_parser(
        "tables",
        help="write events and results of a run as CSV or Parquet",
        description="Write events and results of a run as CSV or Parquet.",
        epilog=_EPILOG,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--format", choices=["csv", "parquet"], default="csv", help="kind of files (default: csv)"
    )
    add_folder_options(parser, "folder to write a file per table to")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from testbed.export.tables import run_tables, table_bytes  # pandas is slow to import

    if arguments.format == "parquet":
        check_package("pyarrow", "Parquet")
    files = {
        f"{name}.{arguments.format}": table_bytes(table, arguments.format)
        for name, table in run_tables(arguments.run_folder).items()
    }
    write_files(arguments.output, files, force=arguments.force)
    return 0
