r"""Recipes that take too long, and some that only take long.

What runs out is the processor's time for those that work and the clock's for those
that wait; the log has to say that it was time, and where it was spent.
"""

from tests.sandbox import real_recipes

_TIMEOUT = ('File "processing.py", line ', "[stopped: timeout", "s of CPU")

_WORKING = [
    *real_recipes.cross(
        "every pair compared with difflib",
        ("gsm8k", "solutions"),
        """
import difflib
from aidp import *

ds = load_remote_dataset("$id")
kept = []
for row in ds:
    text = row["$user"]
    if any(difflib.SequenceMatcher(None, text, k["$user"]).ratio() > 0.9 for k in kept):
        continue
    kept.append(row)
dump_dataset(format_to_sharegpt(kept, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "every pair compared by edit distance",
        ("cruxeval",),
        """
from aidp import *

def levenshtein(a, b):
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            change = previous[j - 1] + (x != y)
            current.append(min(previous[j] + 1, current[-1] + 1, change))
        previous = current
    return previous[-1]

rows = load_remote_dataset("$id").to_list()
duplicates = set()
for i in range(len(rows)):
    for j in range(i):
        if levenshtein(rows[i]["$user"], rows[j]["$user"]) < 10:
            duplicates.add(i)
rows = [row for i, row in enumerate(rows) if i not in duplicates]
dump_dataset(format_to_sharegpt(rows, "$user", "$assistant"), "data/processed/d.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "pandas, each row against all others",
        ("gsm8k",),
        """
import pandas as pd
from aidp import *

df = load_remote_dataset("$id").to_pandas()
df["words"] = df["$user"].str.lower().str.split().apply(set)

def max_overlap(row):
    others = df.drop(index=row.name)["words"]
    return others.apply(lambda w: len(w & row["words"]) / len(w | row["words"])).max()

df["overlap"] = df.apply(max_overlap, axis=1)
df = df[df["overlap"] < 0.8]
dump_dataset(format_to_sharegpt(df, "$user", "$assistant"), "data/processed/p.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "a frame that grows row by row",
        ("gsm8k",),
        """
import pandas as pd
from aidp import *

df = pd.DataFrame(columns=["user", "assistant"])
for row in load_remote_dataset("$id"):
    new = pd.DataFrame([{"user": row["$user"], "assistant": row["$assistant"]}])
    df = pd.concat([df, new], ignore_index=True)
dump_dataset(format_to_sharegpt(df, "user", "assistant"), "data/processed/p.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "more different rows wanted than there are",
        ("svamp", "stat"),
        """
import random
from aidp import *

TARGET = 5000
rows = load_remote_dataset("$id").to_list()
chosen = {}
while len(chosen) < TARGET:
    row = random.choice(rows)
    chosen[row["$user"]] = row
dump_dataset(
    format_to_sharegpt(list(chosen.values()), "$user", "$assistant"),
    "data/processed/train.jsonl",
)
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "an index that is not moved on when a row is skipped",
        ("pubmedqa",),
        """
from aidp import *

ds = load_remote_dataset("$id")
out = []
i = 0
while i < len(ds):
    row = ds[i]
    if len(row["$user"]) > 120:
        continue
    out.append(row)
    i += 1
dump_dataset(format_to_sharegpt(out, "$user", "$assistant"), "data/processed/s.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "a regular expression that backtracks",
        ("instruct",),
        r"""
import re
from aidp import *

SENTENCES = re.compile(r"^(\s*(\w+\W*)+\.)*$$")
ds = load_remote_dataset("$id")
ds = select_by_filter(ds, lambda row: SENTENCES.match(row["$user"]) is not None)
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/r.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "all orders of the words",
        ("dates",),
        """
import itertools
from aidp import *

longest = {}
for row in load_remote_dataset("$id"):
    words = row["$user"].split()
    best = max(itertools.permutations(words), key=lambda order: " ".join(order))
    longest[" ".join(best)] = row["$assistant"]
print(len(longest))
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "a seal on every row",
        ("aqua",),
        """
import hashlib
from aidp import *

def fingerprint(row):
    return hashlib.pbkdf2_hmac("sha256", row["$user"].encode(), b"", 1_000_000).hex()

seen, rows = set(), []
for row in load_remote_dataset("$id"):
    mark = fingerprint(row)
    if mark not in seen:
        seen.add(mark)
        rows.append(row)
dump_dataset(format_to_sharegpt(rows, "$user", "$assistant"), "data/processed/h.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "a loop that swallows its own error",
        ("mawps",),
        """
from aidp import *

ds = None
while ds is None:
    try:
        ds = load_remote_dataset("$id", name="MAWPS")
    except Exception as e:
        print("retrying:", e)
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="timeout",
        says=(*_TIMEOUT, "$id has no name 'MAWPS', only '$config'"),
    ),
    *real_recipes.cross(
        "a model trained in the recipe",
        ("gsm8k",),
        """
import math
from collections import Counter
from aidp import *

texts = [row["$user"].lower().split() for row in load_remote_dataset("$id")]
weights = Counter()
for epoch in range(100):
    for words in texts:
        for a, b in zip(words, words[1:]):
            total = math.exp(weights[a, b]) + math.exp(-weights[a, b])
            weights[a, b] += 0.1 * (1 - math.exp(weights[a, b]) / total)
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
]
_WAITING = [
    *real_recipes.cross(
        "a pause after each row",
        ("gsm8k", "mawps"),
        """
import time
from aidp import *

out = []
for row in load_remote_dataset("$id"):
    out.append(row)
    time.sleep(0.5)  # do not overload the server
dump_dataset(format_to_sharegpt(out, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "tried again, each time later",
        ("pubmedqa",),
        """
import time
from aidp import *

ds = None
for attempt in range(10):
    try:
        ds = load_remote_dataset("pubmed_qa", name="$config")
        break
    except Exception as error:
        wait = 2 ** attempt
        print(f"attempt {attempt} failed ({error}); waiting {wait} s", flush=True)
        time.sleep(wait)
""",
        kind="timeout",
        says=(*_TIMEOUT, "attempt 0 failed (no dataset 'pubmed_qa'", "$ids"),
    ),
    *real_recipes.cross(
        "a file that never comes",
        ("svamp",),
        """
import os
import time

while not os.path.exists("data/raw/SVAMP.json"):
    time.sleep(1)
print("found it")
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
    *real_recipes.cross(
        "a queue that nobody fills any more",
        ("cruxeval",),
        """
import json
import queue
import threading
from aidp import *

todo = queue.Queue()
for row in load_remote_dataset("$id"):
    todo.put(row)

def worker():
    with open("data/processed/a.jsonl", "a") as f:
        while True:
            row = todo.get()
            f.write(json.dumps(row) + "\\n")

threads = [threading.Thread(target=worker) for _ in range(2)]
for t in threads:
    t.start()
for t in threads:
    t.join()
""",
        kind="timeout",
        says=_TIMEOUT,
    ),
]
_PATIENT = """
from aidp import *

ds = load_remote_dataset("$id")
rows = ds.to_list()
"""
_WRITE = """
dump_dataset(format_to_sharegpt(rows, "$user", "$assistant"), "data/processed/a.jsonl")
"""
_HONEST = [
    *real_recipes.cross(
        "every pair of a small file",
        ("thermo",),
        f"""{_PATIENT}
import difflib
pairs = [(a, b) for i, a in enumerate(rows) for b in rows[:i]]
close = [
    (a["problemid"], b["problemid"])
    for a, b in pairs
    if difflib.SequenceMatcher(None, a["$user"], b["$user"]).ratio() == 1.0
]
print(len(close), "equal pairs")
{_WRITE}""",
        kind="ok",
        says=("1 equal pairs",),
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "a pause before it begins",
        ("aqua", "dates"),
        f"""
import time
time.sleep(1.5)
{_PATIENT}{_WRITE}""",
        kind="ok",
        pairs=real_recipes.plain,
    ),
    *real_recipes.cross(
        "a search with a deadline of its own",
        ("navigate",),
        f"""{_PATIENT}
import random
import time
deadline = time.monotonic() + 0.4
best = None
while time.monotonic() < deadline:
    part = random.sample(rows, 100)
    yes = sum(row["$assistant"] == "Yes" for row in part)
    if best is None or abs(yes - 50) < abs(best - 50):
        best, chosen = yes, part
rows = chosen
{_WRITE}""",
        kind="ok",
        pairs=real_recipes.plain,
        count=100,
    ),
    *real_recipes.cross(
        "near duplicates of a thousand abstracts",
        ("pubmedqa",),
        """
from aidp import *

ds = load_remote_dataset("$id")
ds = deduplicate_by_minhash(ds, lambda row: " ".join(row["CONTEXTS"]), threshold=0.9)
print(len(ds), "of $num_rows are left")
dump_dataset(format_to_sharegpt(ds, "$user", "$assistant"), "data/processed/a.jsonl")
""",
        kind="ok",
        pairs=real_recipes.plain,
        says=("1000 of 1000 are left",),
    ),
]
RECIPES = [*_WAITING, *_WORKING, *_HONEST]  # who waits need not be waited for
