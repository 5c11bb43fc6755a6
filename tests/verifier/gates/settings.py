"""The numbers of the gates in these tests."""

from datachef_jax.verifier.gates.settings import GateSettings

SETTINGS = GateSettings(
    max_chars=400,
    max_tokens=100,
    repetition_ngram=3,
    repetition_min_tokens=20,
    max_repetition=0.5,
    min_language=0.9,
    near_duplicate=0.8,
    contamination_weight=2.0,
    flag_weights={"personal_data": 0.5, "unsafe": 0.0},
    enough_rows=7,
    volume_power=1.0,
)
