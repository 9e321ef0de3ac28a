"""Writes the package of a new plugin: texts filled in, all at once or not at all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from burnish import __version__
from burnish.errors import PluginError, did_you_mean
from burnish.registry import RECORD_HOOKS, Record, Registry
from burnish.registry.records import NAME

KINDS = {
    "loss": "a loss",
    "weight": "a weight",
    "format": "a format",
    "reward": "a reward",
    "advantage": "an advantage",
    "environment": "an environment",
    "backend": "a backend",
    "source": "a source",
    "model": "a model",
    "recipe": "a recipe",
}
"""What can be begun, in words."""
SUFFIX = ".template"
OTHER = "Take another name, or uninstall that one."


@dataclass(frozen=True)
class Beginning:
    """What a new package will be called. kind: a key of KINDS; name: what a config will say."""

    kind: str
    name: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PluginError(f"no kind of plugin named '{self.kind}'. {did_you_mean(self.kind, KINDS)}")
        if not NAME.fullmatch(self.name):
            near = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-0123456789")
            hint = f", such as '{near}'" if NAME.fullmatch(near) else ""
            raise PluginError(
                f"'{self.name}' cannot name {KINDS[self.kind]}: a name is lower-case words joined by '-' or '_'{hint}."
            )
        if re.match("burnish[-_]", self.name):
            raise PluginError(f"'{self.name}' would become burnish-{self.name}: leave out the 'burnish-'.")

    @property
    def slug(self) -> str:
        """What follows `burnish-` in the distribution's name."""
        return self.name.replace("_", "-")

    @property
    def package(self) -> str:
        """The import package."""
        return "burnish_" + self.slug.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Ends with the kind, so that it never hides a class of burnish."""
        words = [word.capitalize() for word in self.slug.split("-")]
        return "".join(words if words[-1] == self.kind.capitalize() else [*words, self.kind.capitalize()])

    @property
    def values(self) -> dict[str, str]:
        """What is filled in."""
        words = self.slug.replace("-", " ")
        major, minor = map(int, __version__.split(".")[:2])
        return {
            "name": self.name,
            "slug": self.slug,
            "package": self.package,
            "class_": self.class_name,
            "Words": words[0].upper() + words[1:],
            "a_kind": KINDS[self.kind],
            "core": f">={major}.{minor},<{major}.{minor + 1}",
        }

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every file of the package: path and text."""
        home = files("burnish") / "templates" / "files"
        for template in _files(home / "shared", home / self.kind):
            file = template.name.removesuffix(SUFFIX)
            yield self._place(file), Template(template.read_text(encoding="utf-8")).substitute(self.values)
        yield f"{self.package}/py.typed", ""

    def _place(self, file: str) -> str:
        if file == "test.py":
            return f"tests/test_{self.slug.replace('-', '_')}.py"
        return f"{self.package}/{file}" if file.endswith(".py") else file


def require_free(beginning: Beginning, registry: Registry) -> None:
    """PluginError when the name, or that of the distribution, is somebody's."""
    record_kind = _record(beginning.kind)
    for plugin in registry.plugins:
        if plugin.distribution.replace("_", "-") == f"burnish-{beginning.slug}":
            raise PluginError(f"the package {plugin.provider} is installed already. {OTHER}")
        for record in plugin.records:
            if type(record) is record_kind and record.name.replace("_", "-") == beginning.slug:
                raise PluginError(f"there is a {record.word} '{record.name}' already, from {plugin.provider}. {OTHER}")


def write_package(beginning: Beginning, folder: Path) -> list[str]:
    """Write the package as `folder`, which must not exist; the paths of its files. Leaves nothing when it fails."""
    if folder.exists() or folder.is_symlink():
        raise PluginError(f"there is a {folder} already. Take another name, or say where with --output.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".burnish-new-") as beside:
        made = Path(beside, "package")  # the temporary folder itself may be read by its owner alone
        for path, text in beginning.texts():
            file = made / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        made.rename(folder)
    return sorted(path for path, _ in beginning.texts())


def _record(kind: str) -> type[Record]:
    return next(record for record in RECORD_HOOKS.values() if record.word == kind)


def _files(*folders: Traversable) -> list[Traversable]:
    found = [file for folder in folders for file in folder.iterdir() if file.name.endswith(SUFFIX)]
    return sorted(found, key=lambda file: file.name)
