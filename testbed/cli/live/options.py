"""Options about the live page, of `spaceverse run` and `spaceverse live`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.run.parts.live import LivePage

PORT_MAX = 65534  # the broker's WebSockets get the next one


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run's live page."""
    parser.add_argument(
        "--live",
        action="store_true",
        help="show the run in a live page, and print its address (docs/live.md)",
    )
    add_address_options(parser, "; implies --live")


def add_address_options(parser: argparse.ArgumentParser, implied: str = "") -> None:
    """Add the options on where a page is served."""
    parser.add_argument(
        "--live-host",
        metavar="ADDRESS",
        help=f"address of this machine at which to serve the page (default: 127.0.0.1, which other machines "
        f"cannot reach){implied}",
    )
    parser.add_argument(
        "--live-port",
        type=tcp_port,
        metavar="N",
        help=f"TCP port of the page; a run also uses the next one (default: any that are free){implied}",
    )


def live_page(arguments: argparse.Namespace) -> LivePage | None:
    """Return where the live page is wanted; None if it is not."""
    from testbed.live.server import LOOPBACK
    from testbed.run.parts.live import LivePage  # imports the broker

    host, port = arguments.live_host, arguments.live_port
    if not arguments.live and host is None and port is None:
        return None
    return LivePage(host or LOOPBACK, port or 0)


def tcp_port(text: str) -> int:
    """Return a port. Raises ArgumentTypeError, which argparse shows as it is."""
    port = int(text) if text.isdecimal() and len(text) <= len(str(PORT_MAX)) else 0
    if not 1 <= port <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to {PORT_MAX}; got {text}")
    return port
