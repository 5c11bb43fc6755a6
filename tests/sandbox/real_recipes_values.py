"""Recipes that take a value for what it is not: of a column, or of an argument.

The log has to show the value, and of which row where it came from one.
"""

from tests.sandbox import real_recipes

_TYPES = [
    *real_recipes.cross(
        "a column inside of a column",
        ("solutions",),
        f"""{real_recipes.LOAD}
ds = map_rows(ds, lambda row: {{
    "q": row["question"],
    "a": row["175b_verification"]["answer"],
}})
""",
        kind="runtime_error",
        says=("KeyError: 'answer'", "'is_correct'", "'solution'"),
        fault='["answer"]',
    ),
    *real_recipes.cross(
        "a list taken for a dictionary",
        ("instruct",),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(
    ds,
    user_map="instruction",
    assistant_map=lambda row: row["instances"]["output"],
)
""",
        kind="runtime_error",
        says=(
            "list indices must be integers or slices, not str",
            "row 0",
            "seed_task_0",
        ),
        fault='["output"]',
    ),
    *real_recipes.cross(
        "a number taken for text",
        ("svamp",),
        f"""{real_recipes.LOAD}
ds = select_by_filter(ds, lambda row: len(row["Answer"]) > 0)
""",
        kind="runtime_error",
        says=("object of type 'float' has no len()", "row 0", "'Answer': 51.0"),
        fault="lambda row",
    ),
    *real_recipes.cross(
        "a list taken for text",
        ("aqua",),
        f"""{real_recipes.LOAD}
def options(row):
    return [o.strip() for o in row["options"].split(",")]

ds = map_rows(ds, lambda row: {{"q": row["question"], "options": options(row)}})
""",
        kind="runtime_error",
        says=("'list' object has no attribute 'split'", "row 0", "'options': ["),
        fault='row["options"].split',
    ),
    *real_recipes.cross(
        "a mark that the answers do not have",
        ("solutions",),
        f"""{real_recipes.LOAD}
ds = map_rows(
    ds,
    lambda row: {{"q": row["question"], "a": row["ground_truth"].split("####")[1]}},
)
""",
        kind="runtime_error",
        says=("IndexError: list index out of range", "row 0", "ground_truth"),
        fault="lambda row",
    ),
    *real_recipes.cross(
        "text that is not always a number",
        ("atkins",),
        f"""{real_recipes.LOAD}
ds = map_rows(
    ds, lambda row: {{"u": row["problem_text"], "a": float(row["answer_latex"])}}
)
""",
        kind="runtime_error",
        says=(
            "ValueError: could not convert string to float: ",
            "row ",
            "problem_text",
        ),
        fault="float(",
    ),
]
_ARGUMENTS = [
    *real_recipes.cross(
        "a share in place of a number of rows",
        {
            "gsm8k": {"call": "sample_dataset", "n": "0.1"},
            "svamp": {"call": "split_dataset", "n": "len(ds) * 0.9"},
            "aqua": {"call": "sample_dataset", "n": "'100'"},
        },
        f"""{real_recipes.LOAD}
part = $call(ds, n=$n, seed=42)
""",
        kind="runtime_error",
        says=("n must be a whole number of rows, got ",),
        fault="$call",
    ),
    *real_recipes.cross(
        "weights that do not fit",
        {
            "gsm8k": {"weights": "[0.5, 0.3, 0.2]"},
            "mawps": {"weights": "{'gsm8k': 0.7, 'svamp': 0.3}"},
        },
        f"""{real_recipes.LOAD}
other = load_remote_dataset("deepmind/aqua_rat")
mixed = mix_datasets([ds, other], weights=$weights, n=300)
""",
        kind="runtime_error",
        says=("2 datasets want as many weights: [",),
        fault="mix_datasets",
    ),
    *real_recipes.cross(
        "a threshold in percent",
        ("svamp",),
        f"""{real_recipes.LOAD}
ds = deduplicate_by_minhash(ds, "$user", threshold=85)
""",
        kind="runtime_error",
        says=("threshold must be above 0 and at most 1, got 85",),
        fault="deduplicate_by_minhash",
    ),
    *real_recipes.cross(
        "what is no dataset",
        {
            "gsm8k": {"given": "'openai/gsm8k'", "got": "str: openai/gsm8k"},
            "aqua": {"given": "ds['question']", "got": "Column"},
            "svamp": {"given": "ds[:100]", "got": "dict"},
            "stat": {"given": "(row for row in ds)", "got": "generator"},
            "dates": {"given": "split_dataset(ds, 50)", "got": "tuple"},
        },
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt($given, "$user", "$assistant")
""",
        kind="runtime_error",
        says=("expected a Dataset, got $got",),
        fault="$given",
    ),
    *real_recipes.cross(
        "a list of columns for one",
        ("pubmedqa",),
        f"""{real_recipes.LOAD}
ds = format_to_sharegpt(ds, ["CONTEXTS", "QUESTION"], "$assistant")
""",
        kind="runtime_error",
        says=("user_map must be a column or a function of a row, got ['CONTEXTS', ",),
        fault="format_to_sharegpt",
    ),
    *real_recipes.cross(
        "a function that makes no row",
        {
            "gsm8k": {"made": "(row['question'], row['answer'])", "got": "tuple"},
            "cruxeval": {"made": "row['code'].strip()", "got": "str"},
        },
        f"""{real_recipes.LOAD}
ds = map_rows(ds, lambda row: $made)
""",
        kind="runtime_error",
        says=("fn must return a row, a list of rows or None, got $got",),
        fault="map_rows",
    ),
    *real_recipes.cross(
        "columns of the same name and another type",
        ("aqua",),
        f"""{real_recipes.LOAD}
letters = select_columns(ds, {{"question": "q", "correct": "a"}})
numbers = select_columns(
    load_remote_dataset("arkilpatel/svamp"), {{"Question": "q", "Answer": "a"}}
)
ds = concatenate_datasets([letters, numbers])
""",
        kind="runtime_error",
        says=("The features can't be aligned because the key a", "float64", "string"),
        fault="concatenate_datasets",
    ),
    *real_recipes.cross(
        "datasets that are not in a list",
        ("navigate",),
        f"""{real_recipes.LOAD}
ds = concatenate_datasets(ds, load_remote_dataset("arkilpatel/svamp"))
""",
        kind="runtime_error",
        says=("concatenate_datasets() takes 1 positional argument but 2 were given",),
        fault="concatenate_datasets",
    ),
    *real_recipes.cross(
        "the path before the dataset",
        ("booleans",),
        f"""{real_recipes.LOAD}
dump_dataset("data/processed/train.jsonl", format_to_sharegpt(ds, "input", "target"))
""",
        kind="runtime_error",
        says=("the path must end in .jsonl, got ", "num_rows: 250"),
        fault="dump_dataset",
    ),
    *real_recipes.cross(
        "more rows than there are",
        ("thermo",),
        f"""{real_recipes.LOAD}
ds = ds.shuffle(seed=0).select(range(500))
""",
        kind="runtime_error",
        says=("out of range for dataset of size 17",),
        fault="range(500)",
    ),
    *real_recipes.cross(
        "a thousands separator",
        ("gsm8k",),
        f"""{real_recipes.LOAD}
ds = map_rows(ds, lambda row: {{"n": int(extract_final(row["answer"]))}})
""",
        kind="runtime_error",
        says=("invalid literal for int() with base 10: '1,080'", "row 345: ", "Adam"),
        fault="int(",
    ),
]
RECIPES = [*_TYPES, *_ARGUMENTS]
