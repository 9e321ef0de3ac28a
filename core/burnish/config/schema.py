"""The JSON Schema of a config with everything that is installed, so that editors complete names and options.

In: the registry. Out: a JSON Schema (draft 2020-12). Imports the targets whose options it describes; one that cannot be
imported is described by its error and takes any option.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from burnish.config.fields import Names
from burnish.config.messages import sections_in
from burnish.config.options import options_model, takes_options
from burnish.config.recipes import KEY
from burnish.config.sections import ENTRY_WORDS, RewardSection, Sections
from burnish.errors import PluginError
from burnish.registry import (
    REDUCTIONS,
    LossRecord,
    RecipeRecord,
    Record,
    Registry,
    RewardRecord,
    SourceRecord,
    WeightRecord,
)

Schema = dict[str, Any]
ANYTHING: Schema = {"type": "object"}
CODE: Schema = {"type": "string", "pattern": ":", "description": "Code: module:attribute or ./file.py:attribute."}
ENTRY = "entry"
WITH_OPTIONS: tuple[type[Record], ...] = (LossRecord, WeightRecord, RewardRecord, SourceRecord, RecipeRecord)
TEXTS: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class _Lenient(GenerateJsonSchema):
    """Options of a type that JSON cannot express may be anything."""

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}


def config_schema(registry: Registry) -> Schema:
    """The schema of a whole config file."""
    schema = Sections.model_json_schema(schema_generator=_Lenient)
    definitions: Schema = schema.pop("$defs")
    properties: Schema = schema.pop("properties")
    definitions[ENTRY] = {"properties": _entry_words(registry)}
    for kind in WITH_OPTIONS:
        definitions |= {_key(record): _options(record, registry) for record in registry.records(kind)}
    for section, field, names in _marked(Sections):
        known = properties if section is Sections else definitions[section.__name__]["properties"]
        known[field] |= _named(names, registry)
        known[field].pop("type", None)
    definitions["SourceSection"]["allOf"] = [_source_options(record) for record in registry.records(SourceRecord)]
    recipe = {"description": "A name for a fragment of config; what this file says lies above it.", "default": None}
    recipe |= _or_null(_choice(RecipeRecord, registry))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "burnish run",
        "properties": {KEY: recipe, **properties},
        "$defs": definitions,
    }


def _marked(section: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str, Names]]:
    """Fields that name registered things, in a section and those in it."""
    for name, info in section.model_fields.items():
        yield from ((section, name, item) for item in info.metadata if isinstance(item, Names))
    for below in sections_in(section).values():
        yield from _marked(below)


def _named(names: Names, registry: Registry) -> Schema:
    """The schema of a field that names records of one kind."""
    if names.kind in (LossRecord, RewardRecord):
        return {"items": _choice(names.kind, registry)}
    known = [*names.words, *(record.name for record in registry.records(names.kind))]
    return {"anyOf": [{"enum": known}, {"type": ["string", "null"]} if names.open else CODE]}


def _choice(kind: type[Record], registry: Registry) -> Schema:
    """A name, code, or either with its options."""
    records = registry.records(kind)
    with_options = {
        "type": "object",
        "properties": {record.name: {"description": record.summary, **_or_null(_ref(_key(record)))} for record in records},
        "patternProperties": {":": _or_null(ANYTHING)},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": [record.name for record in records]}, CODE, with_options]}


def _key(record: Record) -> str:
    """Where the options of a record are defined."""
    return f"{record.word}.{record.name}"


def _ref(*path: str) -> Schema:
    return {"$ref": "/".join(("#/$defs", *path))}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _entry_words(registry: Registry) -> Schema:
    """What an entry of the objective may hold beside its loss's fields."""
    return {
        "on": {**TEXTS, "description": "The role or roles of the sequences that it reads, such as chosen."},
        "targets": {"type": "string", "description": "Its tokens: completion, all, assistant, last, end, steps or last_step."},
        "source": {"type": "string", "description": "The data source that it reads."},
        "weight": {"type": "number", "description": "Its share in the sum of losses."},
        "weights": {"type": "array", "items": _choice(WeightRecord, registry)},
        "reduction": {"anyOf": [{"enum": list(REDUCTIONS)}, {"type": "string", "pattern": r"^constant\(.*\)$"}]},
        "name": {"type": "string", "description": "What its metrics are called."},
    }


def _source_options(record: Record) -> Schema:
    """A registered source's options, asked of the sections that name it."""
    named = {"properties": {"source": {"const": record.name}}, "required": ["source"]}
    return {"if": named, "then": {"properties": {"options": _ref(_key(record))}}}


def _options(record: Record, registry: Registry) -> Schema:
    """What may stand below the name of a record."""
    try:
        target = registry.resolve(record)
    except PluginError as error:
        return {**ANYTHING, "description": str(error)}
    schema: Schema = {**ANYTHING}
    if takes_options(record, target):
        schema = options_model(target).model_json_schema(
            schema_generator=_Lenient, ref_template=_ref(_key(record), "$defs", "{model}")["$ref"]
        )
    if isinstance(record, LossRecord):
        words = {word: _ref(ENTRY, "properties", word) for word in ENTRY_WORDS}
        schema["properties"] = {**schema.get("properties", {}), **words}
    if isinstance(record, RewardRecord):
        section = RewardSection.model_json_schema()
        return {**section, "properties": {**section["properties"], "options": schema}}
    return schema
