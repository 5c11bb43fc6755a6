"""The paper's own example of a recipe, for ClimaQA, on stand-ins for its sources.

Rebuilt from what the paper says of it (section 4, figures): open questions of one
source become questions with four options, by a language model whose bad answers are
dropped; of another source rows about the climate are kept; both get one layout, are
joined, and lose their duplicates.
"""

import json

from sandbox.job import Job
from sandbox.job import SourceFile
from tests.sandbox import small

_PROCESSING = """
from datasets import concatenate_datasets

from aidp import *

KEYWORDS = ("climate", "atmosphere", "ocean", "carbon")


def parse(response, raw):
    made = extract_json(response)
    if not isinstance(made, dict) or len(made.get("options", [])) != 4:
        return []
    if made.get("answer") not in list("ABCD"):
        return []
    return [layout(made["question"], made["options"], made["answer"])]


def layout(question, options, answer):
    listed = "\\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", options))
    return {"user": f"{question}\\n{listed}", "assistant": answer}


def about_climate(row):
    text = f"{row['category']} {row['topic']}".lower()
    return any(word in text for word in KEYWORDS)


ds = load_remote_dataset("climate/open", name="default", split="train", shuffle=True)
ds = generate_dataset_with_llm(
    ds,
    system_prompt="Turn the question into one with four options. Reply in JSON.",
    response_parser=parse,
)
other = load_remote_dataset("science/mcq", name="default", split="train", shuffle=False)
other = select_by_filter(other, about_climate)
other = other.map(
    lambda row: layout(row["question"], row["choices"], row["answer"]),
    remove_columns=other.column_names,
)
ds = concatenate_datasets([ds, other])
ds = deduplicate_by_text_hash(
    ds, text_map=lambda row: row["user"], lowercase=True, ignore_non_character=True
)
ds = format_to_sharegpt(ds, user_map="user", assistant_map="assistant")
dump_dataset(ds, "data/processed/train.jsonl")
"""
_VERIFICATION = """
import json
rows = [json.loads(line) for line in open("data/processed/train.jsonl")]
assert all(row["dialogs"][1]["content"] in "ABCD" for row in rows)
print(len(rows), "rows")
"""


def _answer(chats):
    """Makes four options of a question; of every third one nonsense."""
    replies = []
    for chat in chats:
        row = json.loads(chat[-1]["content"])
        made = {"question": row["question"], "options": list("wxyz"), "answer": "B"}
        text = f"Sure: {json.dumps(made)}" if row["n"] % 3 else "I cannot do that."
        replies.append((text, 10))
    return replies


def _source(folder, id, rows):
    path = folder / f"{id.replace('/', '_')}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SourceFile(
        id=id, path=path, format="jsonl", records="", split="train", name="default"
    )


def test_it_runs_unchanged(tmp_path):
    topics = ("Ocean currents", "Cell biology", "Carbon cycle", "Mechanics")
    multiple = [
        {
            "question": f"M{n % 6}?",  # each of them twice
            "choices": list("abcd"),
            "answer": "ABCD"[n % 4],
            "category": "Science",
            "topic": topics[n % 4],
        }
        for n in range(12)
    ]
    job = Job(
        processing=_PROCESSING,
        verification=_VERIFICATION,
        sources=(
            _source(
                tmp_path,
                "climate/open",
                [{"n": n, "question": f"O{n}?", "answer": "x"} for n in range(9)],
            ),
            _source(tmp_path, "science/mcq", multiple),
        ),
        row_cap=0,
        seed=0,
    )
    with small.started(answer=_answer) as sandbox:
        (result,) = sandbox.run([job])
    assert (result.kind, result.verification) == ("ok", "ok"), result.log
    questions = [row["dialogs"][0]["content"] for row in result.output.rows]
    made = {f"O{n}?\nA. w\nB. x\nC. y\nD. z" for n in range(9) if n % 3}
    # Of the twelve, numbers 0, 2, 4, 6, 8 and 10 are about the climate.
    kept = {f"M{n}?\nA. a\nB. b\nC. c\nD. d" for n in (0, 2, 4)}
    assert set(questions) == made | kept and len(questions) == 9
    assert [call for call in result.calls if call[0].startswith("gen")] == [
        ("generate_dataset_with_llm", 9, 6)
    ]
    assert "9 rows" in result.log
