"""The nouns: what the stages of a training step hand to one another.

Text lives on the host in frozen dataclasses, numbers live on the devices in a
`NamedTuple`, which is a pytree without further ado. Nothing here computes.
"""

import collections
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

Row = dict[str, Any]
"""A training row, `{"dialogs": [{"role": "user", "content": …}, …]}`; it may carry
`source`, the id of the dataset it came from (paper, section 3.2)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handling:
    """What a recipe does with one source, as Python expressions over `row`.

    An expert's handling of a source is what hand-written recipes, demonstrations
    and the single-source baselines are composed of. No prompt ever shows it.
    """

    user: str  # the question, e.g. 'row["problem"]'
    assistant: str  # its answer, e.g. 'to_boxed(row["gold"])'
    keep: str = ""  # which rows to keep, e.g. 'row["score"] >= 3'; "" keeps all
    generate: bool = False  # an LLM answers `user` first, into row["response"]
    worth: float = 1.0  # 0: of no use to the task however handled, 1: good data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A raw dataset as a file, with what its card says about it.

    Attributes:
      id: Its hub id, `owner/name`; unique within the pool.
      path: The file, never written to.
      format: "jsonl", "csv", "parquet" or "json".
      records: Where a "json" file keeps its rows: "" if it is a list, a key such as
        "examples" if a dict holds the list, "*" if it is a dict of rows by id.
      columns: Top-level columns, in file order.
      num_rows: How many rows the file holds.
      card: What it is and what is wrong with it, in words; shown to the policy.
      split: The only split there is.
      name: The only configuration there is.
      examples: Some rows as they are in the file; a prompt shows the first of these.
      plain: The handling that maps question and answer and mends nothing.
      expert: The handling by somebody who read the card.
    """

    id: str
    path: pathlib.Path
    format: str
    records: str
    columns: tuple[str, ...]
    num_rows: int
    card: str
    split: str = "train"
    name: str = "default"
    examples: tuple[Mapping[str, Any], ...] = ()
    plain: Handling
    expert: Handling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One benchmark question with its reference answer (bare, without contract)."""

    question: str
    answer: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What the data is to teach, how that is measured, and the sources at hand.

    The triple (I, tau, D) of the paper's section 2.

    Attributes:
      name: Unique name, e.g. "number_sorting".
      domain: The paper's column "domain", e.g. "algorithmic".
      instruction: What the model must learn, in words.
      benchmark: Name of the benchmark, e.g. "number_sorting-200".
      benchmark_description: What it asks and how an answer is written and compared.
      contract: How an answer is written: "plain", "boxed", "letter", "json", "code" or
        a JSON schema; see `scoring.answers`.
      metric: "exact_match" or "math" (numbers are compared by value).
      examples: The benchmark. Never shown to a policy, never to be trained on.
      sources: The datasets that a recipe may draw on.
      held_out: "" for training tasks, else "in_domain" or "out_of_domain".
    """

    name: str
    domain: str
    instruction: str
    benchmark: str
    benchmark_description: str
    contract: str
    metric: str
    examples: tuple[Example, ...]
    sources: tuple[Source, ...]
    held_out: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanItem:
    """One entry of the plan's `## Training Data` list (paper, section 3.1)."""

    dataset_id: str
    split: str
    name: str
    sample_num: int
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A parsed completion: the plan and its two scripts."""

    training_data: tuple[PlanItem, ...]
    workflow: str
    processing: str  # Python: writes data/processed/*.jsonl
    verification: str  # Python: checks what was written


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a recipe left under `data/processed/`, parsed.

    Attributes:
      rows: The rows with the right schema, in file and line order.
      malformed: How many rows break the schema.
      first_error: What is wrong with the first of those, for the log.
      ignored: Files beside the `*.jsonl` ones, which nobody reads.
    """

    rows: tuple[Row, ...]
    malformed: int = 0
    first_error: str = ""
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How one recipe's script ended and what it left.

    Attributes:
      kind: "ok", "unparsed" (no recipe could be read from the completion), or one of
        `sandbox.job.KINDS`. "sandbox_error" is our own fault, everything else the
        recipe's.
      log: End of what the script printed, with the traceback if there is one, or
        why the completion could not be parsed.
      dataset: What it wrote; no rows unless kind is "ok".
      recipe: What ran; None if none could be read.
      verification: Kind in which the verification script ended, "" if not run.
      calls: Toolkit calls in order: function, rows in, rows out.
      cpu_seconds: Of the child process.
      wall_seconds: From fork to exit, without waiting for LLM answers.
      peak_bytes: Largest resident set.
      written_bytes: What its directory held at its end.
    """

    kind: str
    log: str
    dataset: Dataset
    recipe: Recipe | None = None
    verification: str = ""
    calls: tuple[tuple[str, int, int], ...] = ()
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_bytes: int = 0
    written_bytes: int = 0

    @property
    def verified(self) -> bool:
        """Says whether its own checks, if it has any, found no fault; ours is none."""
        return self.verification in ("ok", "", "sandbox_error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradedRow:
    """The verifier's opinion of one row.

    Attributes:
      index: Position of the row in its dataset.
      gate: Name of the deterministic gate that stopped it, "" if none did.
      grade: "A" to "E" (paper, section 3.2), "" if a gate stopped it or the
        judge's answer could not be read.
      score: In [0, 1]: 0 if gated, else the judge's expected score.
    """

    index: int
    gate: str
    grade: str
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a recipe's data may be expected to teach, by the learned proxy.

    Attributes:
      mean: Of the downstream score, in standard deviations from the mean of all
        datasets that were fine-tuned on for the same task.
      std: Of a measurement of it, likewise.
      bound: In [0, 1]: which share of those datasets it beats even if its score is as
        many standard deviations below the mean as the run is cautious.
      unfamiliar: Whether the recipe is unlike all whose scores are known.
      results: How many those are.
    """

    mean: float
    std: float
    bound: float
    unfamiliar: bool
    results: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verifier's opinion of one recipe's dataset.

    Attributes:
      outcome: "scored", "empty" (no data: -lambda_empty), "format" (the rows break
        the training format: -lambda_format) or "unscored" (our own fault: the
        recipe neither counts nor learns).
      score: In [0, 1]: a power of the gated mean grade x the factors of the set's
        gates; DVS / 100.
      interval: Ends of the 90 % bootstrap interval of the score, over the draw.
      gates_score: The score if every row that passes the gates were worth 1.
      judge_score: The score without any gate: mean grade of the judged rows.
      held_out_score: The score by the judge that is never rewarded; None without one.
      forecast: Of the learned proxy; None without one.
      factors: Multiplier in [0, 1] of each gate on the whole set, by name.
      gates: Rows of the draw stopped by each row gate, by name.
      found: Rows of the whole set that each set gate found, by name; "schema" counts
        lines that are no rows.
      rows: The rows that were drawn, with their grades.
      note: For the log: what went wrong, or "".
    """

    outcome: str
    score: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    gates_score: float = 0.0
    judge_score: float = 0.0
    held_out_score: float | None = None
    forecast: Forecast | None = None
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gates: Mapping[str, int] = dataclasses.field(default_factory=dict)
    found: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rows: tuple[GradedRow, ...] = ()
    note: str = ""

    @property
    def grades(self) -> Mapping[str, int]:
        """Returns how many of the drawn rows got each grade."""
        return collections.Counter(row.grade for row in self.rows if row.grade)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completion:
    """What the engine sampled for one request.

    Attributes:
      tokens: Sampled ids, the end token included if it was reached.
      logprobs: Natural-log probability of each under the sampling distribution.
      raw_logprobs: The same under the model's own distribution.
      versions: Of the weights that each was drawn with.
      ended: "end" at the end token or a stop token, "length" where it was cut at its
        limit, "cancelled" where nobody wanted more.
      told: Stretches of it, [start, end), that were not sampled: what was told between
        two answers, see `training.conversation`. Their log-probabilities are 0.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    raw_logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    ended: str
    told: tuple[tuple[int, int], ...] = ()

    @property
    def finished(self) -> bool:
        """Says whether it came to its own end."""
        return self.ended == "end"


class RolloutBatch(NamedTuple):
    """The rows of one update; `batch` is prompts x group, prompt-major.

    Every row is `prompt tokens, completion tokens, padding`, without gaps; the mask
    has gaps where a completion is of several answers.
    """

    tokens: Int[Array, "batch time"]
    completion_mask: Bool[Array, "batch time"]  # True on what the policy chose
    behavior_logprobs: Float[Array, "batch time"]  # nats; 0 outside the mask
    advantages: Float[Array, " batch"]  # 0 where the reward is invalid
    # Like behavior_logprobs, but of the trainer's program; None where nothing asks:
    old_logprobs: Float[Array, "batch time"] | None = None  # before the first update
    ref_logprobs: Float[Array, "batch time"] | None = None  # of the reference policy
