"""Start, supervision and end of the satellite's and the ground station's program."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from nodes.contract.config import AnyConfig, ConfigError, NodeConfig, read_config
from nodes.errors import ModelError
from nodes.profiles.profile import check_comparable, read_profile
from nodes.runtime.management import ManagementPlane
from nodes.vlm.folder import check_model_folder
from nodes.vlm.loading.checks import check_options, check_server_options
from nodes.vlm.openai import connect, is_server, parse_address
from nodes.vlm.protocol import AnsweringModel

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
JOIN_S = 1.0
WATCH_S = 0.1
INFERENCE_NICENESS = 10


class Part(Protocol):
    """A thread of a node."""

    failure: BaseException | None

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Request the end; returns at once."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""

    def is_alive(self) -> bool:
        """Return whether it is running."""


class Loop(threading.Thread):
    """A thread around one function; it keeps an unexpected error for the program.

    Args:
        name: shown in errors.
        body: the function; it gets an event that is set when it should end.
    """

    def __init__(self, name: str, body: Callable[[threading.Event], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._body = body
        self._stopping = threading.Event()
        self.failure: BaseException | None = None

    def stop(self) -> None:
        """Request the end."""
        self._stopping.set()

    def run(self) -> None:
        """Run the body."""
        try:
            self._body(self._stopping)
        except Exception as error:
            self.failure = error


class ModelUnavailableError(Exception):
    """The model did not load: a wrong configuration, so exit status 2."""


def parse_arguments(program: str, description: str, arguments: Sequence[str] | None) -> tuple[Path, bool]:
    """Return the configuration file, and whether only to check it."""
    parser = argparse.ArgumentParser(
        prog=f"python -m nodes.{program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  python -m nodes.{program} --config {program}.json --check   check the file and the model
  python -m nodes.{program} --config {program}.json           run until the run ends it, or SIGTERM

exit status: 0 stopped as requested, 1 failure while running, 2 unusable configuration or model
The fields of the file are described in nodes/contract/config.py.""",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON configuration")
    parser.add_argument("--check", action="store_true", help="check FILE and the model's folder, then exit")
    options = parser.parse_args(arguments)
    return options.config, options.check


def run_program(
    program: str,
    description: str,
    kind: type[AnyConfig],
    check: Callable[[AnyConfig, Path], None],
    run: Callable[[AnyConfig], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse, check and run; print one line for errors that the user can fix. Return the exit status."""
    path, only_check = parse_arguments(program, description, arguments)
    try:
        config = read_config(kind, path)
        check(config, path)
    except ConfigError as error:
        return say(program, error, EXIT_USAGE)
    if only_check:
        print(f"{path}: ok")
        return EXIT_OK
    try:
        return run(config)
    except (ConfigError, ModelUnavailableError) as error:
        return say(program, error, EXIT_USAGE)
    except OSError as error:
        return say(program, error, EXIT_FAILED)


def serve(
    config: NodeConfig,
    management: ManagementPlane,
    parts: Sequence[Part],
    usage_errors: tuple[type, ...] = (),
) -> int:
    """Run the parts until a signal, a stop command, a failure, or the loss of the management broker.

    While the management broker is away, events wait. A node ends when it is lost for
    `management_lost_after_s`: its run has died.
    """
    signalled = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        signalled.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    management.open()
    for part in parts:
        part.start()
    try:
        return _watch(config, management, parts, signalled)
    finally:
        management.end()
        for part in parts:
            part.stop()
        until_s = time.monotonic() + JOIN_S
        for part in parts:
            part.join(max(0.0, until_s - time.monotonic()))
        management.close()


def _watch(
    config: NodeConfig, management: ManagementPlane, parts: Sequence[Part], signalled: threading.Event
) -> int:
    while not (signalled.wait(WATCH_S) or management.stopped.is_set()):
        for part in parts:
            if part.failure is not None:
                status = EXIT_USAGE if isinstance(part.failure, ModelUnavailableError) else EXIT_FAILED
                return say(config.name, part.failure, status)
        if management.lost_s() > config.management_lost_after_s:
            lost_after_s = config.management_lost_after_s
            problem = f"no management broker at {config.management} for {lost_after_s:g} s"
            return say(config.name, problem, EXIT_FAILED)
    return EXIT_OK


def say(who: str, problem: BaseException | str, status: int) -> int:
    """Print one line on stderr and return `status`."""
    expected = isinstance(problem, str | ConfigError | ModelUnavailableError | OSError)
    text = str(problem) if expected else f"{type(problem).__name__}: {problem}"
    print(f"{who}: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return status


def leave(status: int) -> NoReturn:
    """End the process now.

    Without the interpreter's own end: a generating model cannot be interrupted, and torch alone takes 2 s
    to go. What is on disk is whole at any moment, and the management plane was closed before.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def check_model(config: NodeConfig, path: Path) -> None:
    """See that a model given as a folder is one, or an address one of a server; a profile too.

    A hub name is looked up when it is loaded, a server when it is first asked.
    """
    try:
        if not is_server(config.model):
            check_model_folder(config.model)
            check_options(config.model, config.options)
        else:
            parse_address(config.model)
            check_server_options(config.model, config.options)
    except ModelError as error:
        raise ConfigError(f"{path}: model: {error}") from error
    if config.profile is not None:
        profile = read_profile(config.profile)
        if is_server(config.model):
            raise ConfigError(
                f"{path}: profile: {config.model} is behind a server, which determines its own pace"
            )
        check_comparable(profile, config.options)


def load_model(config: NodeConfig) -> tuple[AnsweringModel, float]:
    """(model, seconds it took); in the thread that will use it. Raises ModelUnavailableError."""
    # Threads that torch makes inherit this: a computing model must not starve those that serve the link.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INFERENCE_NICENESS)
    started_s = time.monotonic()
    try:
        model: AnsweringModel
        if is_server(config.model):
            model = connect(config.model, socket=config.model_socket, options=config.options)
        elif config.shared_models is not None:
            from nodes.vlm.shared.remote import connect_model  # imports numpy and Pillow

            model = connect_model(
                config.model, config.shared_models, config.options, memory=config.answer_memory
            )
        else:
            from nodes.vlm import model as vlm  # torch takes seconds, and --check must not

            model = vlm.load_model(config.model, config.options)
    except ModelError as error:
        raise ModelUnavailableError(str(error)) from error
    except ImportError as error:
        raise ModelUnavailableError(
            f"{error}; install the packages of a node: pip install '.[node]'"
        ) from error
    return model, time.monotonic() - started_s


def warm_up(model: AnsweringModel) -> float:
    """Let a model answer once before any frame comes; seconds. Raises ModelUnavailableError."""
    try:
        return model.warm_up()
    except ModelError as error:
        raise ModelUnavailableError(str(error)) from error
