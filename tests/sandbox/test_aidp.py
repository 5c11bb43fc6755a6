"""The toolkit: loading, operators, answers; run here, outside of any sandbox."""

import json
import os
import random

import datasets
import pyarrow
from pyarrow import parquet
import pytest

from sandbox import aidp
from sandbox.aidp import describe
from sandbox.aidp import rows
from sandbox.aidp import session

_ROWS = [{"q": f"q{n}", "a": n, "tags": ["x"]} for n in range(20)]


@pytest.fixture
def frames():
    """Returns the list of frames that the toolkit sends."""
    return []


@pytest.fixture
def start(tmp_path, frames):
    """Returns a function that opens a session with one source, `o/d`."""

    opened = []

    def open_session(name, content, *, records="", row_cap=0, seed=0, answers=()):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        opened.append(os.open(path, os.O_RDONLY))
        source = session.Source(
            id="o/d",
            fd=opened[-1],
            format=path.suffix[1:],
            records=records,
            split="train",
            name="default",
        )
        replies = iter(answers)
        session.start(
            session.Session(
                sources={"o/d": source},
                row_cap=row_cap,
                seed=seed,
                send=frames.append,
                receive=lambda: next(replies),
            )
        )

    open_session("none.jsonl", "")
    yield open_session
    for fd in opened:
        os.close(fd)


def _jsonl(values):
    return "\n".join(map(json.dumps, values))


def _parquet(values):
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(values), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content", "records"),
    [
        ("d.jsonl", _jsonl(_ROWS), ""),
        ("d.json", json.dumps(_ROWS), ""),
        ("d.json", json.dumps({"canary": "x", "examples": _ROWS}), "examples"),
        ("d.parquet", _parquet(_ROWS), ""),
    ],
)
def test_every_format_loads(start, frames, name, content, records):
    start(name, content, records=records)
    ds = aidp.load_remote_dataset("o/d", name="default", split="train")
    assert isinstance(ds, datasets.Dataset) and ds.to_list() == _ROWS
    assert frames == [{"call": ["load_remote_dataset", 20, 20]}]


def test_a_dict_of_rows_gets_an_id_column(start):
    start("d.json", json.dumps({"x": {"a": 1}, "y": {"a": 2}}), records="*")
    ds = aidp.load_remote_dataset("o/d")
    assert ds.to_list() == [{"id": "x", "a": 1}, {"id": "y", "a": 2}]


def test_csv_cells_are_numbers_text_or_none(start):
    content = (
        "\ufeffint,float,zeros,mixed,date,flag,text\n"
        '1,1.5,007,1,2020-01-01,true,"a\nb, ""c"""\n'
        "-2,,010,x,2020-01-02,false,\n"
        "broken,row\n"
    )
    start("d.csv", content)
    first, second = aidp.load_remote_dataset("o/d").to_list()
    assert first == {
        "int": 1,
        "float": 1.5,
        "zeros": "007",
        "mixed": "1",
        "date": "2020-01-01",
        "flag": "true",
        "text": 'a\nb, "c"',
    }
    assert (second["int"], second["float"], second["text"]) == (-2, None, None)


def test_dirt_in_raw_lines_is_left_out_and_said(start, capsys):
    start("d.jsonl", '{"a": 1}\n{"a": \nnull\n\n{"a": "x", "b": [1]}\n')
    ds = aidp.load_remote_dataset("o/d")
    assert ds.to_list() == [{"a": "1", "b": None}, {"a": "x", "b": [1]}]
    assert capsys.readouterr().out == "o/d: 2 lines are no JSON objects\n"


def test_a_row_cap_draws_by_the_seed_and_keeps_the_order(start):
    def load(**fields):
        start("d.jsonl", _jsonl(_ROWS), **fields)
        return aidp.load_remote_dataset("o/d")["a"][:]

    some = load(row_cap=5, seed=1)
    assert len(some) == 5 and some == sorted(some)
    assert some == load(row_cap=5, seed=1) != load(row_cap=5, seed=2)
    assert load(row_cap=99) == list(range(20))


def test_columns_are_kept_in_the_order_asked_for(start):
    start("d.jsonl", _jsonl(_ROWS))
    ds = aidp.load_remote_dataset("o/d", "a", "q")
    assert ds[3] == {"a": 3, "q": "q3"} and ds.column_names == ["a", "q"]
    assert rows.source_of(ds) == "o/d"
    with pytest.raises(ValueError, match="no column 'x'; its columns are .'q', 'a'"):
        aidp.load_remote_dataset("o/d", "q", "x")


def test_shuffling_keeps_the_rows(start):
    start("d.jsonl", _jsonl(_ROWS))
    shuffled = aidp.load_remote_dataset("o/d", shuffle=True)["a"][:]
    assert shuffled != sorted(shuffled) == list(range(20))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "o/x"}, "no dataset 'o/x'; the datasets are ['o/d']"),
        ({"id": "o/d", "split": "test"}, "o/d has no split 'test', only 'train'"),
        ({"id": "o/d", "name": "main"}, "o/d has no name 'main', only 'default'"),
    ],
)
def test_errors_of_loading_say_what_exists(start, fields, message):
    start("d.jsonl", _jsonl(_ROWS))
    with pytest.raises(ValueError) as caught:
        aidp.load_remote_dataset(**fields)
    assert str(caught.value) == message


def test_errors_of_columns_say_which_exist(start):
    ds = rows.from_rows(_ROWS, source=None)
    with pytest.raises(
        KeyError, match=r"no column 'x'; the columns are \['q', 'a', 'tags'\]"
    ):
        aidp.select_by_filter(ds, lambda row: row["x"])
    with pytest.raises(KeyError, match="user_map='x' is no column"):
        aidp.format_to_sharegpt(ds, user_map="x", assistant_map="a")
    with pytest.raises(TypeError, match="expected a Dataset, got int"):
        aidp.select_by_filter(3, bool)


def test_filtering_keeps_types_even_of_nothing(start, frames):
    ds = rows.from_rows(_ROWS, source="o/d")
    kept = aidp.select_by_filter(ds, lambda row: row["a"] > 17)
    none = aidp.select_by_filter(kept, lambda row: False)
    assert kept["a"][:] == [18, 19] and none.features == ds.features
    assert frames == [
        {"call": ["select_by_filter", 20, 2]},
        {"call": ["select_by_filter", 2, 0]},
    ]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 2, 3]),
        ({"lowercase": False}, [0, 1, 2, 3]),
        ({"ignore_non_character": True}, [0, 3]),
    ],
)
def test_deduplication_keeps_the_first(start, options, kept):
    texts = ["A b", "a B", "a, b!", "c", "c"]
    ds = rows.from_rows([{"t": t, "n": n} for n, t in enumerate(texts)], source=None)
    assert aidp.deduplicate_by_text_hash(ds, text_map="t", **options)["n"][:] == kept


def test_training_rows_are_deduplicated_by_their_question(start):
    ds = rows.from_rows([{"q": q, "a": a} for q, a in ("xx", "xy", "zx")], source=None)
    ds = aidp.format_to_sharegpt(ds, user_map="q", assistant_map="a")
    found = aidp.deduplicate_by_text_hash(ds).to_list()
    assert [row["dialogs"][0]["content"] for row in found] == ["x", "z"]


def test_training_rows_name_their_source_also_after_map_and_filter(start):
    start(
        "d.jsonl",
        _jsonl([{"q": "2+2", "a": 4}, {"q": None, "a": ""}, {"q": "x", "a": 0}]),
    )
    ds = aidp.load_remote_dataset("o/d")
    ds = ds.filter(lambda row: row["q"] != "x").map(lambda row: {"q": row["q"]})
    found = aidp.format_to_sharegpt(
        ds, user_map="q", assistant_map=lambda row: row["a"]
    )
    pairs = [[turn["content"] for turn in row["dialogs"]] for row in found]
    assert pairs == [["2+2", "4"], ["", ""]] and found["source"][:] == ["o/d"] * 2


def test_dumps_are_json_lines(start, tmp_path):
    known = rows.from_rows([{"t": "ä", "source": "o/d"}], source=None)
    ds = aidp.concatenate_datasets([known, rows.from_rows([{"t": "b"}], source=None)])
    path = tmp_path / "new" / "a.jsonl"
    aidp.dump_dataset(ds, str(path))
    assert path.read_text() == '{"t": "ä", "source": "o/d"}\n{"t": "b"}\n'
    with pytest.raises(ValueError, match="must end in .jsonl, got 'x.json'"):
        aidp.dump_dataset(ds, "x.json")


def test_samples_are_fixed_by_their_seed(start):
    ds = rows.from_rows(_ROWS, source=None)
    some = aidp.sample_dataset(ds, 5, seed=3)["a"][:]
    assert len(some) == 5 and some == aidp.sample_dataset(ds, 5, seed=3)["a"][:]
    assert len(aidp.sample_dataset(ds, 99)) == 20


def test_frames_of_pandas_and_lists_serve_as_datasets(start):
    ds = rows.from_rows([{"a": 1, "b": None}, {"a": 2, "b": "x"}], source=None)
    for given in (ds.to_pandas(), ds.to_list()):
        assert aidp.select_by_filter(given, lambda row: row["b"]).to_list() == [
            {"a": 2, "b": "x"}
        ]


def test_a_language_model_makes_rows(start, frames):
    start("d.jsonl", _jsonl(_ROWS[:2]), answers=[{"answers": ["yes", "no"]}])
    ds = aidp.load_remote_dataset("o/d")

    def parse(response, raw):
        return [{"q": raw["q"], "r": response}] * 2 if response == "yes" else None

    made = aidp.generate_dataset_with_llm(
        ds, system_prompt="Say.", response_parser=parse, user_map=lambda row: row["q"]
    )
    assert made.to_list() == [{"q": "q0", "r": "yes"}] * 2
    system = {"role": "system", "content": "Say."}
    asked = [[system, {"role": "user", "content": q}] for q in ("q0", "q1")]
    assert frames[1:] == [{"ask": asked}, {"call": ["generate_dataset_with_llm", 2, 2]}]


def test_by_default_a_language_model_reads_the_row_as_json(start, frames):
    start("d.jsonl", "", answers=[{"answers": ["ok"]}])
    made = aidp.generate_dataset_with_llm([{"q": "é"}])
    assert frames[0] == {"ask": [[{"role": "user", "content": '{"q": "é"}'}]]}
    assert made.to_list() == [{"q": "é", "response": "ok"}]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 3.", "3"),
        ("I worked it out: the answer is 1 2\n3 4.", "1 2\n3 4"),
        ("Final Answer: 3.5. I hope this helps.", "3.5"),
        ("5 - 2 = 3\n#### 1,200", "1,200"),
        (r"So \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("2 + 2 = 4.", "4"),
        ("She has 3 left of 10 apples", "10"),
        ("Paris.", "Paris"),
        (7, "7"),
        ("", None),
        (None, None),
    ],
)
def test_the_final_answer_of_prose(text, answer):
    assert aidp.extract_final(text) == answer


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("D. Paris", "D"),
        ("The answer is (A).", "A"),
        ("So the answer is B", "B"),
        ("Apple", None),
        (None, None),
    ],
)
def test_the_letter_of_an_option(text, letter):
    assert aidp.extract_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"answer": 3}', {"answer": 3}),
        ('Well [x] so {"a": [1]} {}', {"a": [1]}),
        ("```json\n[1, 2]\n```", [1, 2]),
        ("none", None),
        ("[" * 10**5, None),
        (None, None),
    ],
)
def test_the_first_json_in_a_text(text, value):
    assert aidp.extract_json(text) == value


def test_answers_are_written_as_they_are_found():
    assert aidp.extract_boxed(aidp.to_boxed("{a}")) == "{a}"
    assert aidp.extract_boxed(r"\boxed{1} \boxed{2") is None
    assert aidp.to_json(3) == '{"answer": "3"}' and aidp.to_boxed(None) is None
    assert aidp.to_letter(2, ["1", "2"]) == "B" and aidp.to_letter(3, ["1"]) is None


def test_rows_are_made_of_rows(start):
    rows_ = [{"n": n} for n in range(4)]
    made = aidp.map_rows(rows_, lambda row: [{"m": row["n"]}] * (row["n"] % 3) or None)
    assert made.to_list() == [{"m": 1}, {"m": 2}, {"m": 2}]
    assert aidp.map_rows(rows_, lambda row: row).to_list() == rows_
    with pytest.raises(TypeError, match="fn must return a row, a list of rows or None"):
        aidp.map_rows(rows_, lambda row: 3)


def test_columns_are_kept_or_renamed(start):
    given = [{"a": 1, "b": 2, "c": 3}]
    assert aidp.select_columns(given, ["c", "a"]).to_list() == [{"c": 3, "a": 1}]
    assert aidp.select_columns(given, {"b": "x"}).to_list() == [{"x": 2}]
    with pytest.raises(KeyError, match=r"columns='z' is no column; the columns are"):
        aidp.select_columns(given, ["z"])


def test_lengths_have_two_bounds(start):
    given = [{"t": "x" * n} for n in range(5)] + [{"t": None}]
    assert len(aidp.filter_by_length(given, "t")) == 4
    kept = aidp.filter_by_length(given, "t", min_chars=2, max_chars=3)
    assert [len(t) for t in kept["t"]] == [2, 3]


def test_a_split_is_of_two_parts_that_make_up_the_whole(start):
    given = datasets.Dataset.from_list([{"n": n} for n in range(20)])
    first, rest = aidp.split_dataset(given, 7, seed=3)
    assert (len(first), len(rest)) == (7, 13)
    assert sorted(first["n"][:] + rest["n"][:]) == list(range(20))
    assert first["n"][:] == sorted(first["n"][:]) != list(range(7))
    assert [len(part) for part in aidp.split_dataset(given, 99)] == [20, 0]


def test_a_mixture_has_the_shares_of_its_weights(start):
    parts = [[{"s": s}] * 50 for s in range(3)]
    mixed = aidp.mix_datasets(parts, [1, 2, 0], 30)["s"][:]
    assert [mixed.count(s) for s in range(3)] == [10, 20, 0]
    assert len(aidp.mix_datasets(parts, [1, 1, 1], 100)) == 100
    short = aidp.mix_datasets([parts[0], [{"s": 1}]], [1, 1], 20)["s"][:]
    assert (short.count(0), short.count(1)) == (10, 1)
    for weights in ([1, 2], [1, -1, 1], [0, 0, 0]):
        with pytest.raises(ValueError, match="as many weights"):
            aidp.mix_datasets(parts, weights, 10)


def _jaccard(a, b, ngram=3):
    def grams(text):
        words = text.split()
        return {tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)}

    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def test_near_duplicates_are_found_as_brute_force_finds_them(start):
    rng = random.Random(0)
    words = [f"w{n}" for n in range(300)]
    texts = []
    for _ in range(40):
        text = rng.choices(words, k=60)
        texts.append(" ".join(text))
        for changes in (1, 3, 12, 30):
            copy = list(text)
            for at in rng.sample(range(60), changes):
                copy[at] = rng.choice(words)
            texts.append(" ".join(copy))
    kept = aidp.deduplicate_by_minhash([{"t": t} for t in texts], "t")["t"][:]
    wrong = 0
    for i, text in enumerate(texts):
        nearest = max((_jaccard(text, k) for k in texts[:i] if k in kept), default=0.0)
        if nearest < 0.65:  # 0.04 is what the estimate errs by
            assert text in kept
        elif nearest > 0.95:
            assert text not in kept
        else:
            wrong += (text in kept) == (nearest >= 0.8)
    assert wrong <= 10
    same = [{"t": "a b"}, {"t": "A, b!"}, {"t": "b a"}, {"t": ""}, {"t": ""}]
    assert aidp.deduplicate_by_minhash(same, "t")["t"][:] == ["a b", "b a", ""]
    with pytest.raises(ValueError, match="threshold must be above 0"):
        aidp.deduplicate_by_minhash(same, "t", threshold=1.2)


def test_a_language_model_filters_and_scores(start, frames):
    given = [{"q": "a"}, {"q": "b"}, {"q": "c"}]
    start("none.jsonl", "", answers=[{"answers": ["Yes.", "no, yes", " **yes**"]}])
    assert aidp.filter_with_llm(given, "Good?", "q")["q"][:] == ["a", "c"]
    system = frames[0]["ask"][0][0]["content"]
    assert system.startswith("Good?\nReply with yes or no")
    start("none.jsonl", "", answers=[{"answers": ["5", "Score: 3/5", "12"]}])
    scored = aidp.score_with_llm(given, "How clear?", column="s")
    assert scored["s"][:] == [5, 3, None] and scored["q"][:] == ["a", "b", "c"]


def test_the_toolkit_describes_itself():
    text = describe.describe()
    for name in aidp.__all__:
        assert f"\n{name}(" in f"\n{text}"
    assert (
        "load_remote_dataset(id, *columns, name=None, split=None, shuffle=False)"
        in text
    )
    assert "Keeps the rows for which `fn(row)` is true." in text
