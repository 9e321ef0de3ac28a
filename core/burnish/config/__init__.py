"""Config: what a run is to do, checked before anything heavy happens.

In: a YAML file (or a mapping), `key.path=value` overrides, recipes. Out: immutable typed sections, each value with where it
came from; a JSON Schema; errors with file, line, key, what was found and what is near. Knows no tensor; runs no code named in a
config.
"""

from burnish.config.custom import custom_values
from burnish.config.defaults import with_plugin_options
from burnish.config.load import Config, load_config
from burnish.config.show import to_yaml

__all__ = ["Config", "custom_values", "load_config", "to_yaml", "with_plugin_options"]
