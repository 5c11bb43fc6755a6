"""Tests for datachef_jax/sampling/json_schema.py."""

import json
import re

import pytest

from datachef_jax.sampling import json_schema

_PERSON = {
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 9},
        "age": {"type": "integer"},
        "code": {"type": "string", "pattern": "^[A-Z]|[0-9]{2}$"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2},
        "more": {"allOf": [{"$ref": "#/$defs/tag"}]},
    },
    "required": ["name", "code"],
    "$defs": {"tag": {"enum": ["a", "ü", None]}},
}


def test_examples_match_and_counterexamples_do_not():
    pattern = json_schema.to_regex(_PERSON)
    matches = lambda value: bool(
        re.fullmatch(pattern, json.dumps(value, ensure_ascii=False))
    )
    assert matches({"name": "é\n", "age": 3, "code": "X", "tags": ["a", None]})
    assert matches({"name": "x", "code": "42", "more": "ü"})
    assert not matches({"name": "x"})
    assert not matches({"name": "", "code": "X"})
    assert not matches({"name": "x", "code": "XY"})
    assert not matches({"name": "x", "code": "X", "tags": ["b"]})
    assert not matches({"name": "x", "code": "X", "tags": ["a", "a", "a"]})
    assert not matches({"name": "x", "age": 3.5, "code": "X"})


@pytest.mark.parametrize(
    "form, good, bad",
    [
        ("date", "2024-02-29", "٢024-02-29"),
        ("time", "23:59:00.5Z", "24:00:00Z"),
        ("date-time", "2024-12-31T00:00:59Z", "2024-12-31 00:00:59Z"),
        ("uuid", "01234567-89ab-cdef-0123-456789abcdef", "01234567"),
    ],
)
def test_formats_are_enforced(form, good, bad):
    pattern = json_schema.to_regex({"type": "string", "format": form})
    assert re.fullmatch(pattern, f'"{good}"') and not re.fullmatch(pattern, f'"{bad}"')


@pytest.mark.parametrize("anything", [{}, True, {"description": "whatever"}])
def test_anything_is_any_json(anything):
    pattern = json_schema.to_regex({"type": "array", "prefixItems": [anything]})
    for value in (True, None, -1.5, "x", [1, "y"], {"z": [2]}):
        assert re.fullmatch(pattern, json.dumps([value]))
    assert not re.fullmatch(pattern, "[True]")


@pytest.mark.parametrize(
    "schema, message",
    [
        ({"type": "integer", "minimum": 3}, "minimum.*not enforced beside 'type'"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "maxProperties": 3}, "maxProperties"),
        ({"anyOf": [{"type": "null"}], "type": "null"}, "type.*beside 'anyOf'"),
        ({"allOf": [{"type": "null"}, {"type": "null"}]}, "allOf"),
        ({"not": {"type": "null"}}, "not"),
        ({"properties": {"a": {"const": 1}}, "required": ["b"]}, "'b'"),
        ({"properties": {'"': {"const": 1}}}, "need escapes"),
        ({"properties": {"a": {"multipleOf": 2}}}, "multipleOf"),
        ({"type": "string", "format": "email"}, "email"),
        ({"type": "string", "pattern": "a", "maxLength": 2}, "together"),
        ({"type": "string", "pattern": ".*"}, "quote"),
        ({"type": "string", "pattern": r"a\\b"}, "backslash"),
        ({"type": "string", "pattern": "a("}, r"regex 'a\('"),
        ({"type": "string", "enum": ["a", 1]}, "not of type"),
        ({"type": ["integer"], "const": True}, "not of type"),
        ({"enum": []}, "empty"),
        ({"$ref": "#/$defs/a"}, "leads nowhere"),
        ({"$ref": "http://x.y/z"}, "not within"),
        ({"$ref": "#/a/items", "a": 1}, "not enforced"),
        (
            {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}},
            "contains itself",
        ),
        ({"type": "text"}, "text"),
        ({"anyOf": 3}, "anyOf"),
        ({"properties": [1]}, "properties"),
        ({"type": "array", "items": False}, "False"),
        ({"type": "array", "items": [{"type": "null"}]}, "no schema"),
    ],
)
def test_what_would_not_be_enforced_is_refused_by_name(schema, message):
    with pytest.raises(ValueError, match=f"JSON schema.*{message}"):
        json_schema.to_regex(schema)
