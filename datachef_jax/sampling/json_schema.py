"""From a JSON schema to a regular expression, whose every match the schema admits.

outlines-core writes the expression. It passes over what it does not know, and so
would let through what the schema forbids: here that is refused instead.

Where the expression is narrower than the schema: properties come in their order and
without others beside them, white space is at most one blank where JSON allows any,
a string has no \\u escapes and matches its `pattern` as a whole. Where the schema is
narrower: `oneOf` is read as `anyOf`, a key may come twice where any may come, and any
month has 31 days.
"""

from collections.abc import Mapping
import json
from typing import Any

import outlines_core.json_schema

from datachef_jax.sampling import automaton

# Keywords that describe and do not constrain.
_REMARKS = {
    *("$schema", "$id", "$comment", "$defs", "definitions", "title", "description"),
    *("default", "examples", "deprecated", "readOnly", "writeOnly"),
}
# The keyword that says what kind a schema is, and those that count beside it.
_KINDS = {
    "properties": {"type", "required", "additionalProperties"},
    "anyOf": set(),
    "oneOf": set(),
    "prefixItems": {"type", "items"},
    "enum": {"type"},
    "const": {"type"},
    "type": {"minLength", "maxLength", "pattern", "format"}
    | {"items", "minItems", "maxItems", "additionalProperties"},
}
_ANYTHING = {"type": ["boolean", "null", "number", "string", "array", "object"]}
_TYPES = {
    "string": {str},
    "boolean": {bool},
    "null": {type(None)},
    "integer": {int},
    "number": {int, float},
    "array": {list},
    "object": {dict},
}
_DATE = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z"
# The library's own admit digits of all scripts, and texts that are not JSON.
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": "-".join(f"[0-9a-f]{{{n}}}" for n in (8, 4, 4, 4, 12)),
}


def to_regex(schema: Mapping[str, Any]) -> str:
    """Returns an expression for `automaton.over_bytes`.

    Raises:
      ValueError: If this is no schema, or says something that is not enforced: the
        message names it.
    """
    try:
        plain = json.dumps(_plain(schema, schema, ()))
        return outlines_core.json_schema.build_regex_from_schema(plain)
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # all that is no schema
        raise ValueError(f"JSON schema {str(schema)[:200]}: {error}") from error


def _plain(schema: Any, root: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    """Returns the schema with its references resolved, if all of it is enforced.

    Args:
      schema: Some part of the root.
      root: What references refer to.
      above: The references that led here.
    """
    if schema is True or schema == {}:
        return _ANYTHING
    if not isinstance(schema, Mapping):
        raise ValueError(f"{schema!r} is no schema that can be enforced")
    schema = {key: schema[key] for key in schema if key not in _REMARKS}
    if set(schema) == {"$ref"}:
        where = schema["$ref"]
        if where in above:
            raise ValueError(f"$ref {where!r} contains itself")
        return _plain(_resolve(where, root), root, (*above, where))
    if set(schema) == {"allOf"} and len(schema["allOf"]) == 1:
        return _plain(schema["allOf"][0], root, above)

    kind = next((key for key in _KINDS if key in schema), None)
    if kind is None and schema:
        raise ValueError(f"{sorted(schema)} is not enforced")
    ignored = set(schema) - {kind} - _KINDS.get(kind, set())
    if ignored:
        raise ValueError(f"{sorted(ignored)} is not enforced beside {kind!r}")
    _check(schema, kind)

    deeper = lambda part: _plain(part, root, above)
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            schema[key] = [deeper(part) for part in schema[key]]
    if "properties" in schema:
        parts = schema["properties"]
        schema["properties"] = {name: deeper(part) for name, part in parts.items()}
    elif "additionalProperties" in schema:
        schema["additionalProperties"] = deeper(schema["additionalProperties"])
    if "items" in schema and kind == "type":
        schema["items"] = deeper(schema["items"])
    if "format" in schema:
        schema["pattern"] = _FORMATS[schema.pop("format")]
    if "pattern" in schema:
        inner = automaton.without_anchors(schema["pattern"])
        schema["pattern"] = f"(?:{inner})"  # the library puts its quotes beside it
    return schema or _ANYTHING


def _resolve(where: str, root: Mapping[str, Any]) -> Any:
    if not where.startswith("#"):
        raise ValueError(f"$ref {where!r} is not within the schema")
    part = root
    for key in where[1:].split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, Mapping) or key not in part:
            raise ValueError(f"$ref {where!r} leads nowhere")
        part = part[key]
    return part


def _check(schema: Mapping[str, Any], kind: str | None):
    """Refuses what the library would turn into texts that the schema forbids.

    Raises:
      ValueError: Naming it.
    """
    if kind == "properties":
        names = set(schema["properties"])
        missing = set(schema.get("required", ())) - names
        if missing:
            raise ValueError(f"required {sorted(missing)} has no schema")
        odd = [n for n in names if json.dumps(n, ensure_ascii=False) != f'"{n}"']
        if odd:
            raise ValueError(f"property names {sorted(odd)} need escapes")
        if schema.get("type", "object") != "object":
            raise ValueError(f"properties of type {schema['type']!r}")
    if kind in ("enum", "const"):
        values = schema["enum"] if kind == "enum" else [schema["const"]]
        types = schema.get("type", list(_TYPES))
        types = [types] if isinstance(types, str) else types
        fitting = {t for name in types for t in _TYPES[name]}
        if not values or {type(value) for value in values} - fitting:
            raise ValueError(f"{kind} {values} is empty or not of type {types}")
    of_strings = {"pattern", "format"} & set(schema)
    if of_strings and len(of_strings | {"minLength", "maxLength"} & set(schema)) > 1:
        raise ValueError("pattern, format and a length are not enforced together")
    if "format" in schema and schema["format"] not in _FORMATS:
        raise ValueError(f"format {schema['format']!r} is not one of {[*_FORMATS]}")
    if "pattern" in schema and _needs_escapes(schema["pattern"]):
        raise ValueError(
            f"pattern {schema['pattern']!r} admits a quote, a backslash or a control "
            "character, which JSON writes differently"
        )


def _needs_escapes(pattern: str) -> bool:
    letters = automaton.over_bytes(pattern)
    return bool((letters.steps[:, [*range(0x20), *b'"\\']] >= 0).any())
