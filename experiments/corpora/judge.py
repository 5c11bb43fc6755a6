"""What the mini judge learns: rows with known faults, and the answers themselves.

The same model grades rows and answers the recipes' LLM calls: whoever can answer a
question can tell a wrong answer.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from datachef_jax.finetune import packing
from datachef_jax.scoring import answers
from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import faults
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Example
from datachef_jax.types import Task
from datachef_jax.verifier import rubric

_LONGEST = 256  # tokens; no mini question and answer come near it
_GRADE_SHARES = {"A": 0.12, "B": 0.14, "C": 0.32, "D": 0.1, "E": 0.32}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledRow:
    """A row as the judge sees it, with the grade that its making implies."""

    task: Task
    question: str
    answer: str
    grade: str


def _near_miss(answer: str, rng: np.random.Generator) -> str:
    """Changes one digit, or swaps two words: the mistakes that weak models make."""
    words = answer.split(" ")
    digits = [i for i, char in enumerate(answer) if char.isdigit()]
    if len(words) > 2 and rng.random() < 0.5:
        i, j = rng.choice(len(words), size=2, replace=False)
        words[i], words[j] = words[j], words[i]
        return " ".join(words)
    if digits:
        i = int(rng.choice(digits))
        return answer[:i] + str(rng.integers(10)) + answer[i + 1 :]
    return answer


def _wrong(example: Example, pool: Sequence[Example], rng: np.random.Generator) -> str:
    near = _near_miss(example.answer, rng) if rng.random() < 0.5 else example.answer
    return near if near != example.answer else faults.wrong(example, pool, rng)


def _invalid(
    example: Example, contract: str, rng: np.random.Generator
) -> tuple[str, str]:
    """Returns an incomplete, repetitive or irrelevant row."""
    right = answers.write(example.answer, contract)
    return (
        (example.question, faults.cut(right, rng)),
        (example.question, "I cannot answer this."),
        (example.question, " ".join([right] * int(rng.integers(3, 6)))),
        (faults.cut(example.question, rng), right),
        ("", right),
        (example.question, ""),
    )[rng.integers(6)]


def _unformatted(answer: str, contract: str, rng: np.random.Generator) -> str:
    """Returns a right answer that breaks the contract."""
    others = [faults.OTHER_CONTRACT[contract]]
    others += ["plain"] if contract in ("boxed", "json") else []
    choice = rng.integers(len(others) + 1)
    if choice == len(others):
        return faults.prose(answer, rng)
    return answers.write(answer, others[choice])


def _row(
    task: Task,
    grade: str,
    pools: dict[str, list[Example]],
    rng: np.random.Generator,
) -> LabelledRow:
    pool = pools[task.name]
    example = pool[rng.integers(len(pool))]
    question = example.question
    if grade == "A":
        question, answer = _invalid(example, task.contract, rng)
    elif grade == "B":
        answer = _unformatted(example.answer, task.contract, rng)
    elif grade == "C":
        answer = answers.write(_wrong(example, pool, rng), task.contract)
    elif grade == "D":
        others = [name for name in pools if name != task.name]
        other = others[rng.integers(len(others))]
        foreign = pools[other][rng.integers(len(pools[other]))]
        contract = families.FAMILIES[other].contract
        own = contract if rng.random() < 0.5 else task.contract
        question, answer = foreign.question, answers.write(foreign.answer, own)
    else:
        answer = answers.write(example.answer, task.contract)
    return LabelledRow(task=task, question=question, answer=answer, grade=grade)


def _pools(count: int, exclude: Sequence[str], seed: int) -> dict[str, list[Example]]:
    """Returns examples by family: mostly normal ones, with easier and harder ones."""
    asked = frozenset(exclude)
    pools = {}
    for name, family in families.FAMILIES.items():
        pools[name] = [
            example
            for level, share in (("normal", 0.8), ("easier", 0.1), ("harder", 0.1))
            for example in families.generate(
                family, level, max(2, int(count * share)), seed=seed, exclude=asked
            )
        ]
    return pools


def labelled_rows(
    tasks: Sequence[Task], *, count: int, exclude: Sequence[str], seed: int
) -> list[LabelledRow]:
    """Returns rows of every task with grades in the shares of `_GRADE_SHARES`.

    Args:
      tasks: The tasks to grade for.
      count: How many rows.
      exclude: Questions that must not occur: the benchmarks', a test set's.
      seed: Fixes them all.
    """
    rng = np.random.default_rng(seed)
    pools = _pools(max(100, count // 10), exclude, int(rng.integers(2**31)))
    grades = rng.choice(list(_GRADE_SHARES), size=count, p=list(_GRADE_SHARES.values()))
    return [
        _row(tasks[rng.integers(len(tasks))], str(grade), pools, rng)
        for grade in grades
    ]


def graded(
    rows: Sequence[LabelledRow],
    tokenizer: ChatTokenizer,
    *,
    style: rubric.RubricStyle,
) -> list[packing.TokenExample]:
    """Tokenizes rows as the judge reads them, each with its grade.

    The grade, which comes last, is to be learned, and so is the answer of a row that
    deserves an E: a grade alone teaches little about how questions are answered.
    """
    examples = []
    for row in rows:
        messages = rubric.messages(row.task, row.question, row.answer, style=style)
        prompt = tokenizer.chat(messages, generation_prompt=True)
        ids = prompt + tokenizer.encode(row.grade)
        mask = [False] * len(prompt) + [True]
        if row.grade == "E":
            before, answer = _around_answer(messages[0]["content"])
            # No token crosses a line's end, so lines can be counted one by one.
            start = _head(tokenizer) + len(tokenizer.encode(before))
            stop = start + len(tokenizer.encode(answer))
            mask[start:stop] = [True] * (stop - start)
        examples.append(packing.TokenExample(tuple(ids), tuple(mask)))
    return examples


def _around_answer(prompt: str) -> tuple[str, str]:
    """Returns what precedes the line of the answer in a compact prompt, and it."""
    lines = prompt.split("\n")
    return "".join(f"{line}\n" for line in lines[:-2]), f"{lines[-2]}\n"


def _head(tokenizer: ChatTokenizer) -> int:
    """Returns the tokens of a user turn before its content."""
    empty, _ = tokenizer.chat_with_mask([{"role": "user", "content": ""}])
    return len(empty) - len(tokenizer.encode("\n")) - 1


def answered(
    tokenizer: ChatTokenizer,
    *,
    system_prompt: str,
    count: int,
    exclude: Sequence[str],
    seed: int,
) -> list[packing.TokenExample]:
    """Returns questions with bare answers, as the recipes' LLM calls ask for them.

    Args:
      tokenizer: Of the model.
      system_prompt: What recipes put before each question.
      count: How many.
      exclude: Questions that must not occur.
      seed: Fixes them all.
    """
    rng = np.random.default_rng(seed)
    pools = list(_pools(max(100, count // 10), exclude, seed + 1).values())
    examples = []
    for _ in range(count):
        pool = pools[rng.integers(len(pools))]
        example = pool[rng.integers(len(pool))]
        dialogs = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": example.question},
            {"role": "assistant", "content": example.answer},
        ]
        examples.append(
            packing.tokenize_row(
                {"dialogs": dialogs},
                tokenizer,
                max_tokens=_LONGEST,
                max_targets=_LONGEST,
            )
        )
    return examples
