"""Recipes that name columns which are not there.

The log has to name the column, the columns that there are, and the line at fault.
"""

from tests.sandbox import real_recipes

# What a model that has not looked would call the question of each of these files.
_GUESSES = {
    "gsm8k": "problem",
    "svamp": "question",
    "mawps": "Problem",
    "aqua": "prompt",
    "pubmedqa": "question",
    "cruxeval": "input_code",
    "navigate": "question",
    "stat": "problem",
}


def _wrong(*names):
    return {name: {"wrong": _GUESSES[name]} for name in names}


_DUMP = 'dump_dataset(ds, "data/processed/train.jsonl")'
_TOOLKIT = [
    *real_recipes.cross(
        "the user's column of format_to_sharegpt",
        _wrong("gsm8k", "svamp", "pubmedqa", "cruxeval", "navigate"),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, user_map="$wrong", assistant_map="$assistant")
{_DUMP}
""",
        kind="runtime_error",
        says=("user_map='$wrong' is no column; the columns are $columns",),
        fault="format_to_sharegpt",
    ),
    *real_recipes.cross(
        "the assistant's column of format_to_sharegpt",
        {
            "aqua": {"wrong": "answer"},
            "mawps": {"wrong": "answer"},
            "atkins": {"wrong": "solution"},
            "dates": {"wrong": "output"},
        },
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, user_map="$user", assistant_map="$wrong")
{_DUMP}
""",
        kind="runtime_error",
        says=("assistant_map='$wrong' is no column; the columns are $columns",),
        fault="format_to_sharegpt",
    ),
    *real_recipes.cross(
        "columns to load",
        _wrong("aqua", "stat", "pubmedqa"),
        """
from aidp import *

ds = load_remote_dataset(
    "$id", "$wrong", "$assistant", name="$config", split="$split"
)
""",
        kind="runtime_error",
        says=("$id has no column '$wrong'; its columns are $columns",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "columns to load as a list",
        ("gsm8k", "cruxeval"),
        """
from aidp import *
ds = load_remote_dataset("$id", ["$user", "$assistant"])
""",
        kind="runtime_error",
        says=("$id has no column ['$user', '$assistant']; its columns are $columns",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "the configuration where columns go",
        ("gsm8k", "instruct"),
        """
from aidp import *
train = load_remote_dataset("$id", "$config", split="$split")
""",
        kind="runtime_error",
        says=("$id has no column '$config'; its columns are $columns",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "select_by_filter",
        _wrong("gsm8k", "stat"),
        f"""{real_recipes.LOAD}
ds = select_by_filter(
    ds,
    lambda row: 20 < len(row["$wrong"]) < 800,
)
{_DUMP}
""",
        kind="runtime_error",
        says=("no column '$wrong'; the columns are $columns",),
        fault="lambda row",
    ),
    *real_recipes.cross(
        "map_rows",
        {"pubmedqa": {"wrong": "context"}, "solutions": {"wrong": "answer"}},
        f"""{real_recipes.LOAD}
def convert(row):
    return {{
        "user": str(row["$wrong"]) + row["$user"],
        "assistant": row["$assistant"],
    }}

ds = map_rows(ds, convert)
{_DUMP}
""",
        kind="runtime_error",
        says=("no column '$wrong'; the columns are $columns", "in convert"),
        fault='row["$wrong"]',
    ),
    *real_recipes.cross(
        "filter_by_length",
        _wrong("svamp", "cruxeval"),
        f"""{real_recipes.LOAD}
ds = filter_by_length(ds, "$wrong", min_chars=20, max_chars=2000)
{_DUMP}
""",
        kind="runtime_error",
        says=("text_map='$wrong' is no column; the columns are $columns",),
        fault="filter_by_length",
    ),
    *real_recipes.cross(
        "select_columns",
        _wrong("navigate", "mawps"),
        f"""{real_recipes.LOAD}
ds = select_columns(ds, {{"$wrong": "user", "$assistant": "assistant"}})
ds = format_to_sharegpt(ds, "user", "assistant")
{_DUMP}
""",
        kind="runtime_error",
        says=("columns='$wrong' is no column; the columns are $columns",),
        fault="select_columns",
    ),
    *real_recipes.cross(
        "deduplicate_by_text_hash and deduplicate_by_minhash",
        {
            "gsm8k": {"how": "text_hash", "wrong": "text"},
            "aqua": {"how": "minhash", "wrong": "Question"},
        },
        f"""{real_recipes.LOAD}
ds = deduplicate_by_$how(ds, text_map="$wrong")
ds = format_to_sharegpt(ds, "$user", "$assistant")
{_DUMP}
""",
        kind="runtime_error",
        says=("text_map='$wrong' is no column; the columns are $columns",),
        fault="deduplicate_by",
    ),
    *real_recipes.cross(
        "what the model is asked about",
        {
            "stat": {"ask": "score_with_llm", "wrong": "problem"},
            "dates": {"ask": "filter_with_llm", "wrong": "question"},
            "atkins": {"ask": "generate_dataset_with_llm", "wrong": "prompt"},
        },
        f"""{real_recipes.LOAD}
ds = $ask(ds, "Is this a hard question?", user_map="$wrong")
""",
        kind="runtime_error",
        says=("user_map='$wrong' is no column; the columns are $columns",),
        fault="$ask(",
    ),
    *real_recipes.cross(
        "a column that has been renamed before",
        ("svamp",),
        f"""{real_recipes.LOAD}
ds = select_columns(ds, {{"Body": "body", "Question": "question", "Answer": "answer"}})
ds = format_to_sharegpt(
    ds, lambda row: row["Body"] + " " + row["question"], "answer"
)
{_DUMP}
""",
        kind="runtime_error",
        says=("no column 'Body'; the columns are ['body', 'question', 'answer']",),
        fault="lambda row",
    ),
    *real_recipes.cross(
        "a column that map_rows has not kept",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
ds = map_rows(ds, lambda row: {{"prompt": row["question"]}})
ds = format_to_sharegpt(ds, "prompt", lambda row: row["answer"].split("####")[-1])
{_DUMP}
""",
        kind="runtime_error",
        says=("no column 'answer'; the columns are ['prompt']",),
        fault='row["answer"]',
    ),
]
_DATASETS = [
    *real_recipes.cross(
        "datasets: rename_column and remove_columns",
        {
            "gsm8k": {"call": 'rename_column("problem", "user")', "wrong": "problem"},
            "aqua": {"call": 'remove_columns(["rationales"])', "wrong": "rationales"},
            "stat": {"call": 'select_columns(["question"])', "wrong": "question"},
            "mawps": {"call": 'sort("length")', "wrong": "length"},
        },
        f"""{real_recipes.LOAD}
ds = ds.$call
{_DUMP}
""",
        kind="runtime_error",
        says=("$wrong", "$columns"),
        fault="ds.$call",
    ),
    *real_recipes.cross(
        "datasets: a column of the whole",
        {"cruxeval": {"wrong": "program"}, "gsm8k": {"wrong": "train"}},
        f"""{real_recipes.LOAD}
texts = ds["$wrong"]
print(len(texts), texts[0])
""",
        kind="runtime_error",
        says=("Column '$wrong' doesn't exist", "$columns"),
        fault='ds["$wrong"]',
    ),
    *real_recipes.cross(
        "datasets: map",
        _wrong("gsm8k", "pubmedqa"),
        f"""{real_recipes.LOAD}
def to_dialogs(example):
    return {{"dialogs": [
        {{"role": "user", "content": example["$wrong"]}},
        {{"role": "assistant", "content": example["$assistant"]}},
    ]}}

ds = ds.map(to_dialogs, remove_columns=ds.column_names)
ds.to_json("data/processed/train.jsonl")
""",
        kind="runtime_error",
        says=("KeyError: '$wrong'", "in to_dialogs", "$columns"),
        fault='example["$wrong"]',
    ),
    *real_recipes.cross(
        "datasets: filter",
        {"svamp": {"wrong": "type"}, "navigate": {"wrong": "answer"}},
        f"""{real_recipes.LOAD}
ds = ds.filter(lambda example: example["$wrong"] not in ("", None))
print(ds)
""",
        kind="runtime_error",
        says=("KeyError: '$wrong'", "$columns"),
        fault="ds.filter",
    ),
]
_PLAIN = [
    *real_recipes.cross(
        "a loop over the rows",
        _wrong("cruxeval", "aqua"),
        f"""
import json
{real_recipes.LOAD}
with open("data/processed/train.jsonl", "w") as f:
    for row in ds:
        f.write(json.dumps({{"dialogs": [
            {{"role": "user", "content": row["$wrong"]}},
            {{"role": "assistant", "content": row["$assistant"]}},
        ]}}) + "\\n")
""",
        kind="runtime_error",
        says=("KeyError: '$wrong'", "$columns"),
        fault='row["$wrong"]',
    ),
    *real_recipes.cross(
        "rows as objects",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
pairs = [(row.question, row.answer) for row in ds]
""",
        kind="runtime_error",
        says=("'dict' object has no attribute 'question'",),
        fault="row.question",
    ),
    *real_recipes.cross(
        "pandas: one column",
        _wrong("mawps", "stat"),
        f"""{real_recipes.LOAD}
df = ds.to_pandas()
df = df[df["$wrong"].str.len() > 30]
""",
        kind="runtime_error",
        says=("KeyError: '$wrong'", "$columns"),
        fault='df["$wrong"]',
    ),
    *real_recipes.cross(
        "pandas: several columns",
        {"svamp": {"wrong": "Solution"}},
        f"""{real_recipes.LOAD}
df = ds.to_pandas()[["$user", "$wrong"]]
df.columns = ["user", "assistant"]
""",
        kind="runtime_error",
        says=("['$wrong'] not in index", "$columns"),
        fault='"$wrong"',
    ),
    *real_recipes.cross(
        "pandas: drop_duplicates, dropna, sort_values, groupby",
        {
            "aqua": {"call": 'drop_duplicates(subset=["prompt"])', "wrong": "prompt"},
            "gsm8k": {"call": 'dropna(subset=["solution"])', "wrong": "solution"},
            "atkins": {"call": 'sort_values("difficulty")', "wrong": "difficulty"},
            "pubmedqa": {"call": 'groupby("answer").head(9)', "wrong": "answer"},
        },
        f"""{real_recipes.LOAD}
df = ds.to_pandas()
df = df.$call
""",
        kind="runtime_error",
        says=("KeyError: ", "'$wrong'", "$columns"),
        fault="df.$call",
    ),
    *real_recipes.cross(
        "pandas: itertuples",
        ("dates",),
        f"""{real_recipes.LOAD}
rows = [
    {{"u": row.input, "a": row.output}}
    for row in ds.to_pandas().itertuples()
]
""",
        kind="runtime_error",
        says=("object has no attribute 'output'", "$columns"),
        fault="row.output",
    ),
]
RECIPES = [*_TOOLKIT, *_DATASETS, *_PLAIN]
