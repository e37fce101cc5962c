"""JSON Schemas (draft-07) of configuration files, made of what refuses a wrong value at the start of a run.

Keys and types come from the signatures of the classes that the files name, ranges from `config.ranges`, descriptions
from the comments beside the keys and from docstrings, choices from the files of each group.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kasoku.command.conf_files import Files, Seen
from kasoku.config import ranges, sweeper
from kasoku.config.checks import DRIVEN, KNOWN
from kasoku.config.comments import arguments
from kasoku.config.hints import LATER, NODE, Schema, any_of, in_words, like, schema_of, value
from kasoku.config.replaced import FROM_DATA, OF_EVERY_OPTIMIZER
from kasoku.config.trust import TARGET, locate
from kasoku.config.unread import OTHER_WORDS
from kasoku.curves import UNTUNED
from kasoku.durations import GRAMMAR
from kasoku.faults import ConfigError
from kasoku.signatures import hints

DRAFT = "http://json-schema.org/draft-07/schema#"
ANY = "*"  # each key of a collection
COLLECTIONS = ("callbacks", "logger", "model.metrics")
CLOSED = ("target", "batch", "export", "optimizer.find_lr", "optimizer.groups.lr")
DEFAULTS = "defaults"
WORDS = {("optimizer", "lr"): "auto", ("warmup", "length"): UNTUNED}  # besides what a signature says
TABLES: dict[str, Mapping[str, Any]] = {
    "": ranges.ROOT,
    "target": ranges.TARGET,
    "batch": ranges.BATCH,
    "export": ranges.EXPORT,
    "model": ranges.MODEL,
    "data": ranges.DATA,
    "trainer": ranges.TRAINER,
    "optimizer": ranges.OPTIMIZER,
    "optimizer.find_lr": ranges.FIND_LR,
    "sweeper": hints(sweeper.Settings),
}
OF_NODES: dict[str, Schema] = {
    TARGET: {"type": "string", "description": "The class or function that is called with the other keys."},
    "_partial_": {"type": "boolean", "description": "true: bound to the other keys, and called later."},
    "_convert_": {"enum": ["none", "partial", "object", "all"]},
    "_recursive_": {"type": "boolean"},
    "_args_": {"type": "array"},
}
NULL: Schema = {"type": "null"}


class Schemas:
    """The schemas of the files in `conf` and in `own`, a folder of the user's.

    Args:
        trusted: names that a `_target_` may lie under; classes below others are not looked at.
    """

    def __init__(self, conf: Path, own: Path | None, trusted: Sequence[str]):
        self._trusted = tuple(trusted)
        self.files = Files()
        self.files.add(conf)
        known = set(self.files.root.children)
        if own is not None and own.resolve() != conf.resolve():
            self.files.add(own)
        self._own_keys = (set(self.files.root.children) - known) & self.files.referred
        self._wrong_keys = set(self.files.root.children) - known - self._own_keys
        self._signature = cache(self._read_signature)

    def all(self) -> dict[str, Schema]:
        """Schemas by the name of their file, less .json: train, each group, and what the lists of defaults choose."""
        found = {name: self._group(name) for name in sorted(self.files.groups)}
        return {"train": self._root(), DEFAULTS: self._choices()} | found

    def globs(self) -> dict[str, list[str]]:
        """The files in the folder of configurations, by the schema that is theirs; those behind a ! are left out."""
        found: dict[str, list[str]] = {"train": ["train.yaml"]}
        for group, options in self.files.options.items():
            whole = self.files.whole.get(group, [])
            if len(whole) == len(options) or group not in self.files.groups:
                found["train"].append(f"{group}/*.yaml")
            else:
                found[group] = [f"{group}/*.yaml", *(f"!{group}/{name}.yaml" for name in whole)]
                found["train"] += [f"{group}/{name}.yaml" for name in whole]
        return found

    def _root(self) -> Schema:
        properties: dict[str, Schema] = {"defaults": self._defaults(""), "hydra": {"type": "object"}}
        for name, hint in ranges.ROOT.items():
            properties[name] = value(schema_of(hint))
        for name in self.files.options:
            properties[name] = any_of({"$ref": f"{name}.json"}, NULL, LATER) if name in self.files.groups else {}
        for name, seen in self.files.root.children.items():
            if name in self._wrong_keys:
                continue
            described = {"description": seen.comment} if seen.comment else {}
            known = properties.get(name) or (self._node(seen, name) if seen.is_mapping else {})
            properties[name] = described | known
        return _titled("train", {"type": "object", "properties": properties, "additionalProperties": False})

    def _group(self, name: str) -> Schema:
        schema = self._node(self.files.groups[name], name)
        schema["properties"] = {"defaults": self._defaults(name)} | schema["properties"]
        for one in schema.get("allOf", ()):
            one["then"]["properties"]["defaults"] = {}
        return _titled(name, schema)

    def _node(self, seen: Seen, key: str) -> Schema:
        """The schema of a mapping at `key`."""
        if key in COLLECTIONS:
            return self._collection(seen, key)
        own = {name: self._child(child, key, name) for name, child in seen.children.items()}
        table = {name: value(schema_of(hint)) for name, hint in TABLES.get(key, {}).items()}
        for name, schema in table.items():
            own[name] = _with(own.get(name, {}), schema)
        _add_words(own, key)
        if not seen.targets:
            is_closed = key in CLOSED or ("." not in key and key in self.files.options)
            return {"type": "object", "properties": own} | ({"additionalProperties": False} if is_closed else {})
        return self._of_targets(seen, key, own)

    def _collection(self, seen: Seen, key: str) -> Schema:
        """A mapping of any number of nodes; each may be of any class that one of them is of."""
        merged = Seen(is_mapping=True)
        for child in seen.children.values():
            merged.targets |= child.targets
            for name, inner in child.children.items():
                merged.children.setdefault(name, inner)
        node = any_of(self._node(merged, f"{key}.{ANY}"), NULL, LATER)
        named = {name: {"description": child.comment} for name, child in seen.children.items()}
        return {"type": "object", "properties": named, "patternProperties": {"^(?!defaults$)": node}}

    def _child(self, seen: Seen, key: str, name: str) -> Schema:
        """The schema of a key by what the files have there alone."""
        described = {"description": seen.comment} if seen.comment else {}
        if seen.is_mapping:
            return described | any_of(self._node(seen, f"{key}.{name}"), NULL, LATER)
        kinds = [like(one) for one in seen.values if not (isinstance(one, str) and "${" in one)]
        is_plain = bool(kinds) and key in ("launcher", "race")
        return described | (value(any_of(*kinds)) if is_plain else {})

    def _of_targets(self, seen: Seen, key: str, own: dict[str, Schema]) -> Schema:
        """A node: its keys are those of the class that `_target_` names, or of any known one where none is named."""
        found = {target: self._properties(target, key, own) for target in seen.targets}
        known = {target: properties for target, properties in found.items() if properties is not None}
        properties = own | {TARGET: self._targets(seen)} | {n: s for n, s in OF_NODES.items() if n != TARGET}
        union: dict[str, list[Schema]] = {}
        for of_target in known.values():
            for name, schema in of_target.items():
                union.setdefault(name, []).append(schema)
        for name, schemas in union.items():  # said for all, judged for each class
            properties.setdefault(name, {k: v for k, v in schemas[0].items() if k == "description"})
        whens = [_when(target, self._judged(target, key, known[target], properties, seen)) for target in known]
        if len(known) == len(found):
            of_any = {name: any_of(*map(_silent, schemas)) for name, schemas in union.items() if name not in own}
            of_any = {name: of_any.get(name, {}) for name in properties}
            whens.append(_when(None, {"properties": of_any, "additionalProperties": False}))
        return {"type": "object", "properties": properties, "allOf": whens}

    def _judged(
        self, target: str, key: str, own: Mapping[str, Schema], base: Mapping[str, Schema], seen: Seen
    ) -> Schema:
        """The keys beside this `_target_`: its own, and no others unless it takes whatever it is given."""
        properties: dict[str, Schema] = {name: {} for name in OF_NODES}
        for name, schema in own.items():
            said = seen.children[name].comments.get(target, "") if name in seen.children else ""
            described = {"description": said} if said and "description" not in base[name] else {}
            properties[name] = described | ({} if _silent(schema) == _silent(base[name]) else _silent(schema))
        if key != "optimizer" and self._takes_any(target):  # an optimizer would swallow what it does not know
            return {"properties": properties}
        return {"properties": properties, "additionalProperties": False}

    def _targets(self, seen: Seen) -> Schema:
        """Names that a `_target_` may have: those of the files, and whatever else lies in a trusted package."""
        names: Schema = {"enum": list(seen.targets)}
        roots = sorted({re.escape(name) for name in self._trusted if not name.startswith("kasoku.")})
        other: Schema = {"type": "string", "pattern": rf"^({'|'.join(roots)})(\.|$)"}
        of_kasoku: Schema = {"type": "string", "pattern": r"^kasoku\.(?!nets\.|data\.|schedules\.|warmups\.|optim\.)"}
        return OF_NODES[TARGET] | any_of(names, other, of_kasoku, LATER)

    def _properties(self, target: str, key: str, own: Mapping[str, Schema]) -> dict[str, Schema] | None:
        """The keys beside a `_target_`; None where it cannot be looked at."""
        read = self._signature(target)
        if read is None:
            return None
        ours = OTHER_WORDS if key == "trainer" else ()  # the run gives them
        properties = {name: _with(own.get(name, {}), schema) for name, schema in read.items() if name not in ours}
        for name, hint in _table(target, key).items():
            if name in properties or key == "trainer":
                properties[name] = _with(own.get(name, {}), value(schema_of(hint)))
        _add_words(properties, key)
        for name in (*FROM_DATA, *(DRIVEN if key == "scheduler" else ())):
            if name in properties and properties[name].get("anyOf"):
                properties[name] = properties[name] | {"anyOf": [*properties[name]["anyOf"], NULL]}
        for name, schema in self._beside(target, key).items():
            properties.setdefault(name, _with(own.get(name, {}), schema))
        return properties

    def _beside(self, target: str, key: str) -> dict[str, Schema]:
        """Keys of a node that are no arguments of its class."""
        if key == "data" and not self._is_data_module(target):
            return _options() | {"val": {}, "test": {}}
        beside = {
            "optimizer": OF_EVERY_OPTIMIZER,
            "model": (*ranges.MODEL, "net", "loss", "metrics"),
            "scheduler": DRIVEN,
            "trainer": ("compile", "channels_last"),
            f"logger.{ANY}": ("patience",),
        }
        return {name: {} for name in beside.get(key, ())}

    def _is_data_module(self, target: str) -> bool:
        from kasoku.data.module import DataModule  # torch

        made = self._locate(target)
        return inspect.isclass(made) and issubclass(made, DataModule)

    def _takes_any(self, target: str) -> bool:
        made = self._locate(target)
        return any(p.kind is p.VAR_KEYWORD for p in ((_parameters(made) if made else None) or {}).values())

    def _locate(self, target: str) -> Callable[..., Any] | None:
        try:
            return locate(TARGET, target, self._trusted)
        except ConfigError:
            return None

    def _read_signature(self, target: str) -> dict[str, Schema] | None:
        """The arguments of `target` by name; None where it cannot be had, or takes whatever it is given."""
        made = self._locate(target)
        parameters = _parameters(made) if made else None
        if made is None or parameters is None:
            return None
        kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in parameters.values() if p.kind in kinds and p.name != "params"]
        known, said = hints(made), arguments(made)
        return {name: value(schema_of(known.get(name)), NODE, description=said.get(name, "")) for name in names}

    def _defaults(self, group: str) -> Schema:
        """The list of what a file inherits and chooses: options of its own group, of others by GROUP: OPTION."""
        of_whole = [option for options in self.files.whole.values() for option in options]
        here = [*self.files.options.get(group, {})] if group else ["kasoku", *of_whole]
        base: Schema = {"type": "string", "pattern": r"^/?_\w+(@[\w.]+)?$|^\w*\$\{"}
        return {"type": "array", "items": any_of({"enum": ["_self_", *here]}, base, {"$ref": f"{DEFAULTS}.json"})}

    def _choices(self) -> Schema:
        """GROUP: OPTION, as a list of defaults has it."""
        pairs = {
            rf"^(optional |override )*/?{re.escape(name)}(@[\w.]+)?$": any_of(
                _choice(found), {"type": "array", "items": _choice(found)}, NULL, LATER
            )
            for name, found in self.files.options.items()
        }
        pairs[r"^(optional |override )*/?hydra/"] = {}
        return _titled(DEFAULTS, {"type": "object", "patternProperties": pairs, "additionalProperties": False})


def _parameters(made: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(made).parameters
    except ValueError:  # written in C
        return None


def _table(target: str, key: str) -> Mapping[str, Any]:
    if key == "optimizer":
        known = ranges.KNOWN_OPTIMIZER if target.startswith(KNOWN) else ranges.OPTIMIZER
        return ranges.TORCH_OPTIMIZER if target.startswith("torch.optim.") else known
    return TABLES.get(key, {})


def _options() -> dict[str, Schema]:
    from kasoku.data.wrapped import Options  # torch

    said = arguments(Options)
    return {n: value(schema_of(hint), NODE, description=said.get(n, "")) for n, hint in hints(Options).items()}


def _add_words(properties: dict[str, Schema], key: str) -> None:
    for (owner, name), word in WORDS.items():
        if key == owner and properties.get(name, {}).get("anyOf"):
            properties[name] = properties[name] | {"anyOf": [*properties[name]["anyOf"], {"const": word}]}


def _choice(options: Mapping[str, str]) -> Schema:
    return {"enum": [*options], "enumDescriptions": [*options.values()]}


def _with(own: Schema, schema: Schema) -> Schema:
    """`schema` with what the files say of the key, and with the nodes that they have there."""
    description = own.get("description") or schema.get("description") or ""
    hint = in_words(schema)
    nodes = [one for one in own.get("anyOf", ()) if one.get("type") == "object"]
    rest = {name: item for name, item in schema.items() if name != "description"}
    if nodes and rest:
        rest = any_of(
            *(one for one in rest.get("anyOf", [rest]) if one not in (NODE, {"type": "object"})), *nodes, NULL
        )
    elif not rest:
        rest = {name: item for name, item in own.items() if name != "description"}
    whole = " ".join(filter(None, (description, "" if GRAMMAR in description else hint)))
    return ({"description": whole} if whole else {}) | rest


def _silent(schema: Schema) -> Schema:
    return {name: item for name, item in schema.items() if name != "description"}


def _when(target: str | None, then: Schema) -> Schema:
    """`then` where `_target_` is `target`, or where there is none."""
    given: Schema = {"required": [TARGET]}
    condition = {"not": given} if target is None else given | {"properties": {TARGET: {"const": target}}}
    return {"if": condition, "then": then}


def _titled(name: str, schema: Schema) -> Schema:
    return {"$schema": DRAFT, "title": f"kasoku: {name}"} | schema
