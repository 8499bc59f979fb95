"""`spaceverse board deploy` and `board profile`: deployment and measurements on a board over ssh."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

from nodes.contract.files import check_output, is_stdout, write_atomically
from nodes.contract.models.command_line import add_model_options, command_line_of, model_options_of
from nodes.contract.models.options import MAX_NEW_TOKENS
from testbed.boards.inventory import Board, read_inventory
from testbed.cli.board.options import add_inventory, add_login, add_name
from testbed.cli.parser import refuse
from testbed.errors import InputError

_DEPLOY_EPILOG = """examples:
  # once, with internet access
  spaceverse board bundle --arch aarch64
  sudo spaceverse board deploy jetson-1 --identity ~/.ssh/id_ed25519
  sudo spaceverse board deploy jetson-1 --add-model ~/models/qwen2-vl-2b

Needs root on this machine, to read the board's password, and on the board, to
install a service. A repeated deployment sends only what has changed. The ssh
host key of the board must be known: log in once with sudo ssh.

exit codes: 0 the agent is installed and, if the board has systemd, stays up;
1 something failed on the board; 2 the board is unreachable or unsuitable
"""
_PROFILE_EPILOG = """examples:
  # a board, after `board deploy`
  sudo spaceverse board profile jetson-1 --model compact -o jetson-1.json
  # this machine
  spaceverse board profile --local --model nodes/models/compact -o here.json

In a scenario, Satellite(profile="jetson-1.json") answers at the pace of the
board. `spaceverse eval --times` also reads the profile.

exit codes: 0 the profile was written; 1 something failed on the board; 2 the
model or the board is unusable
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands `deploy` and `profile`."""
    deploying = subparsers.add_parser(
        "deploy",
        help="install programs, models and the agent on a board",
        description="Install the node programs, models and the agent on a board, over ssh.",
        epilog=_DEPLOY_EPILOG,
    )
    add_name(deploying)
    deploying.add_argument(
        "--bundle",
        type=Path,
        default=Path("bundle"),
        metavar="DIR",
        help="output of `board bundle` (default: bundle)",
    )
    deploying.add_argument(
        "--add-model",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of an additional model; may be repeated",
    )
    deploying.set_defaults(run=_deploy)
    profiling = subparsers.add_parser(
        "profile",
        help="measure the time that a board takes for each stage of an answer",
        description="Measure the time, and with a sensor the energy, of each stage of an answer.",
        epilog=_PROFILE_EPILOG,
    )
    add_name(profiling, optional=True)
    profiling.add_argument("--local", action="store_true", help="measure this machine instead")
    profiling.add_argument(
        "--model",
        default="compact",
        metavar="MODEL",
        help="folder on the board, or hub name (default: compact)",
    )
    profiling.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("profile.json"),
        metavar="FILE",
        help="the profile (default: profile.json)",
    )
    profiling.add_argument(
        "--repeats", type=int, default=20, metavar="N", help="number of measured answers (default: 20)"
    )
    add_model_options(profiling, tokens=MAX_NEW_TOKENS)
    profiling.set_defaults(run=_profile)
    for parser in (deploying, profiling):
        add_inventory(parser)
        add_login(parser)


def _deploy(args: argparse.Namespace) -> int:
    from testbed.boards.agent_access import agent_config  # netlink would slow down every --help
    from testbed.boards.deploy.deploy import deploy
    from testbed.boards.ssh import connect

    board = read_inventory(args.boards).board(args.name)
    config = agent_config(board)

    async def bring() -> None:
        async with connect(board, identity=args.identity, known_hosts=args.known_hosts) as shell:
            done = await deploy(shell, args.bundle, config, models=args.add_model, step=print)
        print(f"{board.name}: {done.wheels_sent} wheels and {done.model_files_sent} model files sent")
        if not done.unit:
            print(f"{board.name} has no systemd; start its agent on the board: {done.start_command}")

    asyncio.run(bring())
    return 0


def _profile(args: argparse.Namespace) -> int:
    if args.local == (args.name is not None):
        raise InputError("name a board of the inventory, or use --local to measure this machine")
    if args.local:
        refuse(args, "with --local, which measures this machine", "boards", "identity", "known_hosts")
    check_output(args.output)
    try:
        runs = model_options_of(args)
    except ValueError as error:
        raise InputError(str(error)) from error
    options = ["--repeats", str(args.repeats), *command_line_of(runs)]
    if args.local:
        command = [sys.executable, "-m", "nodes.profile", args.model, "--output", str(args.output), *options]
        return subprocess.run(command, check=False).returncode
    board = read_inventory(args.boards).board(args.name)
    write_atomically(args.output, asyncio.run(_profile_board(board, args, options)))
    print(f"written to {args.output}", file=sys.stderr if is_stdout(args.output) else sys.stdout)
    return 0


async def _profile_board(board: Board, args: argparse.Namespace, options: list[str]) -> str:
    """Measure on the board and return the text of the profile."""
    from testbed.boards.deploy.deploy import ROOT  # not for --help
    from testbed.boards.ssh import connect

    async with connect(board, identity=args.identity, known_hosts=args.known_hosts) as shell:
        out = ROOT / "profile.json"
        program = [str(ROOT / "venv/bin/python"), "-m", "nodes.profile", args.model]
        program += ["--models", str(ROOT / "models"), "--name", board.name, "--output", str(out), *options]
        printed = await shell.run(*program)
        print(printed, end="", file=sys.stderr if is_stdout(args.output) else sys.stdout)
        return await shell.run("cat", str(out))
