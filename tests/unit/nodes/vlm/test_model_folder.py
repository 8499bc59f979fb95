from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.errors import ModelError
from nodes.models import COMPACT, REGULAR
from nodes.vlm.folder import check_model_folder, is_hub_name


@pytest.mark.parametrize("folder", [COMPACT, REGULAR])
def test_the_shipped_pair_passes_and_only_whole(folder: Path, tmp_path: Path) -> None:
    check_model_folder(folder)
    for left_out in ("config.json", "processor_config.json", "model.safetensors"):
        part = tmp_path / left_out
        part.mkdir()
        for path in folder.iterdir():
            if path.name != left_out:
                (part / path.name).symlink_to(path)
        with pytest.raises(ModelError, match=r"has no (weights|\S+json)"):
            check_model_folder(part)


def test_checking_and_finding_the_pair_import_no_torch() -> None:
    code = (
        "import sys; from nodes.vlm.folder import check_model_folder; from nodes.models import COMPACT;"
        "import nodes.vlm.model, nodes.data; check_model_folder(COMPACT);"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _cut_header(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])


def _no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _text_only(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def _missing_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_remove("config.json"), "has no config.json"),
        (_remove("model.safetensors"), "has no weights"),
        (_remove("processor_config.json"), "has no processor_config.json"),
        (_truncate, "model.safetensors is damaged (it has"),
        (_cut_header, "header is cut short"),
        (_no_safetensors, "not that of a safetensors file"),
        (_missing_shard, "has no model-00002-of-00002.safetensors"),
        (_text_only, "is a text-only model (llama)"),
        (_broken_config, "config.json cannot be read"),
    ],
)
def test_a_damaged_folder_gives_one_clear_line(
    model_copy: Path, damage: Callable[[Path], None], expected: str
) -> None:
    check_model_folder(model_copy)
    damage(model_copy)
    with pytest.raises(ModelError) as raised:
        check_model_folder(model_copy)
    assert expected in str(raised.value)
    assert str(model_copy) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_path_that_is_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        check_model_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        check_model_folder(tmp_path / "file")


def test_hub_names_are_told_from_paths() -> None:
    assert is_hub_name("Qwen/Qwen2-VL-2B-Instruct")
    assert not any(is_hub_name(path) for path in (COMPACT, "./compact", "/no/where", "a/b/c", "../x"))
