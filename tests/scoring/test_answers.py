"""Tests for datachef_jax/scoring/answers.py."""

import ast
import fractions
import json
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from datachef_jax.scoring import answers

_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "ages": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
)
_CONTRACTS = ("plain", "boxed", "letter", "json", "code", _SCHEMA)


_FUNCTION = "def f():\n    return 1"


@pytest.mark.parametrize(
    "contract, text, expected",
    [
        ("plain", " 3 8 9\n", "3 8 9"),
        ("plain", "", None),
        ("plain", " \n", None),
        ("boxed", r"\boxed{7}", "7"),
        ("boxed", r"first \boxed{1}, so \boxed{2}.", "2"),
        ("boxed", r"\boxed{\frac{3}{4}}", r"\frac{3}{4}"),
        ("boxed", r"\boxed{a{b{c}}}", "a{b{c}}"),
        ("boxed", r"\boxed{\boxed{5}}", r"\boxed{5}"),
        ("boxed", r"{ \boxed{5}", "5"),
        ("boxed", r"} \boxed{5} }", "5"),
        ("boxed", r"\boxed{5} and \boxed{6", "5"),
        ("boxed", r"\boxed{5", None),
        ("boxed", r"\boxed{ }", None),
        ("boxed", r"boxed{5}", None),
        ("boxed", "5", None),
        ("letter", "B", "B"),
        ("letter", " (C) ", "C"),
        ("letter", "D.", "D"),
        ("letter", "A)", "A"),
        ("letter", "G", None),
        ("letter", "b", None),
        ("letter", "AB", None),
        ("letter", "A or B", None),
        ("letter", "The answer is B", None),
        ("json", '{"answer": "1 2"}', "1 2"),
        ("json", '{"answer": 12}', "12"),
        ("json", '{"answer": -0.50}', "-0.50"),
        ("json", '{"answer": true}', "true"),
        ("json", '{"answer": [1, "a", 2.5, false]}', "1 a 2.5 false"),
        ("json", '{"answer": [[1, 2], [3]]}', "1 2 3"),
        ("json", '{"answer": []}', None),
        ("json", '{"answer": null}', None),
        ("json", '{"answer": [1, null]}', None),
        ("json", '{"answer": NaN}', None),
        ("json", '{"answer": 1e999}', "1e999"),
        ("json", '{"answer": {"x": 1}}', None),
        ("json", '{"why": {"sum": 3}, "answer": 3}', "3"),
        ("json", '{"why": "3"}', None),
        ("json", 'It is {"answer": "x"}.', "x"),
        ("json", '```json\n{\n  "answer": "x"\n}\n```', "x"),
        ("json", 'From {"a": 1} follows {"answer": "x"}', "x"),
        ("json", '{"answer": "x"', None),
        ("json", '["answer"]', None),
        ("json", "{answer: 1}", None),
        ("json", "", None),
        ("json", '{"answer": "\\ud83d\\ude00"}', "\N{GRINNING FACE}"),
        ("code", "x = 1\n", "x = 1"),
        ("code", "Sure:\n```python\ndef f():\n    return 1\n```\nDone.", _FUNCTION),
        ("code", "```\n1 +\n```\nor\n```py\n1 + 1\n```", "1 + 1"),
        ("code", "```\n1 + 1\n```\nor\n```py\n1 +\n```", None),
        ("code", "```\nx = 1\n```\n```python\ny =", "x = 1"),
        ("code", "```python\nx = 1", None),
        ("code", "x = 1 ``` y", None),
        ("code", "return the sum of both", None),
        ("code", "# nothing", None),
        ("code", "```\n```", None),
        ("code", "", None),
        ("code", "    x = 1", None),
        ("code", "x = 1\0", None),
        ("code", "x = '\ud800'", None),
        ("code", "x = 1\n" * 20_000, None),  # longer than what is parsed
        (_SCHEMA, '{"name": "Bo", "ages": [3]}', '{"ages": [3], "name": "Bo"}'),
        (_SCHEMA, 'So: ```json\n{"name": "B\\u00f6"}\n```', '{"name": "Bö"}'),
        (_SCHEMA, '{"name": 3} or [4] or {"name": "x"}.', '{"name": "x"}'),
        (_SCHEMA, '{"name": "x"} or {"name": 3}', None),
        (_SCHEMA, '[see above] {"name": "x"}', '{"name": "x"}'),
        (_SCHEMA, '{"ages": [3]}', None),
        (_SCHEMA, '{"name": "Bo", "ages": [-1]}', None),
        (_SCHEMA, '{"name": "Bo", "age": 1}', None),
        (_SCHEMA, '{"name": "Bo"', None),
        (_SCHEMA, "Bo", None),
        (_SCHEMA, "", None),
        ('{"type": "integer"}', " 12 ", "12"),
        ('{"type": "integer"}', "12.5", None),
        ('{"type": "number"}', "NaN", None),
        ('{"type": "number"}', "1e999", None),
        ('{"type": "number", "multipleOf": 0.1}', "9" * 400, None),
        ('{"type": "integer"}', "9" * 5000, None),
        (' {"type": "array"}', "[[1], {}]", "[[1], {}]"),
        ("{}", '{"answer": [1]} [2', '{"answer": [1]}'),
        ("{}", '{"answer": [1], oops}', None),
    ],
)
def test_what_a_contract_reads(contract, text, expected):
    assert answers.extract(text, contract) == expected


@pytest.mark.parametrize(
    "contract, text",
    [
        ("plain", "1 2"),
        ("boxed", r"\boxed{1 2}"),
        ("letter", "1 2"),
        ("json", '{"answer": "1 2"}'),
    ],
)
def test_how_a_contract_writes(contract, text):
    assert answers.write("1 2", contract) == text


def _balanced(text):
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


_SENSIBLE = st.text(min_size=1).map(str.strip).filter(bool)


@settings(deadline=None)
@given(answer=_SENSIBLE, contract=st.sampled_from(["plain", "json"]))
def test_what_is_written_is_read_again(answer, contract):
    assert answers.extract(answers.write(answer, contract), contract) == answer


@settings(deadline=None)
@given(answer=st.text(r"{}ab1\boxed ", min_size=1).map(str.strip).filter(bool))
def test_what_is_boxed_is_read_again(answer):
    if _balanced(answer):
        assert answers.extract(answers.write(answer, "boxed"), "boxed") == answer


def _parses(text):
    try:
        return bool(ast.parse(text).body)
    except (SyntaxError, ValueError):
        return False


@settings(deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(["x = 1", "if x:", "    y = f(x)", "else:", "", "    pass"])
    ),
    before=st.sampled_from(["", "As ```x``` is:\n", "```\nz\n```\n"]),
)
def test_code_that_is_written_is_read_again(lines, before):
    code = "\n".join(lines).strip("\n").rstrip()
    expected = code if _parses(code) else None
    assert answers.extract(before + answers.write(code, "code"), "code") == expected


_TEXT = st.text('a{}[]",\\\n ö', max_size=4)
_VALUES = st.recursive(
    st.booleans() | st.integers() | _TEXT | st.floats(width=32),
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(value=_VALUES)
def test_a_value_of_a_schema_is_read_again(value):
    written = json.dumps(value, ensure_ascii=False, sort_keys=True)
    read = answers.extract(answers.write(written, "{}"), "{}")
    assert read == (None if "Infinity" in written or "NaN" in written else written)
    if isinstance(value, list | dict) and read is not None:
        other = json.dumps(value, indent=1)
        assert answers.extract(f"It is\n{other}\n.", "{}") == written


@pytest.mark.parametrize("letter", "ABCDEF")
def test_a_letter_is_read_again(letter):
    assert answers.extract(answers.write(letter, "letter"), "letter") == letter


_PIECES = [
    r"\boxed{",
    "{",
    "}",
    '{"',
    '"answer"',
    ":",
    "[",
    "]",
    '"',
    "\\",
    " ",
    "1",
    ",",
] + ["NaN", "-Infinity", "null", "$", "%", "/", r"\frac{", "1e9", "\ud800", "A"]
_NASTY = st.text() | st.lists(st.sampled_from(_PIECES)).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=_NASTY, contract=st.sampled_from(_CONTRACTS))
def test_reading_never_raises(text, contract):
    answer = answers.extract(text, contract)
    assert answer is None or answer == answer.strip() != ""


@settings(max_examples=300, deadline=None)
@given(a=_NASTY, b=_NASTY, metric=st.sampled_from(["exact_match", "math"]))
def test_comparing_never_raises_and_is_symmetric_and_reflexive(a, b, metric):
    assert answers.equal(a, b, metric) == answers.equal(b, a, metric)
    assert answers.equal(a, a, metric)


@pytest.mark.parametrize(
    "contract, text",
    [
        ("boxed", r"\boxed{" * 200_000),
        ("boxed", r"\boxed{" * 100_000 + "}" * 100_000),
        ("boxed", "{}" * 500_000),
        ("json", '{"a":' * 200_000),
        ("json", '{"answer":' + "[" * 500_000),
        ("json", '{"answer":' + "[" * 900 + "1" + "]" * 900 + "}"),
        ("json", '{"answer": ' + "9" * 500_000 + "}"),
        ("json", '{"' * 500_000),
        ("json", "{ " * 500_000),
        ("letter", "A" + ")" * 1_000_000),
        ("letter", "(" * 1_000_000),
        ("code", "```\n" * 300_000),
        ("code", "(" * 99_000),
        ("code", "-" * 99_000 + "1"),
        ("code", "a" + ".b" * 49_000),
        ("code", "a" + "[0]" * 33_000),
        ("code", "x=" * 49_000 + "1"),
        ("code", "f(**" * 20_000),
        ("code", "lambda:" * 14_000 + "1"),
        ("code", "'" * 99_000),
        ("{}", "[" * 19_000),
        ("{}", "[1 " * 6_000),
        ("{}", '["' * 9_000),
        ("{}", '{"a":' * 3_000),
        ("{}", "[" * 900 + "]" * 900),
        ("{}", "[[1], 2 " * 2_000),
        ("{}", "[" * 1_000_000),
    ],
    ids=range(27),
)
def test_huge_texts_are_read_in_linear_time(contract, text):
    start = time.process_time()
    answers.extract(text, contract)
    # Quadratic time would be minutes.
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("text", ["9" * 300_000, "1," * 300_000, "1/" * 300_000])
def test_huge_numbers_are_compared_in_linear_time(text):
    start = time.process_time()
    assert answers.equal(text, text, "math")
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    "a, b",
    [
        ("Yes", "yes"),
        (" 1  2\n3", "1 2 3"),
        ("\N{LATIN SMALL LETTER SHARP S}", "SS"),
    ],
)
def test_case_and_spacing_do_not_matter(a, b):
    assert answers.equal(a, b, "exact_match")
    assert answers.equal(a, b, "math")


@pytest.mark.parametrize(
    "a, b",
    [
        ("7", "7.0"),
        ("7", "+7"),
        ("-7", "\N{MINUS SIGN}7"),
        ("007", "7"),
        (".5", "0.50"),
        ("5.", "5"),
        ("1/2", "0.5"),
        ("3 / 6", "1/2"),
        ("-1/2", "-.5"),
        (r"\frac{3}{4}", "0.75"),
        (r"-\dfrac{3}{4}", "-3/4"),
        (r"\tfrac{-3}{4}", "-3/4"),
        ("1,234,567.5", "1234567.5"),
        ("$1,000", "1000"),
        (r"\$5", "5"),
        ("-$5", "-5"),
        ("50%", "50"),
        (r"50 \%", "50.0"),
        ("1e3", "1000"),
        ("2.5E-1", "1/4"),
        ("0.1", "1/10"),  # exact, not as floats
    ],
)
def test_math_compares_values(a, b):
    assert answers.equal(a, b, "math")
    assert not answers.equal(a, b, "exact_match")


@pytest.mark.parametrize(
    "a, b",
    [
        ("7", "8"),
        ("1/3", "0.333"),
        ("1,23", "123"),
        ("1/0", "2/0"),
        ("1/0", "0"),
        ("nan", "NaN 1"),
        ("", "0"),
        (".", "0"),
        ("-", "0"),
        ("e5", "5"),
        ("1 2", "12"),
        ("1/2/3", "1/6"),
        ("\N{SUPERSCRIPT TWO}", "2"),
        ("1_000", "1000"),
        ("0x10", "16"),
    ],
)
def test_math_tells_these_apart(a, b):
    assert not answers.equal(a, b, "math")


def test_numbers_are_text_to_exact_match():
    assert not answers.equal("7", "7.0", "exact_match")


def test_numbers_are_exact():
    assert answers.number(r"-\frac{1}{3}") == fractions.Fraction(-1, 3)
    assert answers.number("$1,000.10") == fractions.Fraction(10001, 10)
    assert answers.number("a third") is None


def test_a_schema_may_not_look_elsewhere(tmp_path):
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(Exception, match="other.json"):
        answers.extract("{}", json.dumps({"$ref": other.as_uri()}))


@pytest.mark.parametrize("schema", ["{", '{"type": "text"}', '{"a": 1', "{'a': 1}"])
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(ValueError, match="is no JSON schema"):
        answers.extract("{}", schema)


@pytest.mark.parametrize(
    "call",
    [
        lambda: answers.write("1", "xml"),
        lambda: answers.extract("1", "xml"),
        lambda: answers.equal("1", "1", "bleu"),
    ],
)
def test_unknown_names_are_refused(call):
    with pytest.raises(ValueError, match="'xml'|'bleu'"):
        call()
