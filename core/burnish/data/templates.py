"""Chat templates by name, for models that have none: the Jinja text, the tokens it needs, and the token that ends a turn.

In: a tokenizer without embeddings. Out: the same tokenizer with a template, and the tokens that the model's embeddings lack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from burnish.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Template:
    """tokens: special tokens that the text uses. end: the token that ends a turn; None means the tokenizer's own EOS."""

    name: str
    tokens: tuple[str, ...] = ()
    end: str | None = None

    @cached_property
    def jinja(self) -> str:
        """The template's text."""
        return files("burnish.data").joinpath("chat_templates", f"{self.name}.jinja").read_text(encoding="utf-8")


_TEMPLATES = (
    Template("alpaca"),
    Template("chatml", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    Template("gemma", ("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>"),
    Template("llama3", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
    Template("mistral"),
    Template("vicuna"),
    Template("zephyr"),
)
NAMES: dict[str, Template] = {template.name: template for template in _TEMPLATES}


def apply_template(tokenizer: Any, name: str) -> list[str]:
    """Gives `tokenizer` the chat template called `name`, or the one in the file `name` (`.jinja`).

    Returns the tokens that were added: the model's embeddings need a row for each. The token that ends a turn becomes the
    tokenizer's EOS, so that generation stops there.
    """
    if name.endswith((".jinja", ".jinja2")):
        path = Path(name)
        if not path.is_file():
            raise DataError(f"there is no chat template at {path}")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
        return []
    if name not in NAMES:
        raise DataError(f"no chat template named '{name}'. {did_you_mean(name, NAMES)} Or give a path to a .jinja file.")
    template = NAMES[name]
    if template.end is None and tokenizer.eos_token is None:
        raise DataError(f"chat template '{name}' ends turns with the tokenizer's EOS token, and this tokenizer has none")
    before = tokenizer.get_vocab()
    new = [token for token in template.tokens if token not in before]
    tokenizer.add_tokens(list(template.tokens), special_tokens=True)
    if template.end is not None:
        tokenizer.eos_token = template.end
    tokenizer.chat_template = template.jinja
    return new
