r"""Recipes that look for their data where it is not: other ids, splits, files, sites.

The log has to name what was looked for and what there is instead, also to whoever
reaches for a file or for the network.
"""

from tests.sandbox import real_recipes

_NO_DATASET = ("no dataset '$wrong'; the datasets are $ids",)

_IDS = [
    *real_recipes.cross(
        "an id without its owner, with another one, or in capitals",
        {
            "gsm8k": {"wrong": "gsm8k"},
            "pubmedqa": {"wrong": "pubmed_qa"},
            "svamp": {"wrong": "ChilleD/SVAMP"},
            "cruxeval": {"wrong": "cruxeval-org/CRUXEval"},
            "navigate": {"wrong": "lukaemon/bbh"},
        },
        """
from aidp import *

ds = load_remote_dataset("$wrong", name="$config", split="$split", shuffle=True)
ds = format_to_sharegpt(ds, user_map="$user", assistant_map="$assistant")
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="runtime_error",
        says=_NO_DATASET,
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "a dataset that is not on offer",
        {
            "aqua": {"wrong": "meta-math/MetaMathQA"},
            "atkins": {"wrong": "camel-ai/chemistry"},
        },
        """
from aidp import *

PARTS = {
    "$id": ("$user", "$assistant"),
    "$wrong": ("query", "response"),
}
parts = []
for dataset_id, (user, assistant) in PARTS.items():
    ds = load_remote_dataset(dataset_id)
    parts.append(format_to_sharegpt(ds, user, assistant))
dump_dataset(concatenate_datasets(parts), "data/processed/train.jsonl")
""",
        kind="runtime_error",
        says=_NO_DATASET,
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "a benchmark of the same owner",
        {"gsm8k": {"wrong": "openai/openai_humaneval"}},
        """
from aidp import *
train = load_remote_dataset("$id")
test = load_remote_dataset("$wrong", split="test")
train = train.filter(lambda r: r["question"] not in set(test["prompt"]))
""",
        kind="runtime_error",
        says=_NO_DATASET,
        fault="$wrong",
    ),
    *real_recipes.cross(
        "a file's name for an id",
        {
            "mawps": {"wrong": "mawps/train.csv"},
            "svamp": {"wrong": "data/SVAMP.json"},
            "booleans": {"wrong": "https://huggingface.co/datasets/lukaemon/bbh"},
        },
        """
from aidp import load_remote_dataset

PATH = "$wrong"
ds = load_remote_dataset(PATH)
""",
        kind="runtime_error",
        says=_NO_DATASET,
        fault="load_remote_dataset(PATH)",
    ),
    *real_recipes.cross(
        "several ids at once",
        ("gsm8k", "aqua"),
        """
from aidp import *
ds = load_remote_dataset(["$id", "arkilpatel/svamp"])
""",
        kind="runtime_error",
        says=("no dataset ['$id', 'arkilpatel/svamp']; the datasets are $ids",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "an entry of the plan for an id",
        ("cruxeval",),
        """
from aidp import *

plan = [{"dataset_id": "$id", "split": "$split", "sample_num": 500}]
parts = [load_remote_dataset(entry) for entry in plan]
""",
        kind="runtime_error",
        says=("no dataset {'dataset_id': '$id'", "the datasets are $ids"),
        fault="load_remote_dataset(",
    ),
]
_SPLITS = [
    *real_recipes.cross(
        "another split",
        {
            "gsm8k": {"wrong": "test"},
            "aqua": {"wrong": "train"},
            "cruxeval": {"wrong": "train"},
            "pubmedqa": {"wrong": "validation"},
        },
        """
from aidp import *

ds = load_remote_dataset("$id", split="$wrong")
""",
        kind="runtime_error",
        says=("$id has no split '$wrong', only '$split'",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "a slice of a split",
        {"gsm8k": {"wrong": "train[:1000]"}, "svamp": {"wrong": "train[10%:]"}},
        """
from aidp import *

train = load_remote_dataset("$id", name="$config", split="$wrong")
""",
        kind="runtime_error",
        says=("$id has no split '$wrong', only '$split'",),
        fault="load_remote_dataset(",
    ),
    *real_recipes.cross(
        "another configuration",
        {
            "gsm8k": {"wrong": "socratic"},
            "pubmedqa": {"wrong": "pqa_artificial"},
            "dates": {"wrong": "default"},
        },
        """
from aidp import *

ds = load_remote_dataset(
    "$id",
    name="$wrong",
    split="$split",
)
""",
        kind="runtime_error",
        says=("$id has no name '$wrong', only '$config'",),
        fault="load_remote_dataset(",
    ),
]
_LIBRARY = """
from datasets import load_dataset
from aidp import format_to_sharegpt, dump_dataset

"""
_HUB = [
    *real_recipes.cross(
        "datasets, from the hub",
        ("gsm8k", "pubmedqa"),
        f"""{_LIBRARY}
ds = load_dataset("$id", "$config", split="$split")
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="runtime_error",
        says=("Couldn't reach '$id' on the Hub", "load_remote_dataset", "$ids"),
        fault="ds = load_dataset(",
    ),
    *real_recipes.cross(
        "datasets, from a file",
        ("cruxeval",),
        f"""{_LIBRARY}
ds = load_dataset("json", data_files="data/raw/cruxeval.jsonl", split="train")
""",
        kind="runtime_error",
        says=(
            "Unable to find",
            "data/raw/cruxeval.jsonl",
            "load_remote_dataset",
            "$ids",
        ),
        fault="ds = load_dataset(",
    ),
    *real_recipes.cross(
        "pandas, from the hub",
        ("svamp",),
        """
import pandas as pd
df = pd.read_parquet("hf://datasets/$id/data/train-00000-of-00001.parquet")
print(df.head())
""",
        kind=("runtime_error", "forbidden"),  # the latter without namespaces
        says=("huggingface", "load_remote_dataset", "$ids"),
        fault="pd.read_parquet",
    ),
    *real_recipes.cross(
        "a download",
        {
            "gsm8k": {"call": 'urllib.request.urlopen("https://huggingface.co/x")'},
            "aqua": {"call": 'socket.create_connection(("huggingface.co", 443))'},
        },
        """
import json
import socket
import urllib.request

reply = $call
rows = [json.loads(line) for line in reply]
""",
        kind="runtime_error",
        says=("Temporary failure in name resolution", "load_remote_dataset", "$ids"),
        fault="reply = ",
    ),
    *real_recipes.cross(
        "a library that is not there",
        {
            "svamp": {"call": "import requests", "wrong": "requests"},
            "mawps": {"call": "from openai import OpenAI", "wrong": "openai"},
            "stat": {
                "call": "import sentence_transformers",
                "wrong": "sentence_transf",
            },
        },
        """
$call
from aidp import *

ds = load_remote_dataset("$id")
""",
        kind=("runtime_error", "forbidden"),
        says=("Error: ", "$wrong", "load_remote_dataset", "$ids"),
        fault="$call",
    ),
    *real_recipes.cross(
        "a download by another program",
        ("gsm8k",),
        """
import subprocess
subprocess.run(["wget", "https://huggingface.co/x.jsonl"], check=True)
""",
        kind="forbidden",
        fault="subprocess.run",
    ),
]
_FILES = [
    *real_recipes.cross(
        "open",
        {
            "gsm8k": {"wrong": "data/raw/gsm8k/train.jsonl"},
            "cruxeval": {"wrong": "cruxeval.jsonl"},
            "solutions": {"wrong": "/kaggle/input/gsm8k/example_model_solutions.jsonl"},
        },
        """
import json

rows = []
with open("$wrong", encoding="utf-8") as f:
    for line in f:
        rows.append(json.loads(line))
print(len(rows))
""",
        kind="runtime_error",
        says=("No such file or directory: '$wrong'", "load_remote_dataset", "$ids"),
        fault="$wrong",
    ),
    *real_recipes.cross(
        "pandas, from a file",
        {
            "mawps": {"call": 'read_csv("data/mawps/train.csv")'},
            "svamp": {"call": 'read_json("SVAMP.json")'},
            "gsm8k": {"call": 'read_json("./gsm8k/train.jsonl", lines=True)'},
        },
        """
import pandas as pd

df = pd.$call
print(df.columns.tolist())
""",
        kind="runtime_error",
        says=(
            "FileNotFoundError",
            "No such file or directory",
            "load_remote_dataset",
            "$ids",
        ),
        fault="df = pd.",
    ),
    *real_recipes.cross(
        "a directory that is not there",
        ("booleans",),
        """
from pathlib import Path

for path in sorted(Path("data/raw").iterdir()):
    print(path)
""",
        kind="runtime_error",
        says=("No such file or directory: 'data/raw'", "load_remote_dataset", "$ids"),
        fault="iterdir",
    ),
    *real_recipes.cross(
        "a pattern that no file fits",
        ("navigate",),
        """
import glob
import json

records = []
for path in glob.glob("data/raw/**/*.json*", recursive=True):
    records += json.load(open(path))["examples"]
with open("data/processed/train.jsonl", "w") as f:
    for r in records:
        f.write(json.dumps(r) + "\\n")
print(f"Saved {len(records)} records")
""",
        kind="no_output",
        says=("Saved 0 records", "[no rows in data/processed/*.jsonl]"),
    ),
]
_NAMES = [
    *real_recipes.cross(
        "an operator that there is not",
        {
            "gsm8k": {"call": "deduplicate(ds)", "wrong": "deduplicate"},
            "svamp": {"call": "shuffle_dataset(ds)", "wrong": "shuffle_dataset"},
        },
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = $call
""",
        kind="runtime_error",
        says=(
            "name '$wrong' is not defined",
            "deduplicate_by_text_hash",
            "sample_dataset",
        ),
        fault="ds = $call",
    ),
    *real_recipes.cross(
        "an operator that cannot be imported",
        {"aqua": {"wrong": "load_dataset"}, "dates": {"wrong": "save_dataset"}},
        """
from aidp import $wrong, format_to_sharegpt
""",
        kind="runtime_error",
        says=("cannot import name '$wrong'", "load_remote_dataset", "dump_dataset"),
        fault="$wrong",
    ),
    *real_recipes.cross(
        "an operator's option that there is not",
        {
            "gsm8k": {"call": 'load_remote_dataset("openai/gsm8k", columns=["a"])'},
            "pubmedqa": {"call": 'load_remote_dataset("x/y", num_samples=500)'},
        },
        """
from aidp import *

ds = $call
""",
        kind="runtime_error",
        says=(
            "load_remote_dataset() got an unexpected keyword argument",
            "*columns",
            "shuffle",
        ),
        fault="ds = $call",
    ),
]
RECIPES = [*_IDS, *_SPLITS, *_HUB, *_FILES, *_NAMES]
