r"""Recipes that are right, with the functions of the toolkit.

What each is to leave is computed from the raw file, without the toolkit; which rows a
random draw takes is not, but how many.
"""

import re

from tests.sandbox import real_recipes
from tests.sandbox import real_sources


def _boxed(rows, raw):
    """Boxes what follows the last `####`, or the last `A:` where there is none."""
    return [
        (row[raw.user], f"\\boxed{{{row[raw.assistant].rpartition('#### ')[2]}}}")
        for row in rows
    ]


def _filled(rows, raw):
    """Puts the numbers into texts that have number0, number1."""
    pairs = []
    for row in rows:
        text = row["Question"]
        for index, number in reversed(list(enumerate(row["Numbers"].split()))):
            text = text.replace(f"number{index}", f"{float(number):g}")
        pairs.append((text, f"\\boxed{{{float(row['Answer']):g}}}"))
    return pairs


def _distinct(rows, raw):
    """Leaves out what shares 0.97 of its groups of three words with one before."""
    kept = []
    for row in rows:
        words = re.sub(r"[\W_]+", " ", row[raw.user].lower()).split()
        grams = set(zip(words, words[1:], words[2:], strict=False))
        if all(len(grams & old) < 0.97 * len(grams | old) for old, _ in kept):
            kept.append((grams, (row[raw.user], row[raw.assistant])))
    return [pair for _, pair in kept]


RECIPES = [
    *real_recipes.cross(
        "format and dump",
        ("gsm8k", "pubmedqa", "cruxeval", "dates"),
        """
from aidp import *

ds = load_remote_dataset("$id", name="$config", split="$split", shuffle=False)
ds = format_to_sharegpt(ds, user_map="$user", assistant_map="$assistant")
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="ok",
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "the final answer in a box",
        ("gsm8k",),
        """
from aidp import *

ds = load_remote_dataset("$id", "$user", "$assistant")
ds = select_by_filter(ds, lambda row: "####" in row["$assistant"])
ds = format_to_sharegpt(
    ds, "$user", lambda row: to_boxed(extract_final(row["$assistant"]))
)
dump_dataset(ds, "data/processed/boxed.jsonl")
""",
        kind="ok",
        pairs=_boxed,
        by_source={"openai/gsm8k": 7473},
    ),
    *real_recipes.cross(
        "an answer that one model got right",
        ("solutions",),
        """
from aidp import *

ds = load_remote_dataset("$id", "question", "175b_verification")
ds = select_by_filter(ds, lambda row: row["175b_verification"]["is_correct"])
ds = map_rows(ds, lambda row: {
    "q": row["question"], "a": row["175b_verification"]["solution"]
})
dump_dataset(format_to_sharegpt(ds, "q", "a"), "data/processed/right.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (r["question"], r["175b_verification"]["solution"])
            for r in rows
            if r["175b_verification"]["is_correct"]
        ],
    ),
    *real_recipes.cross(
        "numbers put into the text",
        ("mawps", "mawps-dev"),
        r"""
import re

from aidp import *

def fill(row):
    numbers = row["Numbers"].split()
    text = re.sub(
        r"number(\d+)", lambda m: f"{float(numbers[int(m[1])]):g}", row["Question"]
    )
    return {"user": text, "assistant": to_boxed(f"{float(row['Answer']):g}")}

ds = map_rows(load_remote_dataset("$id"), fill)
dump_dataset(format_to_sharegpt(ds, "user", "assistant"), "data/processed/m.jsonl")
""",
        kind="ok",
        pairs=_filled,
    ),
    *real_recipes.cross(
        "lengths",
        ("pubmedqa",),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = filter_by_length(ds, "LONG_ANSWER", min_chars=100, max_chars=250)
ds = select_columns(ds, {"QUESTION": "user", "LONG_ANSWER": "assistant"})
ds = format_to_sharegpt(ds, "user", "assistant")
dump_dataset(ds, "data/processed/long_answers.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (r["QUESTION"], r["LONG_ANSWER"])
            for r in rows
            if 100 <= len(r["LONG_ANSWER"]) <= 250
        ],
    ),
    *real_recipes.cross(
        "duplicates by their text",
        ("mawps", "cruxeval"),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = concatenate_datasets([ds, ds])
ds = deduplicate_by_text_hash(ds, text_map="$user", lowercase=False)
ds = format_to_sharegpt(ds, lambda row: row["$user"], lambda row: "?")
dump_dataset(ds, "data/processed/unique.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (text, "?") for text in dict.fromkeys(row[raw.user] for row in rows)
        ],
    ),
    *real_recipes.cross(
        "near duplicates",
        ("stat", "thermo"),
        """
from aidp import *

ds = load_remote_dataset("$id")
shouted = ds.map(lambda row: {"$user": row["$user"].upper() + "!"})
ds = deduplicate_by_minhash(
    concatenate_datasets([ds, shouted]), text_map="$user", threshold=0.97
)
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/n.jsonl")
""",
        kind="ok",
        pairs=_distinct,
    ),
    *real_recipes.cross(
        "a sample",
        ("gsm8k", "aqua"),
        """
from aidp import *

ds = load_remote_dataset("$id", shuffle=True)
ds = sample_dataset(ds, 150, seed=1)
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/s.jsonl")
""",
        kind="ok",
        pairs=real_recipes.plain,
        count=150,
    ),
    *real_recipes.cross(
        "a split",
        ("navigate",),
        """
from aidp import *

held_out, train = split_dataset(load_remote_dataset("$id"), 40)
print(len(held_out), "held out")
dump_dataset(
    format_to_sharegpt(train, "$user", "$assistant"), "data/processed/train.jsonl"
)
""",
        kind="ok",
        says=("40 held out",),
        pairs=real_recipes.plain,
        count=210,
    ),
    *real_recipes.cross(
        "a mixture",
        ("gsm8k",),
        """
from aidp import *

parts = [
    format_to_sharegpt(load_remote_dataset("$id"), "$user", "$assistant"),
    format_to_sharegpt(load_remote_dataset("deepmind/aqua_rat"), "question", "correct"),
    format_to_sharegpt(
        load_remote_dataset("arkilpatel/svamp"),
        lambda r: r["Body"] + " " + r["Question"],
        lambda r: r["Equation"],
    ),
]
ds = mix_datasets(parts, weights=[0.5, 0.2, 0.3], n=500, seed=7)
dump_dataset(ds, "data/processed/mix.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            *real_recipes.plain(rows, raw),
            *real_recipes.plain_of("aqua"),
            *[
                (f"{r['Body']} {r['Question']}", r["Equation"])
                for r in real_sources.rows("svamp")
            ],
        ],
        count=500,
        by_source={
            "openai/gsm8k": 250,
            "deepmind/aqua_rat": 100,
            "arkilpatel/svamp": 150,
        },
    ),
    *real_recipes.cross(
        "all sources, one after the other",
        ("booleans",),
        """
import aidp

PLAN = [
    ("$id", "$user", "$assistant"),
    ("lukaemon/bbh-navigate", "input", "target"),
    ("cruxeval-org/cruxeval", "code", "output"),
]
parts = []
for dataset_id, user, assistant in PLAN:
    ds = aidp.load_remote_dataset(dataset_id, user, assistant)
    parts.append(aidp.format_to_sharegpt(ds, user, assistant))
aidp.dump_dataset(aidp.concatenate_datasets(parts), "data/processed/all.jsonl")
""",
        kind="ok",
        sources=("navigate", "cruxeval"),
        pairs=lambda rows, raw: [
            *real_recipes.plain(rows, raw),
            *real_recipes.plain_of("navigate"),
            *real_recipes.plain_of("cruxeval"),
        ],
        by_source={
            "lukaemon/bbh-boolean_expressions": 250,
            "lukaemon/bbh-navigate": 250,
            "cruxeval-org/cruxeval": 800,
        },
    ),
    *real_recipes.cross(
        "letters of options",
        ("aqua",),
        r"""
import re
from aidp import *

def convert(row):
    options = [re.sub(r"^[A-E]\)", "", o).strip() for o in row["options"]]
    answer = options["ABCDE".index(row["correct"])]
    listed = "\n".join(f"({l}) {o}" for l, o in zip("ABCDE", options))
    if options.count(answer) > 1:
        return None
    return {"u": f"{row['question']}\n{listed}", "a": to_letter(answer, options)}

ds = map_rows(load_remote_dataset("$id", split="$split"), convert)
ds = select_by_filter(ds, lambda r: extract_letter(r["a"]) is not None)
dump_dataset(format_to_sharegpt(ds, "u", "a"), "data/processed/letters.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (
                "\n".join(
                    [row["question"], *(f"({o[0]}) {o[2:].strip()}" for o in options)]
                ),
                row["correct"],
            )
            for row in rows
            for options in [row["options"]]
            for right in [options["ABCDE".index(row["correct"])][2:].strip()]
            if [option[2:].strip() for option in options].count(right) == 1
        ],
    ),
    *real_recipes.cross(
        "answers as json",
        ("pubmedqa", "dates"),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = format_to_sharegpt(
    ds,
    user_map=lambda row: row["$user"] + '\\nReply as {"answer": ...}.',
    assistant_map=lambda row: to_json(row["$assistant"]),
)
dump_dataset(ds, "data/processed/json.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (row[raw.user] + '\nReply as {"answer": ...}.', f'{{"answer": "{a}"}}')
            for row, (_, a) in zip(rows, real_recipes.plain(rows, raw), strict=True)
        ],
    ),
]
