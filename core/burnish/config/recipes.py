"""Recipes: a name that stands for a fragment of plain config. In: the value of `recipe:`. Out: the fragment, marked as the
recipe's.

The fragment lies below what the user says: mappings are merged, everything else (a list such as `objective` too) is replaced.
"""

from __future__ import annotations

from burnish.config.options import check_options
from burnish.config.tree import Node, mark
from burnish.errors import BurnishError, ConfigError, PluginError, raised
from burnish.registry import RecipeRecord, Registry, is_custom

KEY = "recipe"


def expand(tree: Node, registry: Registry) -> Node:
    """`tree` without its `recipe`, laid over what that recipe gives."""
    asked = tree.get(KEY)
    rest = Node({key: node for key, node in tree.value.items() if key != KEY}, tree.origin)
    if asked is None or asked.value is None:
        return rest
    name, options = _name_and_options(asked)
    if is_custom(name):
        raise ConfigError(f"{asked.origin}: {KEY}: '{name}' is code, and reading a config runs none; write out what it gives")
    try:
        record = registry.get(RecipeRecord, name)
        target = registry.resolve(record)
        fragment = target(**check_options(target, options, f"{KEY}.{name}"))
    except PluginError as error:
        raise ConfigError(f"{asked.origin}: {KEY}: {error}") from error
    except BurnishError as error:
        raise ConfigError(f"{asked.origin}: {error}") from error
    except Exception as error:
        provider = registry.provider(record).provider
        raise ConfigError(f"{asked.origin}: recipe '{name}' of {provider} failed: {raised(error)}") from error
    below = mark(fragment, f"recipe {name}")
    if not isinstance(below.value, dict) or KEY in below.value:
        raise ConfigError(f"{asked.origin}: recipe '{name}' must give a mapping of sections without a recipe of its own")
    return rest.over(below)


def _name_and_options(asked: Node) -> tuple[str, dict[str, object]]:
    value = asked.plain()
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and len(value) == 1:
        [(name, options)] = value.items()
        if options is None or isinstance(options, dict):
            return name, options or {}
    raise ConfigError(f"{asked.origin}: {KEY}: write one name, or {{name: {{option: value}}}}, found {value!r}")
