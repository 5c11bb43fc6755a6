"""The cold start and GRPO of `configs/*_qwen3.py`, whole path, on tiny checkpoints.

The checkpoints are random weights in the format of the real ones: `config.json`,
several safetensors files with their index, a tokenizer.
"""

import dataclasses
import json
import shutil

import jax
import pytest

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import weights
from datachef_jax.text.tokenizer import ChatTokenizer
from tests import tiny
from tests.experiments.conftest import ROOT

pytestmark = pytest.mark.slow(minutes=2)

_SAMPLE = ROOT / "tests" / "experiments" / "sample_qwen3.py"


@pytest.fixture(scope="module")
def folder(tokenizer_folder, tmp_path_factory):
    """Returns a folder with the checkpoints and the demonstrations."""
    folder = tmp_path_factory.mktemp("qwen3")
    vocab = ChatTokenizer.load(tokenizer_folder).vocab_size
    for seed, name in enumerate(("policy", "judge", "base")):
        made = tiny.random_model(vocab, seed=seed)
        long = dataclasses.replace(made.config, max_positions=40_960, head_dim=16)
        made = weights.random(long, tiny.COMPUTE, seed=seed)
        weights.save(
            made, folder / name, stored_dtype="bfloat16", max_file_bytes=20_000
        )
        assert (folder / name / "model.safetensors.index.json").exists()
    for file in tokenizer_folder.iterdir():
        shutil.copyfile(file, folder / "policy" / file.name)
    dialog = [
        {"role": "user", "content": "Write a data recipe."},
        {"role": "assistant", "content": "## Training Data\n[]\n"},
    ]
    lines = [json.dumps({"dialogs": dialog})] * 8
    (folder / "demonstrations.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _run(start_run, folder, what):
    process = start_run(
        f"--config={_SAMPLE}:{what},{folder}", f"--workdir={folder / what}", cwd=folder
    )
    _, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr
    return folder / what


def test_the_cold_start_leaves_what_grpo_starts_from(start_run, folder):
    made = _run(start_run, folder, "sft")
    figures = json.loads((made / "summary.json").read_text())
    assert figures["updates"] == 4
    assert qwen3_config.from_folder(made / "checkpoint").max_positions == 40_960
    done = _run(start_run, folder, "grpo")
    summary = json.loads((done / "summary.json").read_text())
    assert summary["methods"]["expert"]["tasks"]["simple_equations"]["dvs"]
    (metrics,) = (done / "grpo" / "seed0" / "metrics.jsonl").read_text().splitlines()
    assert "policy/engine_weight" in json.loads(metrics)
    assert jax.tree.leaves(json.loads((done / "environment.json").read_text()))
