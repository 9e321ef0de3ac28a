"""Plugins that clash, cannot be imported, raise, or return what they must not: who did it is named, everyone else lives on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from desk import HINT, TEXTS, Desk

Install = Callable[..., Path]

PLUGIN = """
from burnish import LossRecord, hookimpl

@hookimpl
def burnish_losses():
    return [LossRecord(name="{loss}", target="fake_{package}.loss:Loss", summary="A loss.", paper="none", data="sequence",
                       reduction="token_mean", api=1)]
"""
LOSS = """
from dataclasses import dataclass

import torch

from burnish import Metric, Sequences, Terms, logp


@dataclass(frozen=True, kw_only=True)
class Loss:
    beta: float = 0.1

    def signals(self):
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp)
"""
FORMATS = """
from burnish import FormatRecord, hookimpl

@hookimpl
def burnish_formats():
    return [FormatRecord(name="pairs", target="fake_pairs.format:Pairs", summary="A format.", kind="prompt_completion",
                         examples="fake_pairs.format:ROWS", api=1)]
"""
FORMAT = """
from burnish.data.examples import PromptCompletion, Text

ROWS = [{"ask": "a", "say": "b"}]


class Pairs:
    name = "pairs"
    kind = "prompt_completion"

    def sniff(self, row):
        return 2.0 if row.keys() >= {"ask", "say"} else 0.0

    def convert(self, row):
        return PromptCompletion(row["ask"], row["say"])
"""
ASKED = [{"ask": row["prompt"], "say": row["completion"]} for row in TEXTS]


@pytest.fixture(autouse=True)
def rows(desk: Desk) -> None:
    desk.rows(TEXTS)


def line(path: Path, text: str) -> str:
    """Where the file first says `text`: `loss.py:9`."""
    return f"{path}:{next(number for number, said in enumerate(path.read_text().splitlines(), 1) if text in said)}"


def installed(install: Install, name: str, loss: str = LOSS, **names: str) -> Path:
    """A distribution with a loss of the plugin's name; the file of the loss."""
    package = names.get("package", f"fake_{name}").removeprefix("fake_")
    return install(name, PLUGIN.format(loss=name, package=package), {"loss": loss}, **names) / "loss.py"


def test_two_plugins_of_one_name(desk: Desk, install: Install) -> None:
    installed(install, "mine")
    installed(install, "mine", package="fake_other", distribution="burnish-other", version="2.5")
    installed(install, "good")
    desk.config(["mine"])
    message = desk.refused()
    clash = "several distributions provide a plugin 'mine': burnish-mine 1.0, burnish-other 2.5. Uninstall all but one."
    assert message == (
        f"{desk.place('- mine')}: objective.0: no loss named 'mine'. Known: good. "
        f"Installed but failed to load: mine (PluginError: {clash})."
    )
    assert desk.works("plugins", "list").out.count("FAILED") == 2
    desk.config(["good"])
    desk.works()


def test_two_losses_of_one_name(desk: Desk, install: Install) -> None:
    installed(install, "mine")
    install("other", PLUGIN.format(loss="mine", package="other"), {"loss": LOSS}, version="2.5")
    desk.config(["mine"])
    assert desk.refused() == (
        f"{desk.place('- mine')}: objective.0: several plugins provide a loss named 'mine': burnish-mine 1.0 (plugin 'mine'), "
        "burnish-other 2.5 (plugin 'other'). Uninstall or disable all but one."
    )
    desk.works("--no-plugin", "other", "train", desk.file)


def test_a_plugin_that_raises_at_import(desk: Desk, install: Install) -> None:
    install("broken", "import scipyy")
    installed(install, "good")
    desk.config(["broken"])
    failure = "broken (ModuleNotFoundError: No module named 'scipyy')"
    said = f"no loss named 'broken'. Known: good. Installed but failed to load: {failure}."
    assert desk.refused() == f"{desk.place('- broken')}: objective.0: {said}"
    assert "Traceback" in desk.works("plugins", "show", "broken").out
    assert desk.burnish("plugins", "check").code == 1
    assert "--no-plugin" in desk.works("--help").out
    desk.config(["good"])
    desk.works()


def test_a_loss_that_raises_at_import(desk: Desk, install: Install) -> None:
    file = installed(install, "mine", "import torch\nimport scipyy")
    desk.config(["mine"])
    assert desk.refused() == (
        "loss 'mine' of burnish-mine 1.0 (fake_mine.loss:Loss) cannot be imported: "
        f"ModuleNotFoundError: No module named 'scipyy' ({file}:2)"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("def signals(self)", "def signal(self)"), "Loss has no method signals(): it returns what the formula reads"),
        (("return frozenset({logp()})", "return [logp]"), "Loss.signals() gave [<function logp"),
        (("return frozenset({logp()})", "return 1 / 0"), "Loss.signals() failed: ZeroDivisionError: division by zero"),
        (("beta: float = 0.1", "weight: float = 0.1"), "Loss has a field 'weight', a word that every entry reserves"),
        (("@dataclass(frozen=True, kw_only=True)", ""), "Loss is not a dataclass; a loss or weight is one"),
    ],
)
def test_a_class_that_is_no_loss(desk: Desk, install: Install, change: tuple[str, str], said: str) -> None:
    installed(install, "mine", LOSS.replace(*change))
    desk.config(["mine"])
    assert desk.refused().startswith(f"objective.0.mine: {said}")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("raise KeyError('winner')", "failed: KeyError: 'winner' ("),
        ("return -batch.logp.values.mean()", "returned Tensor; it returns unreduced Terms(token=...) (burnish.objective)"),
        ("return None", "returned NoneType; it returns unreduced Terms(token=...)"),
        ("return Terms(token=-batch.logp.values.mean())", "returned a Tensor [] as `token`, which takes ragged values"),
        ("return Terms(token=-batch.logp.sum())", "returned a Tensor [4] as `token`, which takes ragged values, unreduced"),
        ("return Terms(sequence=-batch.logp)", "returned a Ragged as `sequence`, which takes a tensor, unreduced"),
        ("return Terms(sequence=-batch.logp.sum().mean())", "returned an already reduced value; return one term per sequence"),
        ("return Terms(sequence=-batch.logp.sum()[1:])", "returned terms of shape [3]; one per sequence is [4]"),
        ("return Terms(pair=-batch.logp.sum())", "returned terms per pair; here it returns them per token or sequence"),
        ("return Terms(token=-batch.log_ratio)", 'of which its signals() declares none: add logp(role="reference")'),
        ("return Terms(token=-batch.logp, metrics={'n': 1.0})", "the metric 'n' is 1.0; write Metric(values)"),
        (
            "return Terms(token=-batch.logp, metrics={'n': Metric(torch.tensor(1.0))})",
            "a metric takes its unreduced values [n], got []",
        ),
    ],
)
def test_a_formula_that_raises_or_breaks_the_contract(desk: Desk, install: Install, formula: str, said: str) -> None:
    file = installed(install, "mine", LOSS.replace("return Terms(token=-batch.logp)", formula))
    desk.config(["mine"])
    message = desk.refused(weights=True)
    assert message.startswith("mine")
    assert said in message
    assert "raise" not in formula or message == f"mine failed: KeyError: 'winner' ({line(file, 'raise')})"


def test_a_loss_that_raises_in_the_middle_loses_nothing(desk: Desk) -> None:
    count = "    calls = []\n\n    def signals"
    formula = "self.calls.append(1)\n        if len(self.calls) > 2:\n            raise KeyError('third')\n        return"
    text = LOSS.replace("    def signals", count).replace("return Terms", f"{formula} Terms", 1)
    file = desk.write("loss.py", text)
    desk.config([{"./loss.py:Loss": {"name": "mine"}}])
    answer = desk.burnish("train", desk.file)
    assert answer.code == 2
    assert f"saved as it was after step 2: `burnish resume {desk.run}` goes on from there\n" in answer.err
    assert answer.err.endswith(f"error: mine failed: KeyError: 'third' ({line(file, 'raise')})\n{HINT}\n")
    assert desk.steps() == ["step-000002"]
    file.write_text(LOSS)
    assert "code: " in desk.refused("resume", desk.run)
    assert "step 4/4" in desk.works("resume", desk.run, "--allow-changes").err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("return 2.0", "return 1 / 0"), "format 'pairs' failed in sniff() on {row}: ZeroDivisionError: division by zero"),
        (("return Prompt", "raise KeyError()\n        Prompt"), "format 'pairs' failed in convert() on {row}: KeyError:  ("),
        (('return PromptCompletion(row["ask"], ', "return Text("), "format 'pairs' promises prompt_completion examples"),
        (('return PromptCompletion(row["ask"], row["say"])', "return row"), "but its convert() made dict of {row}"),
        (('row["ask"], row["say"]', "None, None"), "{row} is not a row of format 'pairs': expected text or a tuple of"),
        (("ROWS =", "import scipyy\nROWS ="), "cannot be imported: ModuleNotFoundError: No module named 'scipyy'"),
    ],
)
def test_a_format_that_raises_or_breaks_its_promise(desk: Desk, install: Install, change: tuple[str, str], said: str) -> None:
    installed(install, "good")
    install("pairs", FORMATS, {"format": FORMAT.replace(*change)})
    path = desk.rows(ASKED)
    desk.config(["good"])
    assert said.format(row=f"{path}:1 (keys ask, say)") in desk.refused()


def test_a_format_that_fails_hinders_no_other(desk: Desk, install: Install) -> None:
    installed(install, "good")
    install("pairs", FORMATS, {"format": "import scipyy"})
    desk.config(["good"])
    desk.works()
