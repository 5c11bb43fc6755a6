"""Recipes that leave nothing, leave it elsewhere, or are no Python at all.

The log has to say that no rows were found, or at which line Python gave up.
"""

from tests.sandbox import real_recipes

_NOTHING = ("[no rows in data/processed/*.jsonl]",)
_EMPTY = [
    *real_recipes.cross(
        "only looked at",
        ("gsm8k", "aqua"),
        f"""{real_recipes.LOAD}
print(ds)
print(ds.column_names)
print(ds[0])
""",
        kind="no_output",
        says=(*_NOTHING, "num_rows: $num_rows"),
    ),
    *real_recipes.cross(
        "only a comment",
        ("svamp",),
        "# Load $id, convert it to dialogs and save it under data/processed/.\n",
        kind="no_output",
        says=_NOTHING,
    ),
    *real_recipes.cross("no script at all", ("gsm8k",), "", kind="no_output"),
    *real_recipes.cross(
        "functions that nobody calls",
        ("cruxeval", "stat"),
        """
from aidp import *

def main():
    ds = load_remote_dataset("$id")
    ds = format_to_sharegpt(ds, "$user", "$assistant")
    dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="no_output",
        says=_NOTHING,
    ),
    *real_recipes.cross(
        "a filter that keeps nothing",
        {"gsm8k": {"than": "20000"}, "dates": {"than": "5000"}},
        f"""{real_recipes.LOAD}
ds = filter_by_length(ds, "$user", min_chars=$than)
print("kept", len(ds))
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="no_output",
        says=(*_NOTHING, "kept 0"),
    ),
    *real_recipes.cross(
        "an answer that the column never has",
        ("pubmedqa",),
        f"""{real_recipes.LOAD}
ds = select_by_filter(ds, lambda row: row["final_decision"] in ("Yes", "No"))
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "data/processed/yes_no.jsonl")
""",
        kind="no_output",
        says=_NOTHING,
    ),
    *real_recipes.cross(
        "every error passed over",
        ("mawps",),
        f"""{real_recipes.LOAD}
import json
rows = []
for row in ds:
    try:
        rows.append({{"dialogs": [
            {{"role": "user", "content": row["question"]}},
            {{"role": "assistant", "content": row["answer"]}},
        ]}})
    except Exception:
        pass
{real_recipes.WRITE}""",
        kind="no_output",
        says=_NOTHING,
    ),
    *real_recipes.cross(
        "a function that returns nothing",
        ("atkins",),
        f"""{real_recipes.LOAD}
def clean(row):
    row["$user"] = row["$user"].strip()

ds = map_rows(ds, clean)
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="no_output",
        says=(*_NOTHING, "map_rows: 105 rows in, none out"),
    ),
    *real_recipes.cross(
        "the file is never closed, for the process ends first",
        ("thermo",),
        f"""{real_recipes.LOAD}
import json
import os
f = open("data/processed/train.jsonl", "w")
for row in ds:
    f.write(json.dumps({{{real_recipes.TURNS}}}) + "\\n")
    break
os._exit(0)
""",
        kind="no_output",
        says=_NOTHING,
    ),
]
_ELSEWHERE = [
    *real_recipes.cross(
        "another place",
        {
            "gsm8k": {"path": "train.jsonl"},
            "navigate": {"path": "data/train.jsonl"},
            "cruxeval": {"path": "processed/train.jsonl"},
        },
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "$path")
print("done")
""",
        kind="no_output",
        says=(*_NOTHING, "$path is not in data/processed/"),
    ),
    *real_recipes.cross(
        "a folder within the folder",
        ("gsm8k",),
        f"""
from pathlib import Path
{real_recipes.LOAD}
out = Path("data/processed") / "$id"
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, out / "train.jsonl")
""",
        kind="no_output",
        says=(
            *_NOTHING,
            "data/processed/$id/train.jsonl is not in data/processed/",
        ),
    ),
    *real_recipes.cross(
        "another folder, with plain Python",
        ("stat",),
        f"""
import json
import os
{real_recipes.LOAD}
os.makedirs("output", exist_ok=True)
rows = [{{{real_recipes.TURNS}}} for row in ds]
json.dump(rows, open("output/train.json", "w"))
""",
        kind="no_output",
        says=(*_NOTHING, "[output/train.json is there]"),
    ),
    *real_recipes.cross(
        "an absolute path",
        {"svamp": {"path": "/data/processed"}, "aqua": {"path": "/workspace/data"}},
        f"""
import os
{real_recipes.LOAD}
os.makedirs("$path", exist_ok=True)
""",
        kind="forbidden",
        says=("$path", "Error: [Errno ", "data/processed/*.jsonl"),
        fault="os.makedirs",
    ),
    *real_recipes.cross(
        "a name without .jsonl",
        {"gsm8k": {"path": "train.json"}, "booleans": {"path": "train"}},
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "data/processed/$path")
""",
        kind="runtime_error",
        says=("the path must end in .jsonl, got 'data/processed/$path'",),
        fault="dump_dataset",
    ),
    *real_recipes.cross(
        "other formats",
        {
            "mawps": {"call": "to_csv", "file": "train.csv"},
            "aqua": {"call": "to_parquet", "file": "train.parquet"},
            "dates": {"call": "to_json", "file": "train.json"},
            "cruxeval": {"call": "save_to_disk", "file": "cruxeval"},
        },
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, "$user", "$assistant")
ds.$call("data/processed/$file")
""",
        kind="no_output",
        says=(*_NOTHING, "$file", "$file does not end in .jsonl"),
    ),
]
_NO_PYTHON = [
    *real_recipes.cross(
        "the fence of a markdown block",
        ("gsm8k", "aqua"),
        f"""
```python
{real_recipes.LOAD}
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/a.jsonl")
```
""",
        kind="syntax_error",
        says=("```python",),
        fault="```python",
    ),
    *real_recipes.cross(
        "the end of a markdown block",
        ("svamp",),
        f"""{real_recipes.LOAD}
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/a.jsonl")
```
This script converts the dataset into the required format.
""",
        kind="syntax_error",
        says=("invalid syntax",),
        fault="```",
    ),
    *real_recipes.cross(
        "a plan in words",
        ("pubmedqa", "cruxeval"),
        """
1. Load $id.
2. Keep the rows whose answer is short.
3. Write them as dialogs under data/processed/.
""",
        kind="syntax_error",
        says=("invalid syntax",),
        fault="1. Load",
    ),
    *real_recipes.cross(
        "a plan in JSON",
        ("stat",),
        """
[{"dataset_id": "$id", "split": "$split", "sample_num": 500, "shuffle": true}]
""",
        kind="runtime_error",
        says=("name 'true' is not defined",),
        fault="dataset_id",
    ),
    *real_recipes.cross(
        "cut off in the middle of a line",
        {"mawps": {"end": "'"}, "dates": {"end": "{"}, "thermo": {"end": '"""'}},
        f"""{real_recipes.LOAD}
def convert(row):
    return {{"user": row["$user"], "assistant": $end
""",
        kind="syntax_error",
        fault="return {",
        says=("SyntaxError: ",),
    ),
    *real_recipes.cross(
        "a block without its indent, tabs among blanks, another Python's print",
        {
            "gsm8k": {"line": 'out.append(row["question"])', "says": "expected an ind"},
            "aqua": {"line": "\tx = 1\n        y = 2", "says": "inconsistent use of"},
            "solutions": {"line": '    print row["question"]', "says": "Missing paren"},
        },
        f"""{real_recipes.LOAD}
out = []
for row in ds:
$line
""",
        kind="syntax_error",
        says=('File "processing.py", line ', "$says"),
    ),
    *real_recipes.cross(
        "places left to be filled in",
        ("gsm8k", "aqua"),
        """
from aidp import *
ds = load_remote_dataset(<dataset_id>, split="$split")
""",
        kind="syntax_error",
        says=("invalid syntax",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "dots for what is to be filled in",
        ("svamp",),
        """
from aidp import *
ds = load_remote_dataset(..., split="$split")
""",
        kind="runtime_error",
        says=("no dataset Ellipsis; the datasets are $ids",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "left unwritten",
        ("atkins",),
        f"""{real_recipes.LOAD}
def convert(row):
    raise NotImplementedError("depends on the columns of $id")

ds = map_rows(ds, convert)
""",
        kind="runtime_error",
        says=("NotImplementedError: depends on the columns of $id",),
        fault="raise NotImpl",
    ),
    *real_recipes.cross(
        "a question for the user",
        ("dates",),
        f"""{real_recipes.LOAD}
n = int(input("How many rows do you want? "))
dump_dataset(sample_dataset(ds, n), "data/processed/train.jsonl")
""",
        kind="runtime_error",
        says=("EOFError",),
        fault="input(",
    ),
]
RECIPES = [*_EMPTY, *_ELSEWHERE, *_NO_PYTHON]
