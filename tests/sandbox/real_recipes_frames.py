"""Recipes that are right, with pandas and with `datasets`.

What each is to leave is computed from the raw file, without the toolkit.
"""

from tests.sandbox import real_recipes
from tests.sandbox import real_sources


def _numbers(rows, raw):
    return [(row[raw.user], f"{float(row[raw.assistant]):g}") for row in rows]


def _first(rows, *columns):
    """Returns the first of all rows that are alike in some columns."""
    seen = {}
    for row in rows:
        seen.setdefault(tuple(row[column] for column in columns), row)
    return list(seen.values())


def _by_type(rows, raw):
    """Returns the first 50 of each type, type after type."""
    types = sorted({row["Type"] for row in rows})
    return [
        (f"{row['Body']} {row['Question']}", f"{row['Answer']:g}")
        for one in types
        for row in [row for row in rows if row["Type"] == one][:50]
    ]


_PANDAS = [
    *real_recipes.cross(
        "pandas, with duplicates dropped",
        ("mawps", "mawps-dev"),
        """
import pandas as pd
from aidp import *

df = load_remote_dataset("$id").to_pandas()
df = df.dropna(subset=["Question", "Answer"])
df = df.drop_duplicates(subset=["Question", "Numbers"], keep="first")
df["answer_text"] = df["Answer"].apply(lambda x: f"{float(x):g}")
df = df.reset_index(drop=True)
result = format_to_sharegpt(df, user_map="Question", assistant_map="answer_text")
dump_dataset(result, "data/processed/mawps.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: _numbers(_first(rows, "Question", "Numbers"), raw),
    ),
    *real_recipes.cross(
        "pandas, a part of each type",
        ("svamp",),
        """
import json
import pandas as pd
from aidp import *

df = pd.DataFrame(load_remote_dataset("$id", shuffle=False).to_list())
parts = [group.head(50) for _, group in df.groupby("Type", sort=True)]
df = pd.concat(parts, ignore_index=True)
print(df["Type"].value_counts().to_dict())
with open("data/processed/balanced.jsonl", "w") as f:
    for row in df.itertuples():
        f.write(json.dumps({"dialogs": [
            {"role": "user", "content": f"{row.Body} {row.Question}"},
            {"role": "assistant", "content": f"{row.Answer:g}"}]}) + "\\n")
""",
        kind="ok",
        says=("'Subtraction': 50", "'Common-Divison': 1"),
        pairs=_by_type,
    ),
    *real_recipes.cross(
        "pandas writes it",
        ("dates", "atkins"),
        """
from aidp import *
import pandas as pd

df = load_remote_dataset("$id").to_pandas()
df["dialogs"] = [
    [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
    for q, a in zip(df["$user"], df["$assistant"])
]
df[["dialogs"]].to_json(
    "data/processed/train.jsonl", orient="records", lines=True, force_ascii=False
)
""",
        kind="ok",
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "pandas joins two sources",
        ("booleans",),
        """
import pandas as pd
from aidp import *

frames = []
for name, user, assistant in [
    ("$id", "$user", "$assistant"),
    ("deepmind/aqua_rat", "question", "correct"),
]:
    df = load_remote_dataset(name).to_pandas()[[user, assistant]]
    df.columns = ["user", "assistant"]
    frames.append(df)
df = pd.concat(frames, ignore_index=True)
df = df.sample(frac=1.0, random_state=0)
dump_dataset(
    format_to_sharegpt(df, "user", "assistant"), "data/processed/all.jsonl"
)
""",
        kind="ok",
        pairs=lambda rows, raw: [
            *real_recipes.plain(rows, raw),
            *real_recipes.plain_of("aqua"),
        ],
        count=504,
    ),
]

_DATASETS = [
    *real_recipes.cross(
        "map with the columns removed",
        ("gsm8k", "booleans", "stat"),
        """
from datasets import Dataset
from aidp import *

ds = load_remote_dataset("$id", name="$config", split="$split", shuffle=False)

def to_dialog(example):
    return {
        "dialogs": [
            {"role": "user", "content": example["$user"].strip()},
            {"role": "assistant", "content": example["$assistant"].strip()},
        ]
    }

ds = ds.map(to_dialog, remove_columns=ds.column_names)
ds.to_json("data/processed/train.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (q.strip(), a.strip()) for q, a in real_recipes.plain(rows, raw)
        ],
    ),
    *real_recipes.cross(
        "filter",
        ("pubmedqa",),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = ds.filter(lambda r: r["final_decision"] in ("yes", "no") and r["YEAR"])
ds = ds.map(lambda r: {"user": " ".join(r["CONTEXTS"]) + "\\n\\n" + r["QUESTION"]})
ds = format_to_sharegpt(ds, user_map="user", assistant_map="final_decision")
dump_dataset(ds, "data/processed/pubmedqa.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (" ".join(r["CONTEXTS"]) + "\n\n" + r["QUESTION"], r["final_decision"])
            for r in rows
            if r["final_decision"] != "maybe" and r["YEAR"]
        ],
    ),
    *real_recipes.cross(
        "shuffle and select",
        ("cruxeval", "gsm8k"),
        """
from datasets import concatenate_datasets
from aidp import load_remote_dataset, format_to_sharegpt, dump_dataset

ds = load_remote_dataset("$id").shuffle(seed=42).select(range(200))
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "data/processed/sample.jsonl")
""",
        kind="ok",
        pairs=real_recipes.plain,
        count=200,
    ),
    *real_recipes.cross(
        "several processes, which are not needed",
        ("cruxeval", "gsm8k"),
        """
from aidp import *

def convert(row):
    return {"q": row["$user"].strip(), "a": row["$assistant"].strip()}

ds = load_remote_dataset("$id").map(convert, num_proc=4)
ds = ds.filter(lambda row: len(row["q"]) > 0, num_proc=8)
dump_dataset(format_to_sharegpt(ds, "q", "a"), "data/processed/train.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            (q.strip(), a.strip()) for q, a in real_recipes.plain(rows, raw)
        ],
    ),
    *real_recipes.cross(
        "train_test_split",
        ("navigate",),
        """
import datasets
from aidp import *

ds = load_remote_dataset("$id")
parts = ds.train_test_split(test_size=50, seed=0)
for part, rows in parts.items():
    dump_dataset(
        format_to_sharegpt(rows, "$user", "$assistant"),
        f"data/processed/{part}.jsonl",
    )
    print(part, len(rows))
""",
        kind="ok",
        says=("train 200", "test 50"),
        pairs=real_recipes.plain,
        count=250,
    ),
    *real_recipes.cross(
        "a batched map that makes two rows of one",
        ("booleans",),
        """
from aidp import *

ds = load_remote_dataset("$id")

def both(batch):
    out = {"user": [], "assistant": []}
    for q, a in zip(batch["$user"], batch["$assistant"]):
        out["user"] += [q, "not ( " + q.removesuffix(" is") + " ) is"]
        out["assistant"] += [a, str(a == "False")]
    return out

ds = ds.map(both, batched=True, batch_size=100, remove_columns=["$user", "$assistant"])
ds = format_to_sharegpt(ds, user_map="user", assistant_map="assistant")
dump_dataset(ds, "data/processed/negated.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            pair
            for r in rows
            for pair in (
                (r["input"], r["target"]),
                (
                    "not ( " + r["input"].removesuffix(" is") + " ) is",
                    {"True": "False", "False": "True"}[r["target"]],
                ),
            )
        ],
    ),
    *real_recipes.cross(
        "from_generator and from_list",
        ("thermo",),
        """
from datasets import Dataset
from aidp import *

raw = load_remote_dataset("$id", "problem_text", "solution")
pairs = [{"u": r["problem_text"], "a": r["solution"]} for r in raw]
ds = Dataset.from_list(pairs).sort("u")
dump_dataset(format_to_sharegpt(ds, "u", "a"), "data/processed/thermo.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: sorted(
            (r["problem_text"], r["solution"]) for r in rows
        ),
    ),
    *real_recipes.cross(
        "a dictionary of datasets",
        ("svamp",),
        """
from datasets import DatasetDict
from aidp import *

raw = DatasetDict({
    "svamp": load_remote_dataset("$id"),
    "aqua": load_remote_dataset("deepmind/aqua_rat"),
})
raw["svamp"] = raw["svamp"].map(lambda r: {"u": r["Question"], "a": r["Equation"]})
raw["aqua"] = raw["aqua"].map(lambda r: {"u": r["question"], "a": r["rationale"]})
for key, ds in raw.items():
    ds = format_to_sharegpt(ds.select_columns(["u", "a"]), "u", "a")
    dump_dataset(ds, f"data/processed/{key}.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: [
            *[(r["question"], r["rationale"]) for r in real_sources.rows("aqua")],
            *[(r["Question"], r["Equation"]) for r in rows],
        ],
        by_source={"arkilpatel/svamp": 1000, "deepmind/aqua_rat": 254},
    ),
]
RECIPES = [*_PANDAS, *_DATASETS]
