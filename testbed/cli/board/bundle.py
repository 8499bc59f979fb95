"""`spaceverse board bundle`: create a folder of wheels for a board without internet."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """examples:
  # a Raspberry Pi with bookworm
  spaceverse board bundle --arch aarch64 --python 3.11 -o bundle
  # a Jetson with JetPack 6 and NVIDIA's own torch
  spaceverse board bundle --python 3.10 --torch torch-2.5.0-linux_aarch64.whl
  # on the board: installation without `board deploy`
  pip install --no-index --find-links bundle 'spaceverse-testbed[node]'

exit codes: 0 the bundle is complete; 2 a wheel, uv or a registry is missing
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `bundle`."""
    parser = subparsers.add_parser(
        "bundle",
        help="create a folder of wheels for a board without internet",
        description="Download the wheels of the node programs for a board.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--arch",
        default="aarch64",
        metavar="ARCH",
        help="architecture of the board, as in `uname -m` (default: aarch64)",
    )
    parser.add_argument(
        "--python", default="3.10", metavar="VERSION", help="Python version of the board (default: 3.10)"
    )
    parser.add_argument(
        "--torch", metavar="TORCH", help="requirement for torch, or a wheel file (default: torch<2.11)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("bundle"),
        metavar="DIR",
        help="folder of the bundle (default: bundle)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Create the bundle and print its size."""
    from testbed.boards.deploy.bundle import TORCH, Target, make_bundle  # not for --help

    target = Target(args.arch, args.python)
    wheels = make_bundle(args.output, target, torch=args.torch or TORCH)
    size_bytes = sum(path.stat().st_size for path in wheels)
    about = f"{target.architecture}, Python {target.python}, {size_bytes / 1e6:.0f} MB"
    print(f"{args.output}: {len(wheels)} wheels for {about}")
    return 0
