"""Annotations as JSON Schemas (draft-07), for editors: what `signatures.violated` refuses, as far as it can be said."""

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at

from kasoku.durations import GRAMMAR
from kasoku.signatures import is_length

Schema = dict[str, Any]

TYPES = {float: "number", int: "integer", bool: "boolean", str: "string", dict: "object", type(None): "null"}
LENGTH = r"^\d+(\.\d+)?([eE][+-]?\d{1,2})?(ep|%|samples|tokens|)$"
# An interpolation stands for any value, and so does ???, which the command has to give.
LATER: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
NODE: Schema = {"type": "object", "required": ["_target_"]}  # an object made in the place of a value
BOUNDS = {at.Gt: ("exclusiveMinimum", "gt"), at.Ge: ("minimum", "ge"), at.Lt: ("exclusiveMaximum", "lt")}
BOUNDS |= {at.Le: ("maximum", "le")}


def schema_of(hint: Any) -> Schema:
    """The schema of the values that the annotation `hint` allows; {} where it says nothing.

    >>> schema_of(Annotated[float, at.Interval(gt=0, le=1)])
    {'type': 'number', 'exclusiveMinimum': 0, 'maximum': 1}
    """
    origin = get_origin(hint)
    if is_length(hint):
        return _length(hint)
    if origin is Annotated:
        return _annotated(hint)
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin in (Union, types.UnionType):
        return any_of(*map(schema_of, get_args(hint)))
    if origin in (list, tuple, Sequence):
        return _list(hint)
    return {"type": TYPES[hint]} if hint in TYPES else {}


def any_of(*schemas: Schema) -> Schema:
    """The schema of all that any of `schemas` allows: everything, where one of them says nothing."""
    flat = [one for schema in schemas for one in (schema["anyOf"] if schema.keys() == {"anyOf"} else [schema])]
    once = [one for index, one in enumerate(flat) if one not in flat[:index]]
    if not all(once) or not once:
        return {}
    return once[0] if len(once) == 1 else {"anyOf": once}


def value(schema: Schema, *others: Schema, description: str = "") -> Schema:
    """The schema of a key's value: of `schema`, an interpolation, or one of `others`."""
    whole = any_of(schema, LATER, *others) if schema else {}
    return {"description": description} | whole if description else whole


def _length(hint: Any) -> Schema:
    least = next((m.ge for m in hint.__metadata__ if isinstance(m, at.Ge)), 0)
    return {"anyOf": [{"type": "integer", "minimum": least}, {"type": "string", "pattern": LENGTH}]}


def _annotated(hint: Any) -> Schema:
    kind, *metadata = get_args(hint)
    bounds = [bound for m in metadata for bound in (m if isinstance(m, at.GroupedMetadata) else [m])]
    schema = schema_of(kind)
    if not schema:
        return {}
    for bound in bounds:
        if type(bound) in BOUNDS:
            key, attribute = BOUNDS[type(bound)]
            schema = schema | {key: getattr(bound, attribute)}
        elif isinstance(bound, at.MinLen):
            schema = schema | {"minItems" if schema.get("type") == "array" else "minLength": bound.min_length}
    return schema


def _list(hint: Any) -> Schema:
    members = [member for member in get_args(hint) if member is not Ellipsis]
    if get_origin(hint) is tuple and Ellipsis not in get_args(hint) and members:
        items = [value(schema_of(member)) for member in members]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": "array"} | ({"items": value(schema_of(members[0]))} if members else {})


def like(example: Any) -> Schema:
    """The schema of values of the kind of `example`, where no annotation says more; {} for null and for nodes."""
    kind = bool if isinstance(example, bool) else float if isinstance(example, int | float) else type(example)
    return {"type": TYPES[kind]} if kind in (bool, float) else {}


def in_words(schema: Mapping[str, Any]) -> str:
    """A hint for lengths, which a pattern says badly."""
    return f"A length: {GRAMMAR}." if any(one.get("pattern") == LENGTH for one in schema.get("anyOf", ())) else ""
