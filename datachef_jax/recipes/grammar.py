"""Random recipes: what demonstrations are sampled from.

Some are careful and some are not: a policy that starts from them has something to
gain by learning which choices pay.
"""

import json

import numpy as np

from datachef_jax.recipes import compose
from datachef_jax.recipes import parse
from datachef_jax.types import Recipe
from datachef_jax.types import Task

_MOST_SOURCES = 5  # that a recipe uses


def sample(task: Task, rng: np.random.Generator, *, care: float) -> Recipe:
    """Draws a recipe.

    Args:
      task: Its sources and how an expert or a careless author would handle them.
      rng: Randomness.
      care: In [0, 1]. How likely each source is handled as by an expert, and how far
        good sources are preferred; 0 chooses blindly and mends nothing.

    Returns:
      A recipe on one to five of the sources, in the order of the task: which comes
      next is then the only choice, and a small policy makes it far more surely.
    """
    worth = np.array([source.expert.worth for source in task.sources])
    weights = 0.05 + (1.0 - care) + care * worth
    count = int(rng.integers(1, min(_MOST_SOURCES, len(task.sources)) + 1))
    chosen = rng.choice(
        len(task.sources), size=count, replace=False, p=weights / weights.sum()
    )
    uses = []
    for index in sorted(chosen):
        source = task.sources[index]
        careful = rng.random() < care
        uses.append((source, source.expert if careful else source.plain))
    return compose.compose(uses, deduplicate=bool(rng.random() < 0.3 + 0.4 * care))


def write(task: Task, recipe: Recipe) -> str:
    """Returns a recipe's text after thinking: of each source + or -, and its remark.

    Whether the paper's policy thinks is open. A small one must: it then decides about
    one source at a time, with its name at hand, and the plan repeats what is decided.
    Without that it often named sources that its prompt does not have. The remark, the
    last sentence of the card, says what must be mended; where it was not repeated, the
    script took sentences apart as if they were boxed answers, half of the time.

    Args:
      task: Its sources, in the order of the prompt.
      recipe: Uses some of them.
    """
    used = {item.dataset_id for item in recipe.training_data}
    said = [
        f"{'+' if source.id in used else '-'}{json.dumps(source.id)} "
        + source.card.rpartition(". ")[2]
        for source in task.sources
    ]
    return "\n".join(["<think>", *said, "</think>", parse.render(recipe)])
