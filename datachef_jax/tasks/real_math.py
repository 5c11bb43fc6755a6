"""Two tasks on real public files, taken as they are: GSM8K and AQuA.

GSM8K (Cobbe et al. 2021, arXiv:2110.14168) is the benchmark to be evaluated on, AQuA
(Ling et al. 2017, arXiv:1705.04146) the one to train recipes on. Their sources are
the files that their authors published, with natural dirt, and a contamination trap:
other models' answers to the very questions of GSM8K's test split.
"""

from collections.abc import Sequence
import os
import pathlib

from datachef_jax.tasks import sources as source_files
from datachef_jax.types import Example
from datachef_jax.types import Handling
from datachef_jax.types import Source
from datachef_jax.types import Task

_VARIABLE = "DATACHEF_DATA"
_EXAMPLES = 8  # rows of a source of which a prompt shows some

# (hub id, file, format, records, card, expert, plain user and assistant)
_CATALOGUE = (
    (
        "openai/gsm8k",
        "gsm8k/train.jsonl",
        "jsonl",
        "",
        "Topic: word problems. Answers are sentences that end in #### and the number.",
        Handling(
            user='row["question"]', assistant='to_boxed(extract_final(row["answer"]))'
        ),
        ('row["question"]', 'row["answer"]'),
    ),
    (
        "openai/gsm8k-solutions",
        "gsm8k/example_model_solutions.jsonl",
        "jsonl",
        "",
        "Topic: word problems. Answers of several models, right and wrong, to the"
        " questions of a benchmark.",
        Handling(
            user='row["question"]',
            assistant='to_boxed(extract_final(row["ground_truth"]))',
            worth=0.0,
        ),
        ('row["question"]', 'row["ground_truth"]'),
    ),
    (
        "arkilpatel/svamp",
        "svamp/SVAMP.json",
        "json",
        "",
        "Topic: word problems. Body and question stand in two columns.",
        Handling(
            user='row["Body"] + " " + row["Question"]',
            assistant="to_boxed(f\"{row['Answer']:g}\")",
        ),
        ('row["Question"]', 'row["Answer"]'),
    ),
    (
        "arkilpatel/mawps",
        "mawps/train.csv",
        "csv",
        "",
        "Topic: word problems. Numbers are replaced by number0, number1; they stand in"
        " Numbers.",
        Handling(
            user='re.sub(r"number(\\d+)", lambda m:'
            ' f"{float(row[\'Numbers\'].split()[int(m[1])]):g}", row["Question"])',
            assistant="to_boxed(f\"{float(row['Answer']):g}\")",
        ),
        ('row["Question"]', 'row["Answer"]'),
    ),
    (
        "arkilpatel/mawps-dev",
        "mawps/dev.csv",
        "csv",
        "",
        "Topic: word problems. The smaller part of mawps, with the same fault.",
        Handling(
            user='re.sub(r"number(\\d+)", lambda m:'
            ' f"{float(row[\'Numbers\'].split()[int(m[1])]):g}", row["Question"])',
            assistant="to_boxed(f\"{float(row['Answer']):g}\")",
        ),
        ('row["Question"]', 'row["Answer"]'),
    ),
    (
        "deepmind/aqua",
        "aqua/dev.json",
        "jsonl",
        "",
        "Topic: word problems. Five options; the answer is a letter.",
        Handling(
            user='row["question"] + " " + " ".join(row["options"])',
            assistant='row["correct"]',
            worth=0.3,
        ),
        ('row["question"]', 'row["correct"]'),
    ),
    (
        "mandyyyyii/scibench-atkins",
        "scibench/atkins.json",
        "json",
        "",
        "Topic: physical chemistry. Numbers with units.",
        Handling(
            user='row["problem_text"]',
            assistant='to_boxed(row["answer_number"].strip())',
            worth=0.2,
        ),
        ('row["problem_text"]', 'row["answer_latex"]'),
    ),
    (
        "mandyyyyii/scibench-stat",
        "scibench/stat.json",
        "json",
        "",
        "Topic: statistics. Numbers without working.",
        Handling(
            user='row["problem_text"]',
            assistant='to_boxed(row["answer_number"].strip())',
            worth=0.3,
        ),
        ('row["problem_text"]', 'row["answer_latex"]'),
    ),
    (
        "qiaojin/pubmedqa",
        "pubmedqa/ori_pqal.json",
        "json",
        "*",
        "Topic: medicine. Yes, no or maybe, with the abstract.",
        Handling(
            user='row["QUESTION"]',
            assistant='to_boxed(row["final_decision"])',
            worth=0.0,
        ),
        ('row["QUESTION"]', 'row["final_decision"]'),
    ),
    (
        "cruxeval-org/cruxeval",
        "cruxeval/cruxeval.jsonl",
        "jsonl",
        "",
        "Topic: code. What a function returns for an input.",
        Handling(
            user='row["code"] + "\\n" + row["input"]',
            assistant='to_boxed(row["output"])',
            worth=0.0,
        ),
        ('row["input"]', 'row["output"]'),
    ),
    (
        "yizhongw/self_instruct",
        "self_instruct/seed_tasks.jsonl",
        "jsonl",
        "",
        "Topic: instructions. Lists of inputs and outputs inside each row.",
        Handling(
            user='row["instruction"] + " " + row["instances"][0]["input"]',
            assistant='row["instances"][0]["output"]',
            worth=0.0,
        ),
        ('row["instruction"]', 'row["instances"][0]["output"]'),
    ),
)


def data_folder(beside: pathlib.Path) -> pathlib.Path:
    """Returns where the real files lie.

    Args:
      beside: The repository; `../shared/data` beside it serves where the environment
        variable DATACHEF_DATA is not set.

    Raises:
      ValueError: If there is no such folder.
    """
    folder = pathlib.Path(
        os.environ.get(_VARIABLE) or beside.parent / "shared" / "data"
    )
    if not folder.is_dir():
        raise ValueError(
            f"no real data in {folder}: set {_VARIABLE} to the folder that holds gsm8k/"
        )
    return folder


def _sources(data: pathlib.Path) -> tuple[Source, ...]:
    found = []
    for hub_id, file, file_format, records, card, expert, (
        user,
        assistant,
    ) in _CATALOGUE:
        rows = source_files.read_rows(data / file, file_format, records)
        found.append(
            Source(
                id=hub_id,
                path=data / file,
                format=file_format,
                records=records,
                columns=tuple(rows[0]),
                num_rows=len(rows),
                card=card,
                examples=tuple(rows[:_EXAMPLES]),
                plain=Handling(user=user, assistant=assistant, worth=expert.worth),
                expert=expert,
            )
        )
    return tuple(found)


def _gsm8k(data: pathlib.Path, size: int) -> tuple[Example, ...]:
    rows = source_files.read_rows(data / "gsm8k/test.jsonl", "jsonl", "")[:size]
    return tuple(
        Example(question=r["question"], answer=r["answer"].rsplit("####", 1)[1].strip())
        for r in rows
    )


def _aqua(data: pathlib.Path, size: int) -> tuple[Example, ...]:
    rows = source_files.read_rows(data / "aqua/test.json", "jsonl", "")[:size]
    return tuple(
        Example(
            question=f"{r['question']} {' '.join(r['options'])}", answer=r["correct"]
        )
        for r in rows
    )


def _letters(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Returns the sources of a task whose answers are letters: AQuA's own leads."""
    return tuple(sorted(sources, key=lambda source: source.id != "deepmind/aqua"))


def build(folder: pathlib.Path, *, benchmark_size: int) -> list[Task]:
    """Returns AQuA to train on and GSM8K, held out.

    Args:
      folder: The repository, beside which the data may lie.
      benchmark_size: First so many questions of each test split.

    Raises:
      ValueError: If the data, or a file of it, is missing.
    """
    data = data_folder(folder)
    sources = _sources(data)
    aqua, gsm8k = _aqua(data, benchmark_size), _gsm8k(data, benchmark_size)
    return [
        Task(
            name="aqua",
            domain="math",
            instruction="Choose an option of a word problem. Answer with one letter.",
            benchmark=f"AQuA-{len(aqua)}",
            benchmark_description=(
                f"{len(aqua)} questions. Topic: word problems. Exact match."
            ),
            contract="letter",
            metric="exact_match",
            examples=aqua,
            sources=_letters(sources),
        ),
        Task(
            name="gsm8k",
            domain="math",
            instruction="Solve word problems. Answer as \\boxed{result}.",
            benchmark=f"GSM8K-{len(gsm8k)}",
            benchmark_description=(
                f"{len(gsm8k)} questions. Topic: word problems. By value."
            ),
            contract="boxed",
            metric="math",
            examples=gsm8k,
            sources=sources,
            held_out="in_domain",
        ),
    ]
