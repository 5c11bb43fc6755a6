"""Recipes that are right, in plain Python.

What each is to leave is computed from the raw file, without the toolkit.
"""

import re

from tests.sandbox import real_recipes


def _numbers(rows, raw):
    return [(row[raw.user], f"{float(row[raw.assistant]):g}") for row in rows]


def _without_marks(rows, raw):
    return [
        (row[raw.user], re.sub("<<[^>]*>>", "", row[raw.assistant])) for row in rows
    ]


def _unit(rows, raw):
    return [
        (row["problem_text"], f"{row['answer_number']} {row['unit']}".strip())
        for row in rows
        if row["unit"].strip()
    ]


RECIPES = [
    *real_recipes.cross(
        "plain json, row by row",
        ("cruxeval", "pubmedqa", "navigate", "instruct"),
        """
import json
import os

from aidp import load_remote_dataset

os.makedirs("data/processed", exist_ok=True)
dataset = load_remote_dataset("$id", name="$config", split="$split")

with open("data/processed/train.jsonl", "w", encoding="utf-8") as f:
    for row in dataset:
        record = {
            "dialogs": [
                {"role": "user", "content": row["$user"]},
                {"role": "assistant", "content": row["$assistant"]},
            ]
        }
        f.write(json.dumps(record, ensure_ascii=False) + "\\n")
print(f"Wrote {len(dataset)} rows")
""",
        kind="ok",
        says=("Wrote $num_rows rows",),
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "a main function, logging and argparse",
        ("svamp", "mawps-dev"),
        '''
"""Prepare $id for supervised fine-tuning."""
import argparse
import json
import logging
from pathlib import Path

from aidp import *

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
logger = logging.getLogger(__name__)


def build(row):
    answer = f"{float(row['$assistant']):g}"
    return {
        "dialogs": [
            {"role": "user", "content": row["$user"]},
            {"role": "assistant", "content": answer},
        ],
        "source": "$id",
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="data/processed/train.jsonl")
    args = parser.parse_args()
    rows = [build(row) for row in load_remote_dataset("$id")]
    logger.info("built %d rows", len(rows))
    path = Path(args.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        f.writelines(json.dumps(row) + "\\n" for row in rows)


if __name__ == "__main__":
    main()
''',
        kind="ok",
        says=("INFO built $num_rows rows",),
        pairs=_numbers,
    ),
    *real_recipes.cross(
        "calculator marks removed",
        ("gsm8k", "solutions"),
        r"""
import json
import re
from aidp import *

CALC = re.compile(r"<<[^>]*>>")
ds = load_remote_dataset("$id", "$user", "$assistant")
with open("data/processed/clean.jsonl", "w") as out:
    for question, answer in zip(ds["$user"], ds["$assistant"]):
        turns = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": CALC.sub("", answer)},
        ]
        out.write(json.dumps({"dialogs": turns}) + "\n")
""",
        kind="ok",
        pairs=_without_marks,
    ),
    *real_recipes.cross(
        "rows that cannot be read are skipped",
        ("atkins", "stat"),
        r"""
import json
from aidp import *

kept, skipped = [], 0
for row in load_remote_dataset("$id"):
    try:
        if not row["unit"].strip():
            raise ValueError("no unit")
        answer = f"{row['answer_number']} {row['unit']}".strip()
        kept.append((row["problem_text"], answer))
    except (KeyError, ValueError) as e:
        skipped += 1
print("skipped", skipped)
with open("data/processed/units.jsonl", "w") as f:
    for q, a in kept:
        dialogs = [dict(role="user", content=q), dict(role="assistant", content=a)]
        print(json.dumps({"dialogs": dialogs}), file=f)
""",
        kind="ok",
        pairs=_unit,
    ),
    *real_recipes.cross(
        "several files",
        ("gsm8k",),
        r"""
import json
from aidp import *

SHARD = 500
rows = load_remote_dataset("$id").to_list()
for n, start in enumerate(range(0, len(rows), SHARD)):
    with open(f"data/processed/part-{n:05d}.jsonl", "w") as f:
        for r in rows[start : start + SHARD]:
            f.write(json.dumps({"dialogs": [
                {"role": "user", "content": r["$user"]},
                {"role": "assistant", "content": r["$assistant"]}]}) + "\n")
""",
        kind="ok",
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "short answers first",
        ("gsm8k",),
        r"""
import json
from aidp import *

ds = load_remote_dataset("$id", split="$split", shuffle=False)
rows = sorted(ds, key=lambda r: len(r["$assistant"]))
with open("data/processed/curriculum.jsonl", "w") as f:
    for r in rows[:1000]:
        f.write(json.dumps({"dialogs": [
            {"role": "user", "content": r["$user"]},
            {"role": "assistant", "content": r["$assistant"]}]}) + "\n")
""",
        kind="ok",
        pairs=lambda rows, raw: sorted(
            real_recipes.plain(rows, raw), key=lambda p: len(p[1])
        )[:1000],
    ),
    *real_recipes.cross(
        "every program is tried",
        ("cruxeval",),
        """
import json
from aidp import *

good = []
for row in load_remote_dataset("$id"):
    scope = {}
    try:
        exec(row["code"], scope)
        result = eval(f"f({row['input']})", scope)
        if result == eval(row["output"]):
            good.append(row)
    except Exception as error:
        print(row["id"], error)
prompt = "What does f({input}) return?\\n\\n{code}"
with open("data/processed/train.jsonl", "w") as f:
    for row in good:
        f.write(json.dumps({"dialogs": [
            {"role": "user", "content": prompt.format(**row)},
            {"role": "assistant", "content": row["output"]}]}) + "\\n")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (f"What does f({r['input']}) return?\n\n{r['code']}", r["output"])
            for r in rows
        ],
    ),
    *real_recipes.cross(
        "with threads",
        ("dates", "thermo"),
        """
from concurrent.futures import ThreadPoolExecutor
import json
from aidp import *

def convert(row):
    return json.dumps({"dialogs": [
        {"role": "user", "content": row["$user"]},
        {"role": "assistant", "content": row["$assistant"]},
    ]})

with ThreadPoolExecutor(max_workers=4) as pool:
    lines = list(pool.map(convert, load_remote_dataset("$id")))
open("data/processed/a.jsonl", "w").write("\\n".join(lines))
""",
        kind="ok",
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "system prompt before the first turn",
        ("instruct",),
        """
import json
from aidp import *

SYSTEM = "You are a helpful assistant. Follow the instruction."
out = []
for task in load_remote_dataset("$id"):
    for instance in task["instances"]:
        user = task["instruction"]
        if instance["input"]:
            user += "\\n\\n" + instance["input"]
        out.append({"dialogs": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": user},
            {"role": "assistant", "content": instance["output"]},
        ]})
with open("data/processed/seed.jsonl", "w") as f:
    for row in out:
        f.write(json.dumps(row) + "\\n")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (
                "\n\n".join(filter(None, (row["instruction"], instance["input"]))),
                instance["output"],
            )
            for row in rows
            for instance in row["instances"]
        ],
    ),
    *real_recipes.cross(
        "three examples before each question",
        ("navigate", "booleans"),
        """
import json
import random
from aidp import *

rows = load_remote_dataset("$id").to_list()
examples = "\\n\\n".join(f"Q: {r['input']}\\nA: {r['target']}" for r in rows[:3])
with open("data/processed/few_shot.jsonl", "w") as f:
    for r in rows[3:]:
        prompt = f"{examples}\\n\\nQ: {r['input']}\\nA:"
        f.write(json.dumps({"dialogs": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": r["target"]}]}) + "\\n")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (
                "".join(f"Q: {r['input']}\nA: {r['target']}\n\n" for r in rows[:3])
                + f"Q: {row['input']}\nA:",
                row["target"],
            )
            for row in rows[3:]
        ],
    ),
]
