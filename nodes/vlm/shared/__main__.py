"""Program that holds models for the nodes of one machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodes.vlm.shared.host import ModelHost

BACKLOG = 4096  # every satellite of a large scenario connects while the imports last


def main(arguments: Sequence[str] | None = None) -> int:
    """Listen, import what models need, and serve until SIGTERM or Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.vlm.shared",
        description="Hold vision-language models for the nodes of this machine.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  python -m nodes.vlm.shared --socket /run/user/1000/models.sock
  sudo SPACEVERSE_MODELS=/run/user/1000/models.sock spaceverse run topologies/dove_pass.py
                                    runs in a row need not load the models again

exit status: 0 ended as requested, 2 the socket cannot be made""",
    )
    parser.add_argument("--socket", type=Path, required=True, metavar="FILE", help="path of the Unix socket")
    path = parser.parse_args(arguments).socket
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    listener = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)  # for the user of this process alone
    try:
        listener.bind(str(path))
    except OSError as error:
        print(f"models: {path}: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        os.umask(previous)
    try:
        listener.listen(BACKLOG)
        from nodes.vlm.shared import libraries  # noqa: F401  # slow, and the socket is there already

        ModelHost(listener).serve_forever()
    except _Ended:
        pass
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return 0


class _Ended(BaseException):
    """The process was told to end."""


def _leave(number: int, frame: Any) -> None:
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)  # a second request must not interrupt the end
    raise _Ended


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # torch alone takes seconds to go
