"""`spaceverse board deploy` and `board profile`: what is done on a board over ssh."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from testbed.boards.inventory import DEFAULT_PATH, Board, read_inventory
from testbed.errors import InputError

_DEPLOY_EPILOG = """examples:
  spaceverse board bundle --arch aarch64 --python 3.10 -o bundle      once, where there is internet
  sudo spaceverse board deploy jetson-1 --bundle bundle --identity ~/.ssh/id_ed25519
  sudo spaceverse board deploy jetson-1 --bundle bundle --model ~/models/qwen2-vl-2b

Needs root here, for the board's password is this machine's secret, and root on the board, for it sets up a
service. Doing it again sends what has changed. The board's ssh key has to be known: log in once by sudo ssh.
exit codes: 0 the agent is there and, where the board has systemd, stays up; 1 something failed on the board;
2 the board cannot be reached or take it
"""
_PROFILE_EPILOG = """examples:
  sudo spaceverse board profile jetson-1 --model compact --out jetson-1.json      after `board deploy`
  spaceverse board profile --local --model nodes/models/compact --out here.json   this machine

A scenario's Satellite(profile="jetson-1.json") then answers at the board's pace, and so does
`spaceverse eval --times`.
exit codes: 0 measured and written; 1 something failed on the board; 2 the model or the board cannot be used
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands `deploy` and `profile`."""
    deploying = subparsers.add_parser(
        "deploy",
        help="bring programs, models and the agent to a board",
        description="Bring the node's programs, models and the agent to a board, over ssh.",
        epilog=_DEPLOY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    deploying.add_argument("name", metavar="NAME", help="the board's name in the inventory")
    deploying.add_argument("--bundle", type=Path, default=Path("bundle"), metavar="DIR", help="(bundle)")
    deploying.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a model's folder, besides those that ship",
    )
    deploying.set_defaults(run=_deploy)
    profiling = subparsers.add_parser(
        "profile",
        help="measure how long a board takes for each stage of an answer",
        description="Measure each stage of an answer, and its energy where the board has a sensor.",
        epilog=_PROFILE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    profiling.add_argument("name", nargs="?", metavar="NAME", help="the board's name in the inventory")
    profiling.add_argument("--local", action="store_true", help="measure this machine instead")
    profiling.add_argument(
        "--model", default="compact", metavar="MODEL", help="folder or hub name, there (compact)"
    )
    profiling.add_argument(
        "--out", type=Path, default=Path("profile.json"), metavar="FILE", help="(profile.json)"
    )
    profiling.add_argument("--repeats", type=int, default=20, metavar="N", help="answers that count (20)")
    profiling.add_argument("--device", default="cpu", help="as torch names it (cpu)")
    profiling.set_defaults(run=_profile)
    for parser in (deploying, profiling):
        parser.add_argument("--boards", type=Path, default=DEFAULT_PATH, metavar="FILE", help="(boards.toml)")
        parser.add_argument("--identity", type=Path, metavar="FILE", help="private ssh key (the user's)")
        parser.add_argument("--known-hosts", type=Path, metavar="FILE", help="(the user's)")


def _deploy(args: argparse.Namespace) -> int:
    from testbed.boards.deploy.deploy import deploy  # not for --help
    from testbed.boards.ssh import connect

    board = read_inventory(args.boards).board(args.name)
    config = import_module("testbed.boards.agent_access").agent_config(board)

    async def bring() -> None:
        async with connect(board, identity=args.identity, known_hosts=args.known_hosts) as shell:
            done = await deploy(shell, args.bundle, config, models=args.model, step=print)
        print(f"{board.name}: {done.wheels_sent} wheels and {done.model_files_sent} files of models sent")
        if not done.unit:
            print(f"{board.name} has no systemd; start its agent there: {done.start_command}")

    asyncio.run(bring())
    return 0


def _profile(args: argparse.Namespace) -> int:
    if args.local == (args.name is not None):
        raise InputError("name a board of the inventory, or give --local for this machine")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"no folder {args.out.parent} for {args.out}: make it first")
    options = ["--repeats", str(args.repeats), "--device", args.device]
    if args.local:
        command = [sys.executable, "-m", "nodes.profile", args.model, "--out", str(args.out), *options]
        return subprocess.run(command, check=False).returncode
    board = read_inventory(args.boards).board(args.name)
    args.out.write_text(asyncio.run(_profile_there(board, args, options)), encoding="utf-8")
    print(f"written to {args.out}")
    return 0


async def _profile_there(board: Board, args: argparse.Namespace, options: list[str]) -> str:
    """Measure on the board; returns the profile's text."""
    from testbed.boards.deploy.deploy import ROOT  # not for --help
    from testbed.boards.ssh import connect

    async with connect(board, identity=args.identity, known_hosts=args.known_hosts) as shell:
        out = ROOT / "profile.json"
        program = [str(ROOT / "venv/bin/python"), "-m", "nodes.profile", args.model]
        program += ["--models", str(ROOT / "models"), "--name", board.name, "--out", str(out), *options]
        print(await shell.run(*program), end="")
        return await shell.run("cat", str(out))
