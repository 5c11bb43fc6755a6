"""Recipes that ask the language model: right ones, and wrong ones."""

from tests.sandbox import real_recipes


def _yes(rows, raw):
    return [p for p in real_recipes.plain(rows, raw) if real_recipes.says_yes(p[0])]


def _upper(rows, raw):
    return [
        (text.upper(), f"42 instead of {answer}")
        for text, answer in real_recipes.plain(rows, raw)
        if not real_recipes.refuses(text)
    ]


GOOD = [
    *real_recipes.cross(
        "questions written anew",
        ("navigate", "stat"),
        """
from aidp import *

PROMPT = "Rewrite the question. Reply with JSON: {'question': ..., 'answer': ...}"

def parse(response, raw):
    made = extract_json(response)
    if made is None:
        return []
    answer = f"{made['answer']} instead of {raw['$assistant']}"
    return [{"q": made["question"], "a": answer}]

ds = load_remote_dataset("$id")
ds = generate_dataset_with_llm(
    ds, system_prompt=PROMPT, response_parser=parse, user_map="$user"
)
dump_dataset(format_to_sharegpt(ds, "q", "a"), "data/processed/new.jsonl")
""",
        kind="ok",
        pairs=_upper,
    ),
    *real_recipes.cross(
        "a model answers",
        ("instruct",),
        """
from aidp import *

ds = load_remote_dataset("$id", "instruction")
ds = generate_dataset_with_llm(
    ds, "Answer helpfully.", user_map=lambda row: row["instruction"]
)
ds = format_to_sharegpt(ds, "instruction", "response")
dump_dataset(ds, "data/processed/distilled.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (r["instruction"], r["instruction"].upper()) for r in rows
        ],
    ),
    *real_recipes.cross(
        "a model filters",
        ("booleans", "atkins"),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = filter_with_llm(ds, "Is this a good question for an exam?", user_map="$user")
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/f.jsonl")
""",
        kind="ok",
        pairs=_yes,
    ),
    *real_recipes.cross(
        "a model scores",
        ("stat", "dates"),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = score_with_llm(ds, "How hard is it?", column="hard", user_map="$user")
ds = select_by_filter(ds, lambda row: row["hard"] is not None and row["hard"] >= 4)
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/h.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            p for p in real_recipes.plain(rows, raw) if real_recipes.score(p[0]) >= 4
        ],
    ),
]
WRONG = [
    *real_recipes.cross(
        "asked again until the model obeys",
        ("stat",),
        """
import json
from aidp import *

def ask(row):
    while True:
        made = generate_dataset_with_llm(
            [row], system_prompt="Reply with JSON and nothing else.", user_map="$user"
        )
        try:
            return json.loads(made[0]["response"])
        except json.JSONDecodeError:
            continue

rows = [ask(row) for row in load_remote_dataset("$id")]
""",
        kind="runtime_error",
        fault="made = generate_dataset_with_llm(",
        says=("a recipe may make 400 LLM calls: 400 made, 1 more asked for",),
    ),
    *real_recipes.cross(
        "more questions than there are calls",
        ("pubmedqa", "svamp"),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = score_with_llm(ds, "How hard is this question?", user_map="$user")
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="runtime_error",
        fault="score_with_llm(",
        says=("a recipe may make 400 LLM calls", "more asked for"),
    ),
    *real_recipes.cross(
        "an answer that is not the JSON that was asked for",
        ("stat",),
        """
import json
from aidp import *

ds = generate_dataset_with_llm(
    load_remote_dataset("$id"),
    system_prompt="Rewrite the problem. Reply with JSON.",
    response_parser=lambda response, raw: [{**raw, **json.loads(response)}],
    user_map="$user",
)
""",
        kind="runtime_error",
        says=(
            "JSONDecodeError: Expecting value: line 1 column 1",
            "[response_parser was given row 0: (",
            "Sure!",
        ),
        fault="json.loads",
    ),
    *real_recipes.cross(
        "a parser that returns text",
        ("thermo",),
        """
from aidp import *

ds = generate_dataset_with_llm(
    load_remote_dataset("$id"),
    "Solve it.",
    response_parser=lambda response, raw: response.strip(),
    user_map="$user",
)
""",
        kind="runtime_error",
        says=("response_parser must return a row, a list of rows or None, got str",),
        fault="ds = generate_dataset_with_llm(",
    ),
    *real_recipes.cross(
        "a parser of the answer alone",
        ("dates",),
        """
from aidp import *

def parse(response):
    return [{"q": response}]

ds = load_remote_dataset("$id")
ds = generate_dataset_with_llm(ds, "Rewrite it.", response_parser=parse)
""",
        kind="runtime_error",
        says=("parse() takes 1 positional argument but 2 were given",),
        fault="generate_dataset_with_llm(",
    ),
]
