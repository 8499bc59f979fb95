"""Attaches, shapes and detaches a board, and kills itself at the moments given as input."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from testbed.boards.attachment import Attachment
from testbed.boards.inventory import Board
from testbed.boards.link import BoardLink, ground_endpoint
from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.network.sky import Sky


def one_round(attach: dict[str, object], ground_path: str, board_address: str) -> None:
    board = Board.model_validate({"name": "b", "management": "192.0.2.2", "attach": attach})
    with Attachment(board, ground_endpoint("10.0.0.2")) as attachment, Sky() as sky:
        link = BoardLink(
            attachment,
            sky,
            "b - G",
            host_path=ground_path,
            interface="link0",
            board_address=board_address,
        )
        link.set(LinkState(True, 20e6, 0.02), LinkState(True, 5e6, 0.01))
        link.set(DOWN_STATE, DOWN_STATE)
        link.close()


def main() -> None:
    """For each input line (seconds until the kill, or "never"), print the seconds taken and the status."""
    attach, ground_path, board_address = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    for line in sys.stdin:
        begin_s = time.monotonic()
        if (pid := os.fork()) == 0:
            if line.strip() != "never":
                kill = threading.Timer(float(line), os.kill, (os.getpid(), signal.SIGKILL))
                kill.daemon = True
                kill.start()
            one_round(attach, ground_path, board_address)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        print(time.monotonic() - begin_s, status, flush=True)


if __name__ == "__main__":
    main()
