r"""Recipes that want more memory, disk, rows, bytes or processes than there are.

The log has to show the line at which it became too much, or what was too large.
"""

from tests.sandbox import real_recipes

_TURNS = """
def turns(user, assistant):
    return {"dialogs": [
        {"role": "user", "content": user},
        {"role": "assistant", "content": assistant},
    ]}
"""
_MEMORY = [
    *real_recipes.cross(
        "rows doubled until there are enough",
        ("gsm8k", "stat"),
        f"""{real_recipes.LOAD}
rows = ds.to_list()
while len(rows) < 100_000_000:
    rows = rows + rows
dump_dataset(format_to_sharegpt(rows, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="oom",
        says=("MemoryError", "268435456 bytes"),
        fault="rows + rows",
    ),
    *real_recipes.cross(
        "a list that grows while it is read",
        ("svamp", "pubmedqa"),
        f"""{real_recipes.LOAD}
rows = ds.to_list()
for row in rows:
    rows.append({{**row, "$user": row["$user"] + " Think step by step."}})
""",
        kind="oom",
        says=("268435456 bytes",),
        fault="rows.append",
    ),
    *real_recipes.cross(
        "a table of words by rows",
        ("gsm8k", "pubmedqa"),
        f"""{real_recipes.LOAD}
import numpy as np

vocabulary = {{}}
for text in ds["$user"]:
    for word in text.split():
        vocabulary.setdefault(word, len(vocabulary))
counts = np.zeros((len(ds), 100 * len(vocabulary)), dtype=np.float64)
""",
        kind="oom",
        says=("Unable to allocate", "for an array with shape ($num_rows, "),
        fault="np.zeros",
    ),
    *real_recipes.cross(
        "the similarity of all pairs",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
import numpy as np

rng = np.random.default_rng(0)
vectors = rng.standard_normal((len(ds), 256)).astype("float32")
similar = (vectors @ vectors.T) > 0.9
""",
        kind="oom",
        says=("Unable to allocate", "(7473, 7473)"),
        fault="vectors.T",
    ),
    *real_recipes.cross(
        "pandas: a join without a key",
        ("gsm8k", "mawps"),
        f"""{real_recipes.LOAD}
import pandas as pd

df = ds.to_pandas()
pairs = pd.concat([df] * 5).merge(pd.concat([df] * 5), how="cross")
pairs = pairs[pairs["$user_x"] < pairs["$user_y"]]
""".replace("$user_", "${user}_"),
        kind="oom",
        says=("Unable to allocate",),
        fault="merge(",
    ),
    *real_recipes.cross(
        "all pairs as a list",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
import itertools

pairs = list(itertools.combinations(ds["$user"], 2))
print(len(pairs), "pairs")
""",
        kind="oom",
        says=("MemoryError",),
        fault="itertools.combinations",
    ),
    *real_recipes.cross(
        "a thousand copies of a dataset",
        ("gsm8k", "cruxeval"),
        f"""{real_recipes.LOAD}
ds = concatenate_datasets([ds] * 3000)
print("oversampled to", len(ds))
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="oom",
        says=("oversampled to ", "MemoryError"),
        fault="format_to_sharegpt",
    ),
    *real_recipes.cross(
        "a text multiplied",
        ("dates",),
        f"""{real_recipes.LOAD}
context = "\\n\\n".join(ds["$user"])
context = context * 100_000
""",
        kind="oom",
        says=("MemoryError",),
        fault="* 100_000",
    ),
    *real_recipes.cross(
        "a function that calls itself for the next row",
        ("gsm8k", "svamp"),
        f"""{real_recipes.LOAD}
def collect(i, found):
    if i == len(ds):
        return found
    return collect(i + 1, found + [ds[i]["$user"]])

texts = collect(0, [])
""",
        kind="runtime_error",
        says=("RecursionError: maximum recursion depth exceeded", "in collect"),
        fault="texts = collect",
    ),
]
_DISK = [
    *real_recipes.cross(
        "a file without end",
        ("svamp", "aqua"),
        f"""
import json
{real_recipes.LOAD}{_TURNS}
with open("data/processed/train.jsonl", "w") as f:
    while f.tell() < 10**9:
        for row in ds:
            f.write(json.dumps(turns(row["$user"], str(row["$assistant"]))) + "\\n")
""",
        kind="disk",
        says=("File too large", "8388608 bytes"),
        fault="f.write",
    ),
    *real_recipes.cross(
        "three times the largest source in one file",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, "$user", "$assistant")
dump_dataset(concatenate_datasets([ds] * 3), "data/processed/train.jsonl")
""",
        kind="disk",
        says=("File too large", "8388608 bytes"),
        fault="dump_dataset",
    ),
    *real_recipes.cross(
        "a file for each epoch",
        ("gsm8k", "pubmedqa"),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, lambda row: str(dict(row)) * 2, "$assistant")
for epoch in range(30):
    dump_dataset(ds.shuffle(seed=epoch), f"data/processed/epoch_{{epoch}}.jsonl")
""",
        kind="disk",
        says=("16777216 bytes",),
    ),
    *real_recipes.cross(
        "numbers saved beside",
        ("solutions",),
        f"""{real_recipes.LOAD}
import numpy as np

for i in range(40):
    np.save(f"embeddings_{{i}}.npy", np.ones((len(ds), 384), dtype="float32"))
""",
        kind="disk",
        says=("16777216 bytes",),
    ),
]
_OUTPUT = [
    *real_recipes.cross(
        "all questions in one prompt",
        ("gsm8k", "pubmedqa"),
        f"""
import json
{real_recipes.LOAD}{_TURNS}
prompt = "\\n\\n".join(str(row) for row in ds)
with open("data/processed/train.jsonl", "w") as f:
    f.write(json.dumps(turns("Solve all of these.\\n" + prompt, "Done.")) + "\\n")
""",
        kind="invalid_output",
        says=("[train.jsonl, line 1 has more than 262144 bytes]",),
    ),
    *real_recipes.cross(
        "all rows as one conversation",
        ("svamp", "cruxeval"),
        f"""
import json
{real_recipes.LOAD}
chat = []
for row in list(ds) * 8:
    chat.append({{"role": "user", "content": row["$user"]}})
    chat.append({{"role": "assistant", "content": str(row["$assistant"])}})
json.dump({{"dialogs": chat}}, open("data/processed/chat.jsonl", "w"))
""",
        kind="invalid_output",
        says=("[chat.jsonl, line 1 has more than 262144 bytes]",),
    ),
    *real_recipes.cross(
        "more rows than are taken",
        ("gsm8k", "booleans"),
        f"""
import json
{real_recipes.LOAD}{_TURNS}
with open("data/processed/train.jsonl", "w") as f:
    for i in range(10_500):
        row = ds[i % len(ds)]
        f.write(json.dumps(turns(f"{{i}}: {{row['$user'][:60]}}", "?")) + "\\n")
""",
        kind="invalid_output",
        says=("[more than 10000 rows]",),
    ),
    *real_recipes.cross(
        "more rows than are taken, in several files",
        ("mawps",),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, "Equation", "Answer")
for name in ("a", "b", "c", "d", "e", "f", "g"):
    dump_dataset(ds, f"data/processed/{{name}}.jsonl")
""",
        kind="invalid_output",
        says=("[more than 10000 rows]",),
    ),
    *real_recipes.cross(
        "everything printed",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
for i, row in enumerate(ds):
    print(i, row)
raise SystemExit(f"checked {{len(ds)}} rows, none was good")
""",
        kind="runtime_error",
        says=("checked 7473 rows, none was good",),
    ),
    *real_recipes.cross(
        "the data inside of the script",
        ("thermo",),
        """
import json
ROWS = json.loads('''[$rows]''')
""".replace("$rows", '{"q": "What is 2 + 2?", "a": "4"}, ' * 2400),
        kind="syntax_error",
        says=("processing.py has ", "bytes, at most 65536"),
    ),
]
_PROCESSES = [
    *real_recipes.cross(
        "a pool of processes",
        {
            "svamp": {"pool": "concurrent.futures.ProcessPoolExecutor"},
            "aqua": {"pool": "multiprocessing.Pool"},
        },
        f"""
import concurrent.futures
import multiprocessing
{real_recipes.LOAD}
with $pool(4) as pool:
    lengths = list(pool.map(len, ds["$user"]))
""",
        kind="forbidden",
        says=("cannot start processes",),
        fault="with $pool",
    ),
    *real_recipes.cross(
        "a thread for each row",
        ("dates",),
        f"""{real_recipes.LOAD}
import threading
import time

threads = [threading.Thread(target=time.sleep, args=(5,)) for _ in ds]
for thread in threads:
    thread.start()
""",
        kind=("runtime_error", "forbidden"),  # the latter where they are but counted
        says=("32 threads",),
    ),
]
RECIPES = [*_MEMORY, *_DISK, *_OUTPUT, *_PROCESSES]
