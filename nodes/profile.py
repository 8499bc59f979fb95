"""Measures how long each stage of an answer takes on this machine, and what it costs.

python -m nodes.profile MODEL --output profile.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nodes.board.assignment import model_folder
from nodes.contract.config import ConfigError
from nodes.errors import ModelError
from nodes.profiles.pace import further_tokens
from nodes.profiles.profile import AnswerEnergy, Profile, Stage
from nodes.vlm.folder import check_model_folder
from nodes.vlm.image import open_image

_SHIPPED = Path(__file__).parent
_EPILOG = """examples:
  python -m nodes.profile nodes/models/compact --output jetson-orin-nx.json --name jetson-orin-nx
  python -m nodes.profile Qwen/Qwen2-VL-2B-Instruct --device cuda --output orin.json
  python -m nodes.profile nodes/models/compact --data my_frames --repeats 50 --output pi5.json

The cold start is that of a new process whose files the kernel may still have in memory.
exit status: 0 measured and written; 1 the model failed; 2 the model or the images cannot be used
"""
IDLE_S = 3.0
BETWEEN_S = 0.3  # so that the power of one answer is not that of the next


def measure_profile(
    model_name: str,
    *,
    name: str,
    data: Path,
    repeats: int = 20,
    cold_starts: int = 3,
    max_new_tokens: int = 8,
    device: str = "cpu",
    threads: int | None = None,
) -> Profile:
    """Measure a model on this machine.

    Args:
        model_name: folder or hub name.
        name: of the machine.
        data: folder of frames and prompts, as `spaceverse eval` reads them.
        repeats: answers that count, after two that warm up.
        cold_starts: new processes that load the model and answer once; 0 for none.
        max_new_tokens: at most so many tokens in an answer.
        device: as torch names it.
        threads: of torch.

    Raises ModelError and DataError (ValueError): the model or the images cannot be used.
    """
    from nodes.data.pairs import read_pairs  # numpy
    from nodes.vlm.model import load_model  # torch

    check_model_folder(model_name)
    pairs = read_pairs(data)
    cold_s = [_cold_start_s(model_name, pairs[0].image, device, threads) for _ in range(cold_starts)]
    model = load_model(model_name, device=device, threads=threads)
    model.warm_up()
    samples: dict[str, list[float]] = {"cold_start": cold_s} if cold_s else {}
    energies: list[float] = []
    with ExitStack() as stack:
        meter, idle_w, no_energy = _meter(stack)
        for number in range(-2, repeats):
            pair = pairs[number % len(pairs)]
            begin_s = time.monotonic()
            image = open_image(pair.image)
            opened_s = time.monotonic() - begin_s
            answer = model.answer(image, pair.prompt, max_new_tokens=max_new_tokens)
            end_s = time.monotonic()
            seconds = _stages(answer, opened_s, max_new_tokens) | _messages(model, pair, image)
            if number < 0:
                continue
            for stage, taken_s in seconds.items():
                samples.setdefault(stage, []).append(taken_s)
            if meter is not None:
                time.sleep(BETWEEN_S)
                if (energy := meter.energy(begin_s, end_s)) is not None:
                    energies.append(energy.energy_j)
                    source, scope = energy.source, energy.scope
        if meter is not None and not energies:
            no_energy = f"answers are too short for {meter.source}"
    if "decode" not in samples:
        raise ModelError(f"{model_name} never gave a second token: raise --tokens, or give other frames")
    return Profile(
        name=name,
        model=model_name,
        parameters=model.parameters,
        device=device,
        threads=threads,
        machine=_machine(),
        measured_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        image_px=sorted({open_image(pair.image).size for pair in pairs[:repeats]}),
        stages={stage: _stage(values) for stage, values in samples.items()},
        energy=_energy(energies, idle_w, source, scope) if energies else None,
        no_energy=None if energies else no_energy,
        throttled=_throttled(),
    )


def _stages(answer: Any, opened_s: float, max_new_tokens: int) -> dict[str, float]:
    timings = answer.timings
    stages = {
        "preprocess": opened_s + timings.preprocess_s,
        "vision": timings.vision_s,
        "prefill": timings.prefill_s,
    }
    further = further_tokens(len(answer.token_ids), max_new_tokens)
    return stages | ({"decode": timings.decode_s / further} if further else {})


def _messages(model: Any, pair: Any, opened: Any) -> dict[str, float]:
    """What the satellite's program takes to find regions, to make a message of them, and a smaller frame."""
    from nodes.onboard.layout import Layout
    from nodes.onboard.message import make_message  # numpy
    from nodes.onboard.stages import StagedAnswer
    from nodes.policies import SendReduced, SendRegions

    layout = Layout()
    scores = [1.0 + 1.0 / (1 + index) for index in range(layout.rows * layout.columns)]
    regions = SendRegions(pair.image.stat().st_size // 3)
    begin_s = time.monotonic()
    make_message(SendReduced(2), lambda: open_image(pair.image), lambda: scores, layout)
    reduced_s = time.monotonic()
    make_message(regions, lambda: opened, lambda: scores, layout)
    seconds = {"reduce": reduced_s - begin_s, "pack": time.monotonic() - reduced_s}
    with suppress(ValueError):  # a family whose attention cannot be mapped sends no regions
        staged = StagedAnswer(model, opened, pair.prompt, layout, 1)
        begin_s = time.monotonic()
        staged.attention()
        seconds["attend"] = time.monotonic() - begin_s
    return seconds


def _meter(stack: ExitStack) -> tuple[Any, float, str | None]:
    """(energy meter or None, idle power in watts, why there is none); idling is with the model loaded."""
    from nodes.sensors.energy import EnergyMeter  # only here
    from nodes.sensors.reading import SensorError
    from nodes.sensors.search import find_power_sensor

    try:
        meter = stack.enter_context(EnergyMeter(find_power_sensor()))
        return meter, meter.idle(IDLE_S), None
    except SensorError as error:
        return None, 0.0, str(error)


def _energy(values: Sequence[float], idle_w: float, source: str, scope: str) -> AnswerEnergy:
    return AnswerEnergy(
        p50_j=percentile(values, 50), p95_j=percentile(values, 95),
        count=len(values), idle_w=idle_w, source=source, scope=scope,
    )  # fmt: skip


def _stage(values: Sequence[float]) -> Stage:
    return Stage(p50_s=percentile(values, 50), p95_s=percentile(values, 95), count=len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile with straight lines between the values in order, as NumPy's default."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _cold_start_s(model_name: str, image: Path, device: str, threads: int | None) -> float:
    """From a process's start to its first answer."""
    command = [sys.executable, "-m", "nodes.profile", model_name, "--once", str(image), "--device", device]
    command += [] if threads is None else ["--threads", str(threads)]
    begin_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"a cold start failed: {said[-1]}")
    return float(json.loads(done.stdout)["answered_monotonic_s"]) - begin_s


def _once(model_name: str, image: Path, device: str, threads: int | None) -> None:
    from nodes.vlm.model import load_model  # torch

    model = load_model(model_name, device=device, threads=threads)
    model.answer(open_image(image), "What is this?", max_new_tokens=2)
    print(json.dumps({"answered_monotonic_s": time.monotonic()}))


def _machine() -> dict[str, str]:
    """What the machine says of itself; a board names itself in its device tree."""
    said = {"host": platform.node(), "architecture": platform.machine(), "kernel": platform.release()}
    said["processors"] = str(os.cpu_count())
    for path in (Path("/proc/device-tree/model"), Path("/sys/class/dmi/id/product_name")):
        try:
            said["board"] = path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
            break
        except OSError:
            continue
    return said


def _throttled() -> list[str] | None:
    from nodes.sensors.raspberry import throttling  # only here
    from nodes.sensors.reading import SensorError

    try:
        return list(throttling().since_boot)
    except SensorError:
        return None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m nodes.profile",
        description="Measure how long each stage of an answer takes on this machine, and what it costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("model", metavar="MODEL", help="folder or hub name of an image-text-to-text model")
    made.add_argument(
        "-o", "--output", type=Path, metavar="FILE", default=Path("profile.json"), help="(profile.json)"
    )
    made.add_argument("--name", default=platform.node() or "board", help="of the machine (its host name)")
    made.add_argument(
        "--data", type=Path, default=_SHIPPED / "data/first-light", metavar="DIR",
        help="frames and prompts (those that ship)",
    )  # fmt: skip
    made.add_argument("--repeats", type=int, default=20, metavar="N", help="answers that count (20)")
    made.add_argument("--cold-starts", type=int, default=3, metavar="N", help="new processes to start (3)")
    made.add_argument("--tokens", type=int, default=8, metavar="N", help="at most N tokens per answer (8)")
    made.add_argument("--device", default="cpu", help="as torch names it: cpu, cuda (cpu)")
    made.add_argument("--threads", type=int, metavar="N", help="of torch (as torch chooses)")
    made.add_argument(
        "--models", type=Path, metavar="DIR", help="where MODEL may lie, as a board's agent has it"
    )
    made.add_argument("--once", type=Path, metavar="IMAGE", help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.once is not None:
            _once(options.model, options.once, options.device, options.threads)
            return 0
        if options.repeats < 1 or options.cold_starts < 0 or options.tokens < 2:
            raise ConfigError("--repeats must be 1 or more, --cold-starts 0 or more, --tokens 2 or more")
        if not options.output.absolute().parent.is_dir():
            raise ConfigError(f"no folder {options.output.parent} for {options.output}: make it first")
        profile = measure_profile(
            str(model_folder(options.model, options.models)), name=options.name, data=options.data,
            repeats=options.repeats, cold_starts=options.cold_starts,
            max_new_tokens=options.tokens, device=options.device, threads=options.threads,
        )  # fmt: skip
    except ValueError as error:  # of models, images, data and options: what the user can mend
        print(f"profile: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    options.output.write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for line in lines(profile):
        print(line)
    print(f"written to {options.output}")
    return 0


def lines(profile: Profile) -> list[str]:
    """A profile for people."""
    table = [f"{'stage':12} {'p50':>12} {'p95':>12} {'n':>4}"]
    table += [
        f"{name:12} {stage.p50_s * 1e3:9.2f} ms {stage.p95_s * 1e3:9.2f} ms {stage.count:4}"
        for name, stage in profile.stages.items()
    ]
    if (energy := profile.energy) is not None:
        table.append(
            f"energy       {energy.p50_j:10.2f} J {energy.p95_j:10.2f} J {energy.count:4}  above idling at "
            f"{energy.idle_w:.2f} W; {energy.source}; {energy.scope}"
        )
    else:
        table.append(f"energy       not measured: {profile.no_energy}")
    if profile.throttled:
        table.append(f"throttled since the machine was switched on: {', '.join(profile.throttled)}")
    return table


if __name__ == "__main__":
    raise SystemExit(main())
