"""Agent of a board: waits for runs, and starts the board's satellite or ground station in each.

    python -m nodes.agent agent.json            until SIGTERM
    python -m nodes.agent agent.json --check    only check the file
    python -m nodes.agent --facts               print facts about the board, as JSON

Its configuration (nodes/contract/board.py, AgentConfig):

    {"board": "jetson-1",
     "management": {"host": "192.168.55.100", "port": 1884,
                    "access": {"username": "jetson-1", "password": "..."},
                    "ca_pem": "-----BEGIN CERTIFICATE-----..."},
     "folder": "/var/lib/spaceverse-agent",
     "models": "/opt/spaceverse/models",
     "allow_code": false}

The run's management broker exists only during runs; between them the agent tries to connect every second.
The connection uses TLS: whoever answers has to have a certificate for the configured host by the authority in
the file, before the agent sends its password. A run's code (a policy file) is refused without "allow_code".
The topics are in nodes/contract/topics.py, the messages in nodes/contract/board.py. The agent's state is
JSON: {"state": "idle" | "fetching" | "running" | "restarting" | "ended" | "failed" | "gone", "run": name or
null, "reason": text or null, "facts": {...}}; "gone" is also its last will.

A node is started only while heartbeats of its run arrive. If none arrives for `heartbeat_lapse_s`, the run is
considered dead: the agent stops the node and waits for the next run. A shorter loss of the broker has no
effect: node and agent queue their events and send them later. The node uses the board's clock and compares
it with the run's (nodes/clocks/exchange.py). The assignment is retained, so a restarted agent starts the node
again, which continues with the same outbox. So does a node that died (nodes.contract.board.RestartRule). The
host's side is testbed/boards/agents.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from nodes.board.assignment import read_agent_config
from nodes.board.facts import facts
from nodes.board.service import Service
from nodes.contract.config import ConfigError
from nodes.runtime.program import EXIT_FAILED, EXIT_OK, EXIT_USAGE, leave, say

_EPILOG = """The fields of the file are described in nodes/contract/board.py.
exit status: 0 stopped by a signal, 1 failed, 2 the configuration cannot be used
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.agent",
        description="Wait for runs and start this board's node in each.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG", help="JSON file")
    parser.add_argument("--check", action="store_true", help="only check CONFIG")
    parser.add_argument("--facts", action="store_true", help="print facts about the board as JSON")
    options = parser.parse_args(arguments)
    if options.facts:
        print(json.dumps(facts(None), indent=2))
        return EXIT_OK
    if options.config is None:
        return say("agent", "a configuration file is required; see --help", EXIT_USAGE)
    try:
        config = read_agent_config(options.config)
        if options.check:
            print(f"{options.config}: ok")
            return EXIT_OK
        return Service(config).run()
    except ConfigError as error:
        return say("agent", error, EXIT_USAGE)
    except OSError as error:
        return say("agent", error, EXIT_FAILED)


if __name__ == "__main__":
    leave(main())
