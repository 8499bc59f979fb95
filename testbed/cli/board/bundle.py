"""`spaceverse board bundle`: wheels for a board that has no internet."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """examples:
  a Raspberry Pi with bookworm:
  spaceverse board bundle --arch aarch64 --python 3.11 -o bundle
  a Jetson with JetPack 6, with NVIDIA's own torch:
  spaceverse board bundle --python 3.10 --torch torch-2.5.0a0+nv24.08-cp310-cp310-linux_aarch64.whl
  on the board:  pip install --no-index --find-links bundle 'spaceverse-testbed[node]'

exit codes: 0 the folder is whole; 2 there are no such wheels, or uv or a registry is missing
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `bundle`."""
    parser = subparsers.add_parser(
        "bundle",
        help="make a folder of wheels for a board without internet",
        description="Download the wheels of the node's programs for a board's architecture and Python.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", default="aarch64", help="the board's, as `uname -m` says it (aarch64)")
    parser.add_argument("--python", default="3.10", metavar="VERSION", help="the board's (3.10)")
    parser.add_argument(
        "--torch", default=None, metavar="WHICH", help="a requirement, or a wheel (torch<2.11)"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("bundle"), metavar="DIR", help="(bundle)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the folder and say what is in it."""
    from testbed.boards.deploy.bundle import TORCH, Target, make_bundle  # not for --help

    target = Target(args.arch, args.python)
    wheels = make_bundle(args.out, target, torch=args.torch or TORCH)
    size_bytes = sum(path.stat().st_size for path in wheels)
    about = f"{target.architecture}, Python {target.python}, {size_bytes / 1e6:.0f} MB"
    print(f"{args.out}: {len(wheels)} wheels for {about}")
    return 0
