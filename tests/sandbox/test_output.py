"""Reading what a script wrote: the schema, and files that are traps."""

import dataclasses
import json
import os

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from sandbox import output
from tests.sandbox import small

_USER = {"role": "user", "content": "2+2?"}
_ASSISTANT = {"role": "assistant", "content": "4"}
_ROW = {"dialogs": [_USER, _ASSISTANT]}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "data" / "processed"
    path.mkdir(parents=True)
    return path


def _read_in(directory, **limits):
    fd = os.open(directory, os.O_RDONLY)
    try:
        return output.read(fd, dataclasses.replace(small.LIMITS, **limits))
    finally:
        os.close(fd)


def _read(folder, max_bytes=10_000, **limits):
    return _read_in(folder.parents[1], dataset_bytes=max_bytes, **limits)


def test_files_are_joined_in_name_order_and_others_named(folder):
    for name, text in (("b.jsonl", "2"), ("a.jsonl", "1"), ("notes.txt", "x")):
        row = {"dialogs": [_USER, {"role": "assistant", "content": text}]}
        (folder / name).write_text(json.dumps(row) + "\n\n")
    (folder / "sub").mkdir()
    found = _read(folder)
    assert [row["dialogs"][1]["content"] for row in found.rows] == ["1", "2"]
    assert found.ignored == ("notes.txt", "sub")


def test_rows_keep_dialogs_and_source_only(folder):
    system = {"role": "system", "content": "Be brief."}
    rows = [
        _ROW | {"source": "a/b", "id": 7},
        _ROW | {"source": None},
        {"dialogs": [system, _USER, _ASSISTANT, _USER, _ASSISTANT]},
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert _read(folder).rows == [_ROW | {"source": "a/b"}, _ROW, rows[2]]


@pytest.mark.parametrize(
    "row",
    [
        3,
        {},
        {"dialogs": "x"},
        {"dialogs": []},
        {"dialogs": [_USER]},
        {"dialogs": [_ASSISTANT]},
        {"dialogs": [_USER, _ASSISTANT, _USER]},
        {"dialogs": [_USER, _USER, _ASSISTANT]},
        {"dialogs": [{"role": "system", "content": "x"}]},
        {"dialogs": [_USER, {"role": "assistant", "content": 4}]},
        {"dialogs": [_USER, {"role": "assistant", "content": None}]},
        {"dialogs": [_USER, {"role": ["x"], "content": "4"}]},
        {"dialogs": [_USER, _ASSISTANT | {"name": "x"}]},
        _ROW | {"source": 3},
    ],
)
def test_rows_that_break_the_schema_are_counted(folder, row):
    (folder / "a.jsonl").write_text(f"{json.dumps(_ROW)}\n{json.dumps(row)}\n")
    found = _read(folder)
    assert (len(found.rows), found.malformed) == (1, 1)
    assert found.first_error.startswith("a.jsonl, line 2: ")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"dialogs": NaN}',
        b"\xff",
        b'"\\ud800"',
        b"[" * 100_000,
        b"1" * 5_000,
        b"\xef\xbb\xbf{}",
        b"\0" * 9,
    ],
)
def test_what_is_not_json_is_invalid(folder, content):
    (folder / "a.jsonl").write_bytes(content)
    with pytest.raises(output.InvalidOutput, match="a.jsonl, line 1 is not JSON"):
        _read(folder, max_bytes=10**6)


def test_a_line_separator_does_not_end_a_line(folder):
    turns = [_USER, {"role": "assistant", "content": "a\u2028b"}]
    text = json.dumps({"dialogs": turns}, ensure_ascii=False)
    (folder / "a.jsonl").write_text(text)
    assert len(_read(folder).rows) == 1


def _symlink(path, secret):
    path.symlink_to(secret)


def _hard_link(path, secret):
    os.link(secret, path)


def _pipe(path, _):
    os.mkfifo(path)


def _directory(path, _):
    path.mkdir()


@pytest.mark.parametrize("make", [_symlink, _hard_link, _pipe, _directory])
def test_only_regular_files_are_read(folder, tmp_path, make):
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(_ROW))
    make(folder / "a.jsonl", secret)
    with pytest.raises(output.InvalidOutput, match="a.jsonl"):
        _read(folder)


def test_links_on_the_way_are_not_followed(folder, tmp_path):
    (folder / "a.jsonl").write_text(json.dumps(_ROW))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").symlink_to(tmp_path / "data")
    with pytest.raises(output.InvalidOutput, match="no directory"):
        _read_in(elsewhere)


def test_the_bound_holds_for_all_files_together(folder):
    text = json.dumps(_ROW)
    for name in "ab":
        (folder / f"{name}.jsonl").write_text(text)
    assert len(_read(folder, max_bytes=2 * len(text)).rows) == 2
    with pytest.raises(output.InvalidOutput, match="b.jsonl is too large"):
        _read(folder, max_bytes=2 * len(text) - 1)


def test_a_sparse_file_is_not_read(folder):
    with open(folder / "a.jsonl", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(output.InvalidOutput, match="too large"):
        _read(folder)


def test_rows_and_lines_are_bounded(folder):
    line = json.dumps(_ROW)
    (folder / "a.jsonl").write_text(f"{line}\n3\n{line}\n")
    bounds = dict(dataset_rows=3, line_bytes=len(line))
    assert len(_read(folder, **bounds).rows) == 2
    with pytest.raises(output.InvalidOutput, match="more than 2 rows"):
        _read(folder, **bounds | {"dataset_rows": 2})
    with pytest.raises(output.InvalidOutput, match="a.jsonl, line 1 has more than"):
        _read(folder, **bounds | {"line_bytes": len(line) - 1})


def test_no_directory_is_no_rows(tmp_path):
    assert _read_in(tmp_path).rows == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dialogs", "role", "content"]), inner)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz")
    (path / "data" / "processed").mkdir(parents=True)
    return path


@given(values=st.lists(_json, max_size=5))
@settings(max_examples=50, deadline=None)
def test_whatever_json_it_is_each_row_is_taken_or_counted(values, base):
    lines = "\n".join(json.dumps(value) for value in values)
    (base / "data" / "processed" / "a.jsonl").write_text(lines)
    found = _read_in(base)
    assert len(found.rows) + found.malformed == len(values)
