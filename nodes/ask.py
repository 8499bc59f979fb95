"""`spaceverse ask`: one prompt about images to one model, with confidence, times and where it looked."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.files import replacing
from nodes.errors import AskError, ImageError, ModelError
from nodes.vlm.image import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.answer import Answer, ServerAnswer
    from nodes.vlm.session import Session

_EPILOG = """examples:
  spaceverse ask nodes/models/compact frame.jpg "How many ships are on the water?"
  spaceverse ask nodes/models/compact frame.jpg "Is there any forest?" --attention looked.png
  spaceverse ask Qwen/Qwen2-VL-2B-Instruct frame.jpg "What is this?" --tokens 64 --device cuda --json
  spaceverse ask openai:http://127.0.0.1:8000/v1 frame.jpg "What is this?"     behind vLLM or another server

Images of more than 100 megapixels are refused; longer sides than 4096 px are reduced first.
exit codes: 0 answered; 1 the model failed; 2 the model or the image cannot be used; 130 stopped by Ctrl-C
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "ask",
        help="ask a vision-language model about an image",
        description="Ask a vision-language model about an image.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="folder, hub name, or openai:http://HOST:PORT/v1[#model]"
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="image file")
    parser.add_argument("prompt", metavar="PROMPT", help="the question")
    parser.add_argument("--attention", metavar="PNG", type=Path, help="draw where the model looked")
    parser.add_argument("--tokens", metavar="N", type=_positive, default=32, help="at most N tokens (32)")
    parser.add_argument("--device", default="cpu", help="as torch names it: cpu, cuda, cuda:1 (cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights (float32 on a CPU)"
    )
    parser.add_argument("--cold", action="store_true", help="no warm-up: the times hold what happens once")
    parser.add_argument("--threads", metavar="N", type=_positive, help="of torch (as torch chooses)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Ask, print, draw; returns the exit code."""
    if arguments.attention and not arguments.attention.absolute().parent.is_dir():
        raise ImageError(f"no folder {arguments.attention.parent} for {arguments.attention}: make it first")
    image = open_image(arguments.image)
    from nodes.errors import AskError, first_line
    from nodes.vlm.model import load_model  # not for --help
    from nodes.vlm.openai import connect, is_server  # not for --help

    model: Any
    if is_server(arguments.model):
        if arguments.attention:
            raise ModelError(f"{arguments.model} is behind a server, which does not say where it looks")
        model = connect(arguments.model)
    else:
        model = load_model(
            arguments.model, device=arguments.device, dtype=arguments.dtype, threads=arguments.threads
        )
    warm_up_s = None if arguments.cold else model.warm_up()
    try:
        if arguments.attention:
            with model.begin(image, arguments.prompt, max_new_tokens=arguments.tokens) as session:
                session.decode()
                answer = session.answer()
                _draw(session, image, arguments.prompt, answer.text, arguments.attention)
        else:
            answer = model.answer(image, arguments.prompt, max_new_tokens=arguments.tokens)
    except Exception as error:  # whatever an image does inside somebody's model: one line
        raise AskError(
            f"{arguments.model} could not answer about {arguments.image}: {first_line(error)}"
        ) from error
    _print(answer, warm_up_s, arguments)
    return 0


def _print(answer: Answer | ServerAnswer, warm_up_s: float | None, arguments: argparse.Namespace) -> None:
    memory = getattr(answer, "peak_memory", None)  # a server does not tell, nor which tokens they were
    times = {**asdict(answer.timings), "total_s": answer.timings.total_s}
    if arguments.json:
        result = {
            "answer": answer.text,
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
        raise ModelError("tables need the package rich: pip install rich, or give --json") from None
    table = Table("what", "value")
    table.add_row("answer", Text(answer.text))
    confidence = "the server does not tell" if answer.confidence is None else f"{answer.confidence:.3f}"
    table.add_row("confidence", confidence)
    for name, seconds in times.items():
        table.add_row(name.removesuffix("_s"), f"{seconds * 1000:.1f} ms")
    if warm_up_s is not None:
        table.add_row("warm-up (before)", f"{warm_up_s * 1000:.1f} ms")
    if memory is not None:
        table.add_row("peak memory", f"{memory.size_bytes / 1e6:.0f} MB ({memory.of})")
    Console().print(table)
    if arguments.attention:
        print(f"attention: {arguments.attention}", file=sys.stderr)


def _draw(session: Session, image: Image, prompt: str, answer: str, path: Path) -> None:
    """Draw where the prompt's last token looks, mean over layers and heads, over the image."""
    from matplotlib.figure import Figure  # slow

    from nodes.vlm.token_grid import frame_map

    weights = session.attention()[:, :, -1].mean(axis=(0, 1))
    heat = frame_map(weights / weights.sum(), session.grids, image.width, image.height)
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image)
    shown = axes.imshow(heat / heat.mean(), cmap="inferno", alpha=0.55)
    figure.colorbar(shown, ax=axes, label="attention of the prompt, times the image's mean")
    axes.set_title(_plain(f"{prompt}\n{answer}"), parse_math=False)
    axes.set_xlabel("px")
    axes.set_ylabel("px")
    _save(figure, path)


def _plain(text: str, longest: int = 160) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Run without the testbed: `python -m nodes.ask ask MODEL IMAGE PROMPT`."""
    root = argparse.ArgumentParser(prog="python -m nodes.ask")
    add_parser(root.add_subparsers(required=True))
    arguments = root.parse_args(argv)
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return 130
    except (AskError, ImageError, ModelError) as error:
        print(f"spaceverse: error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
