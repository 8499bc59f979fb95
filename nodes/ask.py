"""Asks a vision-language model one question about an image: `python -m nodes.ask`, `spaceverse ask`."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nodes.contract.answers import is_right
from nodes.contract.files import NO_ROOM, check_output, is_stdout, replacing
from nodes.contract.models.command_line import add_model_options, model_options_of
from nodes.contract.strict import as_shown
from nodes.errors import AskError, ImageError, ModelError, first_line
from nodes.vlm.answer import check_confidence
from nodes.vlm.image import open_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from nodes.contract.models.options import ModelOptions
    from nodes.vlm.answer import Answer, ServerAnswer
    from nodes.vlm.model import VisionLanguageModel

PROGRAM = "python -m nodes.ask"
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
_TITLE_CHARACTERS = 160
_EPILOG = """examples:
  %(prog)s nodes/models/compact frame.jpg "How many ships?"
  %(prog)s nodes/models/compact frame.jpg "Any forest?" --attention a.png
  %(prog)s nodes/models/compact frame.jpg "Any forest?" --truth no
  %(prog)s Qwen/Qwen2-VL-2B-Instruct frame.jpg "Any forest?" --device cuda
  %(prog)s openai:http://127.0.0.1:8000/v1 frame.jpg "Any forest?"

The last example asks a model behind vLLM or another OpenAI-compatible server.
Images with more than 100 megapixels are rejected; sides longer than 4096 px are
reduced to that.

exit codes: 0 answered; 1 the model failed to answer; 2 the model or the image
cannot be used; 130 interrupted by Ctrl-C
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of the usage, and exit with 2."""
        self.exit(2, f"{self.prog}: error: {message.removeprefix('argument ')}; see {self.prog} --help\n")


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Return the program's command line.

    Args:
        program: The name under which the help describes the program.
    """
    command_line = _Parser(
        prog=program,
        description="Ask a vision-language model about an image.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command_line.add_argument
    add("model", metavar="MODEL", help="model folder, hub name, or openai:http://HOST:PORT/v1[#NAME]")
    add("image", metavar="IMAGE", type=Path, help="image file")
    add("prompt", metavar="PROMPT", help="question about the image")
    add("--attention", metavar="PNG", type=Path, help="draw a map of the model's attention to this file")
    add(
        "--truth",
        metavar="TEXT",
        action="append",
        help="right answer, to say whether the model's is right; give it again for each further right answer",
    )
    add("--cold", action="store_true", help="skip the warm-up, so that the times include one-time costs")
    add("--json", action="store_true", help="print one JSON object")
    add_model_options(command_line, tokens=32)
    return command_line


def run(options: argparse.Namespace) -> int:
    """Ask the model, print the answer, draw the attention.

    Returns:
        The exit code.

    Raises:
        ModelError: The model cannot be used.
        ImageError: The image cannot be used, or the folder of the attention map is missing.
        AskError: The model failed to answer.
    """
    try:
        runs = model_options_of(options)
    except ValueError as error:
        raise ModelError(str(error)) from error
    if options.attention:
        try:
            check_output(options.attention)
        except OSError as error:
            raise ImageError(f"--attention {options.attention}: {error.strerror}") from error
        if is_stdout(options.attention):
            raise ImageError("--attention -: the answer goes to standard output; name a file")
    try:
        image = open_image(options.image)
    except OSError as error:
        raise ImageError(f"{options.image}: {error.strerror}") from error
    model = _load(options, runs)
    warm_up_s = None if options.cold else model.warm_up()
    try:
        if options.attention:
            answer = _answer_and_draw(model, image, options)
        else:
            answer = model.answer(image, options.prompt, max_new_tokens=options.tokens)
        check_confidence(answer.confidence)
    except Exception as error:  # a user's model may raise anything
        raise AskError(
            f"{options.model} failed to answer about {options.image}: {first_line(error)}"
        ) from error
    _print(answer, warm_up_s, options)
    return 0


def _load(options: argparse.Namespace, runs: ModelOptions) -> Any:
    """Return the model: an `AnsweringModel`, and a `VisionLanguageModel` if attention is requested."""
    from nodes.vlm.loading.checks import check_server_options
    from nodes.vlm.model import load_model
    from nodes.vlm.openai import connect, is_server

    if not is_server(options.model):
        return load_model(options.model, runs)
    if options.attention:
        raise ModelError(f"{options.model} is behind a server, which does not report attention")
    if options.threads is not None:
        raise ModelError(f"--threads has no effect on {options.model}; set it where the server is started")
    check_server_options(options.model, runs)
    return connect(options.model, options=runs)


def _print(answer: Answer | ServerAnswer, warm_up_s: float | None, options: argparse.Namespace) -> None:
    memory = getattr(answer, "peak_memory", None)  # not reported by a server, like the token ids
    times = {**asdict(answer.timings), "total_s": answer.timings.total_s}
    right = None if options.truth is None else is_right(answer.text, options.truth[0], options.truth[1:])
    if options.json:
        result = {
            "answer": answer.text,
            **({} if right is None else {"right": right}),
            "confidence": answer.confidence,
            "token_ids": getattr(answer, "token_ids", None),
            "token_logprobs": answer.token_logprobs,
            "timings": times,
            "warm_up_s": warm_up_s,
            "peak_memory": None if memory is None else asdict(memory),
        }
        print(json.dumps(result))
        return
    try:
        from rich.console import Console  # not on a bare board
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        raise ModelError("tables need the package rich: pip install rich, or pass --json") from None
    table = Table("quantity", "value")
    table.add_row("answer", Text(as_shown(answer.text)))
    if right is not None:
        table.add_row("right", "yes" if right else "no")
    confidence = "not reported by the server" if answer.confidence is None else f"{answer.confidence:.3f}"
    table.add_row("confidence", confidence)
    for name, seconds in times.items():
        table.add_row(name.removesuffix("_s"), f"{seconds * 1000:.1f} ms")
    if warm_up_s is not None:
        table.add_row("warm-up (not in total)", f"{warm_up_s * 1000:.1f} ms")
    if memory is not None:
        table.add_row("peak memory", f"{memory.size_bytes / 1e6:.0f} MB ({memory.of})")
    Console().print(table)
    if options.attention:
        print(f"attention map: {options.attention}", file=sys.stderr)


def _answer_and_draw(model: VisionLanguageModel, image: Image, options: argparse.Namespace) -> Answer:
    """Answer, and draw the attention of the prompt's last token over the image, averaged over all heads."""
    from nodes.vlm.token_grid import frame_map  # imports numpy

    with model.begin(image, options.prompt, max_new_tokens=options.tokens) as session:
        session.decode()
        answer = session.answer()
        weights = session.attention()[:, :, -1].mean(axis=(0, 1))
        heat = frame_map(weights / weights.sum(), session.grids, image.width, image.height)
    _draw(image, heat / heat.mean(), f"{options.prompt}\n{answer.text}", options.attention)
    return answer


def _draw(image: Image, heat: NDArray[np.float64], title: str, path: Path) -> None:
    from matplotlib.figure import Figure  # slow

    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image)
    shown = axes.imshow(heat, cmap="inferno", alpha=0.55)
    figure.colorbar(shown, ax=axes, label="attention of the prompt relative to the image's mean")
    axes.set_title(_shortened(title), parse_math=False)
    axes.set_xlabel("px")
    axes.set_ylabel("px")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)


def _shortened(text: str) -> str:
    return text if len(text) <= _TITLE_CHARACTERS else text[: _TITLE_CHARACTERS - 1] + "…"


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program.

    Args:
        arguments: The command line; by default that of this process.
        program: The name under which the help describes the program.

    Returns:
        The exit code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an answer may hold what an ASCII terminal cannot show
    try:
        # `spaceverse ask` blocks the signal until this program can end without a traceback.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = run(parser(program).parse_args(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes again at its end
        return EXIT_PIPE_CLOSED
    except OSError as error:
        if error.filename is not None or error.errno not in NO_ROOM:
            raise
        print(f"spaceverse: error: the answer cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (AskError, ImageError, ModelError) as error:
        print(f"spaceverse: error: {as_shown(str(error))}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
