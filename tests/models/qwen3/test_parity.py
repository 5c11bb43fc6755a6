"""Compares our Qwen3 with transformers', on random weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")  # requirements-parity.txt

import transformers  # noqa: E402

from datachef_jax.models.qwen3 import weights  # noqa: E402
from tests.models.qwen3 import tiny  # noqa: E402
from tests.models.qwen3 import write_golden  # noqa: E402

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reads_what_transformers_wrote_and_agrees_on_padded_rows(tmp_path, tied, seed):
    reference = write_golden.model(tied=tied, seed=seed)
    reference.save_pretrained(tmp_path)
    tokens = np.random.default_rng(seed).integers(0, 64, (3, 12))
    real = np.arange(12)[None] < np.array(write_golden.LENGTHS)[:, None]
    got = tiny.logits(weights.load(tmp_path, tiny.COMPUTE), tokens, segments=real)
    expected = write_golden.logits(reference, tokens)
    np.testing.assert_allclose(got[real], expected[real], atol=1e-4)


def test_agrees_on_packed_segments(tmp_path):
    reference = write_golden.model(tied=True, seed=4)
    reference.save_pretrained(tmp_path)
    lengths = (5, 140, 55)  # more than one block of queries
    tokens = np.random.default_rng(4).integers(0, 64, (1, sum(lengths)))
    got = tiny.logits(
        weights.load(tmp_path, tiny.COMPUTE),
        tokens,
        positions=np.concatenate([np.arange(n) for n in lengths])[None],
        segments=np.repeat([1, 2, 3], lengths)[None],
    )
    parts = np.split(tokens, np.cumsum(lengths)[:-1], axis=1)
    with torch.no_grad():
        expected = [reference(torch.tensor(part)).logits.numpy() for part in parts]
    np.testing.assert_allclose(got, np.concatenate(expected, axis=1), atol=1e-4)


_KINDS = {
    "qwen3": {},
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "sliding": {
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
    },
    "llama": {
        "family": "Llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
}


@pytest.mark.parametrize("start", [0, 39_000])
@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_agrees_at_small_and_large_positions(tmp_path, kind, start):
    reference = write_golden.model(tied=False, seed=6, **_KINDS[kind])
    reference.save_pretrained(tmp_path)
    model = weights.load(tmp_path, tiny.COMPUTE)
    tokens = np.random.default_rng(6).integers(0, 64, (2, 200))
    positions = np.broadcast_to(start + np.arange(200), (2, 200))
    with torch.no_grad():
        expected = reference(
            torch.tensor(tokens), position_ids=torch.tensor(positions)
        ).logits.numpy()
    got = tiny.logits(model, tokens, positions=positions)
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_is_written_as_transformers_would(tmp_path, kind):
    reference = write_golden.model(tied=True, seed=7, **_KINDS[kind])
    reference.save_pretrained(tmp_path / "theirs")
    model = weights.load(tmp_path / "theirs", tiny.COMPUTE)
    weights.save(model, tmp_path / "ours", stored_dtype="float32")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    tokens = torch.tensor(np.random.default_rng(7).integers(0, 64, (2, 100)))
    with torch.no_grad():
        expected, got = reference(tokens).logits, again(tokens).logits
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.UNTIED])
def test_transformers_loads_what_we_save_and_agrees(tmp_path, config):
    model = tiny.make(config)
    weights.save(model, tmp_path, stored_dtype="float32")
    reference, report = transformers.Qwen3ForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    tokens = np.random.default_rng(5).integers(0, 64, (2, 20))
    with torch.no_grad():
        expected = reference(torch.tensor(tokens)).logits.numpy()
    np.testing.assert_allclose(tiny.logits(model, tokens), expected, atol=1e-4)
