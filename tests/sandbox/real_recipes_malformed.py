"""Recipes whose rows are no training rows, and some whose rows are of no use.

What is said of the first bad row has to show what is wrong with it. Rows that are well
formed and useless are not the sandbox's to judge: those end well.
"""

from tests.sandbox import real_recipes

RECIPES = [
    *real_recipes.cross(
        "rows as they were loaded",
        ("gsm8k", "pubmedqa"),
        f"""{real_recipes.LOAD}
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="ok",
        says=('train.jsonl, line 1: a row must be an object with a list "dialogs"',),
        malformed=None,
    ),
    *real_recipes.cross(
        "other layouts of a chat",
        {
            "stat": {"row": '{"messages": [user, assistant]}'},
            "atkins": {"row": '{"conversations": [user, assistant]}'},
            "dates": {"row": '{"instruction": row["input"], "output": row["target"]}'},
            "navigate": {"row": '{"dialogs": {"user": user, "assistant": assistant}}'},
            "booleans": {"row": '[{"dialogs": [user, assistant]}]'},
        },
        f"""{real_recipes.LOAD}
import json
rows = []
for row in ds:
    user = {{"role": "user", "content": row["$user"]}}
    assistant = {{"role": "assistant", "content": row["$assistant"]}}
    rows.append($row)
{real_recipes.WRITE}""",
        kind="ok",
        says=('train.jsonl, line 1: a row must be an object with a list "dialogs"',),
        malformed=None,
    ),
    *real_recipes.cross(
        "other names of the fields of a turn",
        ("cruxeval",),
        f"""{real_recipes.LOAD}
import json
rows = [
    {{"dialogs": [{{"from": "human", "value": r["$user"]}},
                  {{"from": "gpt", "value": r["$assistant"]}}]}}
    for r in ds
]
{real_recipes.WRITE}""",
        kind="ok",
        says=('line 1: a turn must be an object with "role" and "content"',),
        malformed=None,
    ),
    *real_recipes.cross(
        "wrong roles",
        {
            "gsm8k": {"roles": "'human', 'gpt'"},
            "aqua": {"roles": "'assistant', 'user'"},
            "instruct": {"roles": "'system', 'assistant'"},
            "thermo": {"roles": "'user', 'user'"},
        },
        f"""{real_recipes.LOAD}
import json
rows = [
    {{"dialogs": [
        {{"role": role, "content": row[column]}}
        for role, column in zip([$roles], ["$user", "$assistant"])
    ]}}
    for row in ds
]
{real_recipes.WRITE}""",
        kind="ok",
        says=("line 1: roles must alternate from user to assistant, got [$roles]",),
        malformed=None,
    ),
    *real_recipes.cross(
        "numbers and lists as content",
        {
            "svamp": {"column": "Answer", "shown": "51.0"},
            "solutions": {"column": "6b_finetuning", "shown": "{'is_correct': False"},
        },
        f"""{real_recipes.LOAD}
import json
rows = [
    {{"dialogs": [
        {{"role": "user", "content": row["$user"]}},
        {{"role": "assistant", "content": row["$column"]}},
    ]}}
    for row in ds
]
{real_recipes.WRITE}""",
        kind="ok",
        says=("line 1: content must be text, got ", "$shown"),
        malformed=None,
    ),
    *real_recipes.cross(
        "one list of all rows in one line",
        ("stat",),
        f"""{real_recipes.LOAD}
import json
data = [{{{real_recipes.TURNS}}} for row in ds]
with open("data/processed/train.jsonl", "w") as f:
    json.dump(data, f)
""",
        kind="ok",
        says=('line 1: a row must be an object with a list "dialogs"',),
        malformed=1,
    ),
    *real_recipes.cross(
        "indented json",
        ("navigate", "atkins"),
        f"""{real_recipes.LOAD}
import json
data = [{{{real_recipes.TURNS}}} for row in ds]
with open("data/processed/train.jsonl", "w") as f:
    json.dump(data, f, indent=2)
""",
        kind="invalid_output",
        says=("[train.jsonl, line 1 is not JSON: ",),
    ),
    *real_recipes.cross(
        "Python's text of a row in place of json",
        ("aqua",),
        f"""{real_recipes.LOAD}
with open("data/processed/train.jsonl", "w") as f:
    for row in ds:
        f.write(str({{{real_recipes.TURNS}}}) + "\\n")
""",
        kind="invalid_output",
        says=("[train.jsonl, line 1 is not JSON: Expecting property name enclosed",),
    ),
    *real_recipes.cross(
        "all rows in one line, without ends of lines",
        ("dates",),
        f"""{real_recipes.LOAD}
import json
with open("data/processed/train.jsonl", "w") as f:
    for row in ds:
        f.write(json.dumps({{{real_recipes.TURNS}}}))
""",
        kind="invalid_output",
        says=("[train.jsonl, line 1 is not JSON: Extra data",),
    ),
    *real_recipes.cross(
        "not a number",
        ("mawps-dev",),
        f"""{real_recipes.LOAD}
import json
rows = [{{{real_recipes.TURNS}"score": float("nan")}} for row in ds]
{real_recipes.WRITE}""",
        kind="invalid_output",
        says=("[train.jsonl, line 1 is not JSON: NaN is no JSON]",),
    ),
    *real_recipes.cross(
        "one row",
        ("gsm8k", "cruxeval"),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds.select([0]), "$user", "$assistant")
dump_dataset(ds, "data/processed/train.jsonl")
""",
        kind="ok",
        pairs=lambda rows, raw: real_recipes.plain(rows[:1], raw),
    ),
    *real_recipes.cross(
        "invented rows",
        ("gsm8k",),
        f"""
import json
rows = [
    {{"dialogs": [
        {{"role": "user", "content": f"What is {{i}} + {{i}}?"}},
        {{"role": "assistant", "content": f"\\\\boxed{{{{{{2 * i}}}}}}"}},
    ]}}
    for i in range(100)
]
{real_recipes.WRITE}""",
        kind="ok",
        pairs=lambda rows, raw: [
            (f"What is {i} + {i}?", f"\\boxed{{{2 * i}}}") for i in range(100)
        ],
    ),
    *real_recipes.cross(
        "columns that are got without looking",
        ("svamp", "navigate"),
        f"""{real_recipes.LOAD}
import json
rows = [
    {{"dialogs": [
        {{"role": "user", "content": row.get("prompt", "")}},
        {{"role": "assistant", "content": row.get("completion", "")}},
    ]}}
    for row in ds
]
{real_recipes.WRITE}""",
        kind="ok",
        pairs=lambda rows, raw: [("", "")] * len(rows),
    ),
]
