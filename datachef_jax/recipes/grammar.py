"""Random recipes: what demonstrations are sampled from.

Some are careful and some are not: a policy that starts from them has something to
gain by learning which choices pay.
"""

import numpy as np

from datachef_jax.recipes import compose
from datachef_jax.types import Recipe
from datachef_jax.types import Task

MOST_SOURCES = 5  # that a recipe uses


def sample(
    task: Task, rng: np.random.Generator, *, care: float, most: int = MOST_SOURCES
) -> Recipe:
    """Draws a recipe.

    Args:
      task: Its sources and how an expert or a careless author would handle them.
      rng: Randomness.
      care: In [0, 1]. How likely each source is handled as by an expert, and how far
        good sources are preferred; 0 chooses blindly and mends nothing.
      most: Most sources to use.

    Returns:
      A recipe on one to `most` of the sources, in the order of the task: which comes
      next is then the only choice, and a small policy makes it far more surely.
    """
    worth = np.array([source.expert.worth for source in task.sources])
    weights = 0.05 + (1.0 - care) + care * worth
    count = int(rng.integers(1, min(most, len(task.sources)) + 1))
    chosen = rng.choice(
        len(task.sources), size=count, replace=False, p=weights / weights.sum()
    )
    uses = []
    for index in sorted(chosen):
        source = task.sources[index]
        careful = rng.random() < care
        uses.append((source, source.expert if careful else source.plain))
    return compose.compose(uses, deduplicate=bool(rng.random() < 0.3 + 0.4 * care))
