"""Texts that stutter: runs of tokens that come again and again."""

from datachef_jax.verifier.gates import contamination


def repetitive(text: str, *, ngram: int, min_tokens: int, max_share: float) -> bool:
    """Returns whether too many runs of tokens repeat earlier ones.

    Args:
      text: A question or an answer.
      ngram: Tokens in a run.
      min_tokens: Shorter texts are never repetitive.
      max_share: Largest share of runs that may be copies.
    """
    tokens = contamination.normalise(text)
    runs = len(tokens) - ngram + 1
    if len(tokens) < min_tokens or runs < 1:
        return False
    distinct = len({tokens[i : i + ngram] for i in range(runs)})
    return 1.0 - distinct / runs > max_share
