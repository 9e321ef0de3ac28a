"""Loading: layers, origins, and one clear error for everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.config import Config, load_config, to_yaml, with_plugin_options
from burnish.config.sections import Sections
from burnish.errors import ConfigError, PluginError
from burnish.registry import Registry

Write = Callable[[str], Path]


def refused(kit: Registry, source: Path | dict[str, Any], *overrides: str) -> str:
    """What the error says."""
    with pytest.raises(ConfigError) as error:
        load_config(source, overrides, kit)
    return str(error.value)


def test_an_empty_config_is_all_defaults(kit: Registry) -> None:
    config = load_config({}, registry=kit)
    assert config.train.batch_size == 16
    assert config.origin("train.batch_size") == "default"
    assert config.output == "runs/run"


def test_the_output_is_named_after_the_file(kit: Registry, write: Write) -> None:
    config = load_config(write("train: {seed: 1}"), registry=kit)
    assert config.output == "runs/run"
    assert config.origin("output") == "default"


def test_a_config_is_immutable(kit: Registry) -> None:
    config = load_config({}, registry=kit)
    with pytest.raises(ValueError, match="frozen"):
        config.train.seed = 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "train:\n  batchsize: 3\n",
            "run.yaml:2: train.batchsize: unknown key. Did you mean 'batch_size'? Known: batch_size, clip, epochs,",
        ),
        ("trian: {}\n", "run.yaml:1: trian: unknown key. Did you mean 'train'?"),
        ("train:\n  lr: 1e-5\n", "run.yaml:2: train.lr: unknown key. Did you mean 'optimizer.lr'?"),
        ("train:\n  seed: '3'\n", "run.yaml:2: train.seed: should be a valid integer, found '3'"),
        ("train:\n  seed: true\n", "run.yaml:2: train.seed: should be a valid integer, found True"),
        ("train:\n  seed: -1\n", "run.yaml:2: train.seed: should be greater than or equal to 0, found -1"),
        ("train:\n  epochs: null\n", "run.yaml:2: train.epochs: should be a valid number, found None"),
        (
            "train:\n  micro_batch_tokens: some\n",
            "run.yaml:2: train.micro_batch_tokens: should be 'auto' or a valid integer, found 'some'",
        ),
        ("optimizer:\n  lr: .inf\n", "run.yaml:2: optimizer.lr: should be a finite number, found inf"),
        ("train:\n  seed: 4294967296\n", "run.yaml:2: train.seed: should be less than 4294967296, found 4294967296"),
        ("train: 3\n", "run.yaml:1: train: should be a mapping, `key: value`, found 3"),
        ("model: gpt2\n", "run.yaml:1: model: should be a mapping, `key: value`, found 'gpt2'"),
        ("data: rows.jsonl\n", "run.yaml:1: data: should be a mapping, `key: value`, found 'rows.jsonl'"),
        ("objective: nll\n", "run.yaml:1: objective: should be a list, `[one, another]`, found 'nll'"),
        (
            "evaluate:\n  rewards:\n  - exact: {model: x}\n",
            "run.yaml:3: evaluate.rewards.0.exact.model: unknown key. Known: cache, options, processes, time_limit, weight. "
            "Options of its own stand under `options`, as in `options: {model: ...}`.",
        ),
        ("data:\n  main: {options: {}}\n", "run.yaml:2: data.main.source: is required, and missing"),
        ("data: {source: x.jsonl}\n", "run.yaml:1: data.source: should be"),
        ("data:\n  main:\n    source: x\n    fromat: auto\n", "run.yaml:4: data.main.fromat: unknown key. Did you mean"),
        ("model:\n  adapter:\n    lora:\n      rank: 3\n", "run.yaml:4: model.adapter.lora.rank: unknown key."),
        ("model:\n  adapter:\n  - {name: a}\n", "run.yaml:3: model.adapter.0: an adapter has either `lora`"),
        ("model: {quantize: 4bit}\n", "run.yaml:1: model: weights in 4bit cannot be trained themselves"),
        ("evaluate:\n  patience: 2\n", "run.yaml:1: evaluate: `patience` counts evaluations"),
        ("objective:\n- {nll: {}, pairs: {}}\n", "run.yaml:1: objective: each item is one name with its options"),
        ("objective:\n- nll\n- nlll: {}\n", "run.yaml:3: objective.1: no loss named 'nlll'. Did you mean 'nll'?"),
        ("objective:\n- pairs:\n    weights:\n    - haf\n", "run.yaml:4: objective.0.pairs.weights.0: no weight named 'haf'."),
        ("objective:\n- nll: {weights: {haf: {}}}\n", "run.yaml:2: objective.0.nll.weights: no weight named 'haf'."),
        ("evaluate:\n  rewards: [exat]\n", "run.yaml:2: evaluate.rewards.0: no reward named 'exat'. Did you mean 'exact'?"),
        ("evaluate:\n  rewards:\n  - exact: {wieght: 2}\n", "run.yaml:3: evaluate.rewards.0.exact.wieght: unknown key."),
        ("data:\n  main: {source: x, format: chats}\n", "run.yaml:2: data.main.format: no format named 'chats'. Did you mean"),
        ("track: [wandb, tb]\n", "run.yaml:1: track.1: should be 'tensorboard', 'wandb', 'trackio' or 'mlflow', found 'tb'"),
        (
            "data: {main: {source: x}}\nobjective:\n- nll: {source: mian}\n",
            "run.yaml:3: objective.0.nll: no data source is named 'mian'. Did you mean 'main'?",
        ),
        (
            "objective: [pairs, nll, marks]\n",
            "run.yaml:1: objective: 'pairs' needs preference rows and 'marks' needs unpaired rows of the data source 'main'.",
        ),
        (
            "data: {main: {source: x, format: chat}}\nobjective: [pairs]\n",
            "run.yaml:2: objective: 'pairs' needs preference rows of the data source 'main', which holds chat rows.",
        ),
        ("objective:\n- ./gone.py:Loss\n", "gone.py:Loss' names code that is not there"),
        ("recipe: bth\n", "run.yaml:1: recipe: no recipe named 'bth'. Did you mean 'both'?"),
        ("recipe:\n  both: {btea: 1}\n", "run.yaml:1: recipe.both.btea: unknown key. Did you mean 'beta'?"),
        ("recipe: {both: {beta: x}}\n", "run.yaml:1: recipe.both.beta: should be a valid number, found 'x'"),
        ("recipe: odd\n", "run.yaml:1: recipe 'odd' of burnish-kit 0.3 failed: RuntimeError: broken inside"),
        ("recipe: nested\n", "run.yaml:1: recipe 'nested' must give a mapping of sections without a recipe of its own"),
        ("recipe: ./mine.py:recipe\n", "is code, and reading a config runs none"),
        ("recipe: [both]\n", "run.yaml:1: recipe: write one name"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(kit: Registry, write: Write, text: str, said: str) -> None:
    assert said in refused(kit, write(text))


def test_an_evaluation_answers_as_long_as_rollouts(kit: Registry, write: Write) -> None:
    def longest(rollout: Any, **evaluate: Any) -> int:
        return Sections.model_validate({"rollout": rollout, "evaluate": evaluate}).evaluate.sampling.max_new_tokens

    drawn = {"sampling": {"max_new_tokens": 512}}
    assert longest(drawn) == longest(drawn, sampling={"temperature": 0.5}) == 512
    assert longest(drawn, sampling={"max_new_tokens": 32}) == 32
    assert longest({"prompts": 2}) == 256
    assert longest(None) == Sections().evaluate.sampling.max_new_tokens == 64
    assert refused(kit, write("rollout: {sampling: {max_new_tokens: x}}\n")).count("max_new_tokens") == 1
    assert "evaluate: should be" in refused(kit, write("rollout: {prompts: 2}\nevaluate: 3\n"))


def test_everything_that_is_wrong_is_said_at_once(kit: Registry, write: Write) -> None:
    said = refused(kit, write("train: {sed: 1, seed: x}\ndata: {main: {}}\n")).splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == ["data.main.source", "train.seed", "train.sed"]


def test_parts_of_one_kind_may_share_a_source(kit: Registry) -> None:
    load_config({"objective": ["pairs", {"nll": {"on": "chosen"}}, "gold"]}, registry=kit)  # a triple holds a pair
    load_config({"objective": ["pairs", {"marks": {"source": "other"}}]}, registry=kit)


def test_overrides_lie_above_the_file_and_later_ones_win(kit: Registry, write: Write) -> None:
    file = write("train: {seed: 1}\nobjective: [pairs]\n")
    overrides = ["train.seed=2", "train.seed=3", "optimizer.lr=1e-4", "objective.0.pairs.beta=.5", "track=wandb"]
    config = load_config(file, overrides, kit)
    assert config.train.seed == 3
    assert config.optimizer.lr == 1e-4
    assert config.objective == ({"pairs": {"beta": 0.5}},)
    assert config.track == ("wandb",)
    assert config.origin("train.seed") == "override"
    assert config.origin("optimizer.lr") == "override"
    assert config.origin("objective.0.pairs.beta") == "override"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.seed", "write key.path=value"),
        ("=3", "write key.path=value"),
        ("train.sede=3", "override: train.sede: unknown key. Did you mean 'seed'?"),
        ("train.seed=[", "override 'train.seed=[': not YAML: "),
        ("schedule.options={num_cycles:", "A shell parts words at spaces: quote all of it"),
        ("objective.7.pairs.beta=1", "'objective' is a list of 1; its items count from 0"),
        ("train.seed.x=1", "'train.seed' is 1, which has no keys"),
    ],
)
def test_overrides_that_cannot_be(kit: Registry, write: Write, override: str, said: str) -> None:
    assert said in refused(kit, write("train: {seed: 1}\nobjective: [pairs]\n"), override)


def test_an_override_may_name_code_by_its_key(kit: Registry, write: Write) -> None:
    Path("mine.py").write_text("")
    key = str(Path("mine.py").resolve()) + ":Loss"
    config = load_config(write("objective:\n- ./mine.py:Loss: {a: 1}\n"), [f"objective.0.{key}.a=2"], kit)
    assert config.objective == ({key: {"a": 2}},)


def test_a_recipe_lies_below_the_file(kit: Registry, write: Write) -> None:
    file = write("recipe: {both: {beta: 0.3}}\noptimizer: {lr: 1e-4}\n")
    config = load_config(file, ["objective.1.nll.weight=0.5"], kit)
    assert config.objective == ({"pairs": {"beta": 0.3}}, {"nll": {"on": "chosen", "weight": 0.5}})
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (1e-4, 0.01)
    assert config.origin("objective.0.pairs.beta") == "recipe both"
    assert config.origin("objective.1.nll.weight") == "override"
    assert config.origin("optimizer.lr") == "run.yaml:2"
    assert config.origin("optimizer.weight_decay") == "recipe both"


def test_the_files_objective_replaces_the_recipes(kit: Registry, write: Write) -> None:
    config = load_config(write("recipe: both\nobjective: [nll]\n"), registry=kit)
    assert config.objective == ({"nll": {}},)


def test_a_recipe_can_be_chosen_by_an_override(kit: Registry) -> None:
    assert load_config({}, ["recipe=both", "recipe.both.beta=2"], kit).objective[0] == {"pairs": {"beta": 2.0}}


def test_a_mapping_holds_plain_data(kit: Registry) -> None:
    assert load_config({"output": Path("x")}, registry=kit).output == "x"
    assert "found a object; pass live objects to burnish.train" in refused(kit, {"data": {"main": {"source": object()}}})


def test_a_plugin_can_be_disabled_by_the_config(kit: Registry) -> None:
    with pytest.raises(ConfigError, match="no loss named 'nll'"):
        load_config({"plugins": {"disable": "kit"}, "objective": ["nll"]})
    assert "no loss named 'nll'. Known: none" in refused(kit, {"objective": ["nll"]}, "plugins.disable=kit")
    with pytest.raises(PluginError, match="cannot disable plugin 'kti'"):
        load_config({}, ["plugins.disable=[kti]"])


def test_resolved_values_are_kept_with_their_origin(kit: Registry, write: Write) -> None:
    config = load_config(write("train: {seed: 1}"), registry=kit)
    resolved = config.with_values({"train.micro_batch_tokens": 4096}, "resolved")
    assert resolved.train.micro_batch_tokens == 4096
    assert resolved.origin("train.micro_batch_tokens") == "resolved"
    assert resolved.origin("train.seed") == "run.yaml:1"
    assert config.train.micro_batch_tokens == "auto"


def test_errors_raised_later_are_located(kit: Registry, write: Write) -> None:
    config = load_config(write("objective:\n- pairs:\n    beta: 0.2\n"), registry=kit)
    with pytest.raises(ConfigError, match=r"^run\.yaml:3: objective\.0\.pairs\.beta: too small$"), config.located():
        raise ConfigError("objective.0.pairs.beta: too small")
    with pytest.raises(ConfigError, match=r"^something else: odd$"), config.located():
        raise ConfigError("something else: odd")


def test_what_plugins_would_take_unasked_is_written_down(kit: Registry, write: Write) -> None:
    file = write(
        "data: {main: {source: numbers, options: {size: 3}}}\nobjective:\n- pairs: {beta: 0.2, weights: [half]}\n"
        "evaluate: {rewards: [exact, {length: {options: {target: 4}}}]}\n"
    )
    config = with_plugin_options(load_config(file, registry=kit), kit)
    inner = {"kind": "a"}
    expected = {"beta": 0.2, "weights": [{"half": {"share": 0.5}}], "form": "sigmoid", "inner": inner, "bins": [1, 2]}
    assert config.objective == ({"pairs": expected},)
    assert config.data["main"].options == {"size": 3, "arguments": {}}
    assert config.origin("objective.0.pairs.form") == "plugin burnish-kit 0.3"
    assert config.origin("objective.0.pairs.beta") == "run.yaml:3"
    assert with_plugin_options(config, kit) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "objective:\n- pairs:\n    btea: 1\n",
            "run.yaml:3: objective.0.pairs.btea: unknown key. Did you mean 'beta'? Known: beta, bins, form, inner, name, on,",
        ),
        ("objective:\n- pairs: {beta: x}\n", "run.yaml:2: objective.0.pairs.beta: should be a valid number, found 'x'"),
        ("objective:\n- pairs: {form: square}\n", "objective.0.pairs.form: should be 'sigmoid' or 'hinge', found 'square'"),
        ("objective:\n- pairs: {inner: {kind: c}}\n", "objective.0.pairs.inner.kind: should be 'a' or 'b', found 'c'"),
        ("objective:\n- nll: {weights: [{half: {shar: 1}}]}\n", "nll.weights.0.half.shar: unknown key. Did you mean 'share'"),
        ("evaluate: {rewards: [length]}\n", "run.yaml:1: evaluate.rewards.0.length.options.target: is required, and missing"),
        ("data: {main: {source: numbers, options: {sise: 3}}}\n", "data.main.options.sise: unknown key. Did you mean 'size'"),
    ],
)
def test_options_of_plugins_are_checked_by_their_signatures(kit: Registry, write: Write, text: str, said: str) -> None:
    config = load_config(write(text), registry=kit)
    with pytest.raises(ConfigError) as error:
        with_plugin_options(config, kit)
    assert said in str(error.value)


def test_shown_configs_read_back(kit: Registry, write: Write) -> None:
    file = write(
        "recipe: both\nmodel: {name: 'a: b', adapter: {lora: {targets: [q, 'on']}}}\n"
        "data: {main: {source: '#x', delimiter: \"\\n\"}}\n"
        "train: {clip: null, epochs: .inf}\nevaluate: {sampling: {stop: ['1', 'null', '']}}\n"
    )
    config = with_plugin_options(load_config(file, ["optimizer.lr=1e-7"], kit), kit)
    text = to_yaml(config)
    Path("back.yaml").write_text(text)
    assert load_config("back.yaml", registry=kit) == config
    lines = {line.partition(":")[0].strip(): line for line in text.splitlines() if "  # " in line}
    assert lines["lr"].split() == ["lr:", "1.0e-07", "#", "override"]
    assert lines["weight_decay"].split("# ")[1] == "recipe both"
    assert lines["form"].split("# ")[1] == "plugin burnish-kit 0.3"
    assert lines["seed"].split("# ")[1] == "default"
    assert lines["clip"].split("# ")[1] == "run.yaml:4"


def test_one_item_stands_for_a_list(kit: Registry, write: Write) -> None:
    config = load_config(write("model:\n  adapter:\n    lora:\n      r: 4\n"), registry=kit)
    assert config.model.adapter[0].lora is not None
    assert config.model.adapter[0].lora.r == 4
    assert config.origin("model.adapter.0.lora.r") == "run.yaml:4"
    assert config.origin("model.adapter.0.lora.alpha") == "default"


def test_loading_runs_no_code(kit: Registry, write: Write) -> None:
    Path("mine.py").write_text("raise RuntimeError('ran')")
    config = load_config(write("objective: [./mine.py:Loss]\n"), registry=kit)
    assert isinstance(config, Config)
    with_plugin_options(config, kit)
    to_yaml(config)
