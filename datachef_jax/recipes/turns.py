"""In how many answers a policy writes a recipe, and what it is told in between.

The paper's demo shows plan, then code, with retries, and leaves open whether
reinforcement learning asks in one call or two (section 4): here both are settings, in
training as in evaluation.
"""

from collections.abc import Sequence
import dataclasses

from datachef_jax.recipes import parse
from datachef_jax.types import Execution

_PLAN_AGAIN = "Write the plan again, mended, in the same format."
_SCRIPTS_AGAIN = "Write both Python blocks again, mended."
_RECIPE_AGAIN = "Write the whole recipe again, mended, in the same format."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turns:
    """How a recipe comes about.

    Attributes:
      apart: Whether the plan is one answer and the scripts are another.
      retries: How often the policy may be told why its recipe failed, and mend it.
      error_chars: It is told the end of a script's output, so much of it at most.
      scripts_request: What it is told when its plan is there.
    """

    apart: bool
    retries: int
    error_chars: int
    scripts_request: str

    def __post_init__(self):
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}, below 0")
        if self.error_chars < 1:
            raise ValueError(f"error_chars is {self.error_chars}, below 1")

    @property
    def most(self) -> int:
        """How many answers there can be."""
        return 1 + self.apart + self.retries

    def recipe(self, answers: Sequence[str]) -> str:
        """Returns the text of the recipe that some answers amount to."""
        if not self.apart:
            return answers[-1]
        try:
            plan, scripts = _parts(answers)
        except parse.ParseError:
            return answers[-1]
        return f"{plan}\n\n{scripts}"

    def reply(self, answers: Sequence[str], execution: Execution | None) -> str:
        """Returns what the policy is told next, "" if it has had its say.

        Args:
          answers: What it has written.
          execution: How the recipe ended; None if it has not been run.
        """
        left = self.most - len(answers)
        if execution is None:
            return self._before_it_runs(answers, left) if self.apart else ""
        fault = self._fault(execution)
        if not fault or not left:
            return ""
        again = _SCRIPTS_AGAIN if self.apart else _RECIPE_AGAIN
        return f"{fault}\n\n{again}"

    def _before_it_runs(self, answers: Sequence[str], left: int) -> str:
        try:
            _, scripts = _parts(answers)
        except parse.ParseError as error:
            if left < 2:  # the plan again, and the scripts
                return ""
            return f"No plan can be read from that: {error}.\n\n{_PLAN_AGAIN}"
        return "" if scripts else self.scripts_request

    def _fault(self, execution: Execution) -> str:
        """Returns what is wrong with a recipe that has been run, "" if nothing is."""
        log, data = execution.log[-self.error_chars :], execution.dataset
        if execution.kind == "unparsed":
            return f"No recipe can be read from that: {log}"
        if execution.kind not in ("ok", "sandbox_error"):
            return f"The processing script ended with {execution.kind}:\n{log}"
        if execution.kind == "ok" and not data.rows:
            return f"The rows break the training format: {data.first_error or log}"
        if not execution.verified:
            return (
                f"The verification script ended with {execution.verification}:\n{log}"
            )
        return ""


def _parts(answers: Sequence[str]) -> tuple[str, str]:
    """Returns the first plan, and the last scripts after it, "" if none were written.

    Raises:
      ParseError: If there is no plan, with what is wrong with the last answer.
    """
    for place, answer in enumerate(answers):
        try:
            plan = parse.plan(answer).text
        except parse.ParseError:
            if answer is answers[-1]:
                raise
            continue
        return plan, _unthought(answers[-1]) if place + 1 < len(answers) else ""
    raise ValueError("no answers")


def _unthought(answer: str) -> str:
    """Returns an answer without its thinking; as it is, if that never ends."""
    try:
        return parse.split_thinking(answer)[1]
    except parse.ParseError:
        return answer
