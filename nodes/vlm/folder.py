"""Quick checks of a model's folder, in milliseconds and without importing torch.

They find common mistakes: a wrong path, missing or truncated weights, a text-only model. Whether the model
runs is known only once `nodes.vlm.model.load_model` has loaded it.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from nodes.errors import ModelError

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
_INDEX = "model.safetensors.index.json"
_HEADER_SIZE_BYTES = 8
_LARGEST_HEADER_BYTES = 100_000_000
_SAMPLE_BYTES = 1 << 20


def is_hub_name(name_or_folder: str | Path) -> bool:
    """Return whether the name must be a hub name: formed like `owner/model`, with no such folder."""
    return not Path(name_or_folder).exists() and bool(_HUB_NAME.fullmatch(str(name_or_folder)))


def check_model_folder(name_or_folder: str | Path) -> None:
    """Check that transformers could load an image-text-to-text model from a folder.

    A hub name passes unchecked, because its files are known only after the download.

    Raises:
        ModelError: The folder holds no such model.
    """
    if is_hub_name(name_or_folder):
        return
    folder = Path(name_or_folder)
    if not folder.exists():
        raise ModelError(f"no model folder {folder}: check the path, or give a hub name such as owner/model")
    if not folder.is_dir():
        raise ModelError(f"{folder} is a file: pass the folder that contains config.json and the weights")
    config = _read_json(folder / "config.json", "is this a model folder?")
    if not _takes_images(config):
        kind = config.get("model_type", "unknown type")
        raise ModelError(f"{folder} is a text-only model ({kind}): use a vision-language model")
    if not any((folder / name).is_file() for name in _PROCESSOR_FILES):
        raise ModelError(f"{folder} has no {_PROCESSOR_FILES[0]}: save the model's processor there as well")
    _check_weights(folder)


def fingerprint(name_or_folder: str | Path) -> str:
    """Return a fingerprint of a model's weights, in milliseconds; a hub name is its own fingerprint.

    It is a hash of the size, beginning and end of each weights file: training changes all weights.
    """
    if not Path(name_or_folder).is_dir():
        return str(name_or_folder)
    digest = hashlib.sha256()
    files = sorted(p for p in Path(name_or_folder).iterdir() if p.suffix in (".safetensors", ".bin"))
    for path in files:
        size_bytes = path.stat().st_size
        digest.update(f"{path.name} {size_bytes}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size_bytes - _SAMPLE_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no {path.name}: {advice}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}): copy the model again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object: copy the model again")
    return content


def _takes_images(config: dict[str, Any]) -> bool:
    # vision_config in nearly all families; image_token_id, image_size or vq_config in the few without
    return any(part in key for key in config for part in ("vision", "image", "vq_config"))


def _check_weights(folder: Path) -> None:
    if (folder / _INDEX).is_file():
        shards = _read_json(folder / _INDEX, "").get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelError(f"{folder / _INDEX} lists no weights: copy the model again")
        for name in sorted(set(shards.values())):
            _check_safetensors(folder / str(name))
    elif (folder / "model.safetensors").is_file():
        _check_safetensors(folder / "model.safetensors")
    elif not any(folder.glob("pytorch_model*.bin")):
        raise ModelError(f"{folder} has no weights: model.safetensors is missing, copy the model again")


def _check_safetensors(path: Path) -> None:
    """Check that a file has the length stated in its header (section "Format" of the format's README)."""
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(_HEADER_SIZE_BYTES), "little")
            if not 2 <= header_bytes <= _LARGEST_HEADER_BYTES:
                raise ValueError("its header is not that of a safetensors file")
            header = json.loads(file.read(header_bytes))
        end_bytes = max((value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"))
        expected_bytes = _HEADER_SIZE_BYTES + header_bytes + int(end_bytes)
        if path.stat().st_size != expected_bytes:
            raise ValueError(f"it has {path.stat().st_size} bytes, its header states {expected_bytes}")
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no {path.name}: copy the model again") from None
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        reason = (
            "its header is cut short" if isinstance(error, json.JSONDecodeError | UnicodeError) else error
        )
        raise ModelError(f"{path} is damaged ({reason}): copy the model again") from None
