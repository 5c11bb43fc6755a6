"""Answers that break the output contract of the benchmark."""

from datachef_jax.scoring import answers


def stops(answer: str, contract: str) -> bool:
    """Returns whether the benchmark could not read an answer written like this.

    The contract "plain" takes the whole text for the answer, so prose passes here
    and is left to the judge.
    """
    return answers.extract(answer, contract) is None
