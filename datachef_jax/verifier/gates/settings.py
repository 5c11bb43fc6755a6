"""The numbers of all gates."""

from collections.abc import Mapping
import dataclasses
import math

FLAGS = ("personal_data", "unsafe")
"""What is counted in every set, and taken off its score if the config says so."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateSettings:
    """The numbers of all gates.

    Attributes:
      max_chars: Longest question plus answer, in characters.
      max_tokens: The same in tokens, with the chat template: what the model to be
        fine-tuned takes.
      repetition_ngram: Tokens of the runs whose repetition is counted.
      repetition_min_tokens: Shorter texts may repeat themselves as they like; a
        matrix of zeros is no stutter.
      max_repetition: Largest share of runs that are copies of another run.
      min_language: How sure, in [0, 1], one has to be that a text is in a language
        that the benchmark does not use.
      near_duplicate: Jaccard similarity, in [0, 1], from which a row repeats another.
      contamination_weight: Taken from the factor 1 per share of contaminated rows.
      flag_weights: The same per share of flagged rows, by name in `FLAGS`; 0 only
        counts them.
      enough_rows: So many good rows, none of which repeats another, are worth no less
        than more of them.
      volume_power: To which the logarithm of their number is raised, above 0: the
        larger, the more of its worth a dataset gains with its last rows.
    """

    max_chars: int
    max_tokens: int
    repetition_ngram: int
    repetition_min_tokens: int
    max_repetition: float
    min_language: float
    near_duplicate: float
    contamination_weight: float
    flag_weights: Mapping[str, float]
    enough_rows: int
    volume_power: float

    def __post_init__(self):
        at_least_1 = ("max_chars", "max_tokens", "repetition_ngram", "enough_rows")
        at_least_0 = ("contamination_weight",)
        for names, least in ((at_least_1, 1), (at_least_0, 0)):
            for name in names:
                value = getattr(self, name)
                if not value >= least:
                    raise ValueError(f"{name} must be at least {least}, got {value}")
        for name in ("min_language", "near_duplicate", "max_repetition"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        if not 0 < self.volume_power < math.inf:
            raise ValueError(f"volume_power must be above 0, got {self.volume_power}")
        if set(self.flag_weights) != set(FLAGS):
            named = sorted(self.flag_weights)
            raise ValueError(f"flag_weights must name {sorted(FLAGS)}, got {named}")
        for name, value in self.flag_weights.items():
            if not value >= 0:
                raise ValueError(f"flag_weights.{name} must be at least 0, got {value}")
