"""Discovery fails closed: what cannot be used stays listed with its reason, everything else lives on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import PluginError
from burnish.registry import LossRecord, Registry, load

Install = Callable[..., Path]

LOSS = """
from burnish import LossRecord, hookimpl

@hookimpl
def burnish_losses():
    return [
        LossRecord(name="NAME", target="fake_PLUGIN.loss:Loss", summary="s", data="sequence", reduction="token_mean", api=1)
    ]
"""


def loss(plugin: str, name: str | None = None) -> str:
    return LOSS.replace("NAME", name or plugin).replace("PLUGIN", plugin)


def error_of(registry: Registry, name: str) -> str:
    """Why the plugin cannot be used."""
    [plugin] = [plugin for plugin in registry.plugins if plugin.name == name]
    assert plugin.error is not None
    assert plugin.records == ()
    return plugin.error


def test_plugins_come_in_the_order_of_their_names_after_the_core(install: Install) -> None:
    for name in ("zeta", "alpha", "mid"):
        install(name, loss(name))
    registry = load()
    assert [plugin.name for plugin in registry.plugins] == ["burnish", "alpha", "mid", "zeta"]
    assert [record.name for record in registry.records(LossRecord)] == ["alpha", "mid", "zeta"]
    assert registry.fingerprint() == load().fingerprint()


def test_a_record_is_found_without_importing_its_target(install: Install) -> None:
    install("good", loss("good"), {"loss": "raise RuntimeError('imported')"})
    assert load().get(LossRecord, "good").target == "fake_good.loss:Loss"
    assert "fake_good.loss" not in sys.modules


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def", "SyntaxError"),
        ("", "implements no hook"),
        ("from burnish import hookimpl\n@hookimpl\ndef burnish_loses(): return []", "unknown hook 'burnish_loses'"),
        ("from burnish import hookimpl\n@hookimpl\ndef burnish_losses(config): return []", "config"),
        ("def burnish_losses(): return []", "not marked with @hookimpl"),
        ("from burnish import hookimpl\n@hookimpl\ndef burnish_losses(): raise ValueError('inside')", "ValueError: inside"),
        ("from burnish import hookimpl\n@hookimpl\ndef burnish_losses(): return None", "must return a list of LossRecord"),
        ("from burnish import hookimpl\n@hookimpl\nasync def burnish_losses(): return []", "got a coroutine"),
        ("from burnish import hookimpl\n@hookimpl\ndef burnish_losses(): return ['dpo']", "got a str"),
        (loss("bad").replace("burnish_losses", "burnish_weights"), "WeightRecord items, got a LossRecord"),
        (loss("bad").replace("api=1", "api=7"), "version 7 of the plugin interface"),
        (loss("bad").replace("token_mean", "tokens"), "has no such reduction: 'tokens'"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_broken_plugin_is_kept_with_its_reason_and_others_live_on(install: Install, plugin: str, said: str) -> None:
    install("bad", plugin)
    install("good", loss("good"))
    registry = load()
    assert said in error_of(registry, "bad")
    assert [record.name for record in registry.records(LossRecord)] == ["good"]
    # Asking for what nobody (else) provides shows why: the broken plugin may be the one that does.
    with pytest.raises(PluginError) as error:
        registry.get(LossRecord, "goof")
    assert str(error.value).startswith("no loss named 'goof'. Did you mean 'good'? Known: good. Installed but failed")
    assert said in str(error.value)


def test_a_broken_plugin_leaves_no_hook_behind(install: Install) -> None:
    observer = "from burnish import hookimpl\n@hookimpl\ndef burnish_run_started(run): raise AssertionError\n"
    install("bad", observer + "@hookimpl\ndef burnish_losses(): raise ValueError")
    assert load().hook.burnish_run_started(run=None) == []


def test_observers_are_called(install: Install) -> None:
    install("watch", "from burnish import hookimpl\n@hookimpl\ndef burnish_step_finished(run, step): return 'stop'")
    registry = load()
    assert registry.hook.burnish_step_finished(run=None, step=None) == ["stop"]
    assert registry.plugins[1].observes == ("burnish_step_finished",)


def test_two_providers_of_one_name_are_both_named(install: Install) -> None:
    install("one", loss("one", "same"), version="1.2")
    install("two", loss("two", "same"), version="3.4")
    registry = load()
    with pytest.raises(PluginError) as error:
        registry.get(LossRecord, "same")
    assert "burnish-one 1.2" in str(error.value)
    assert "burnish-two 3.4" in str(error.value)
    assert registry.records(LossRecord) == ()
    assert len(list(registry.problems())) == 1


def test_a_plugin_cannot_take_a_name_of_the_core(install: Install) -> None:
    backend = (
        "from burnish import BackendRecord, hookimpl\n@hookimpl\ndef burnish_backends():\n"
        "    return [BackendRecord(name='hf', target='a.b:C', summary='s', api=1)]"
    )
    install("mine", backend)
    [problem] = load().problems()
    assert "backend named 'hf'" in problem
    assert "burnish-mine 1.0" in problem


def test_two_distributions_with_one_plugin_name(install: Install) -> None:
    install("twin", loss("twin"), distribution="burnish-twin", version="1.0")
    install("twin", loss("twin"), package="other", distribution="acme-twin", version="2.0")
    registry = load()
    twins = [plugin for plugin in registry.plugins if plugin.name == "twin"]
    assert len(twins) == 2
    for twin in twins:
        assert twin.error is not None
        assert "acme-twin 2.0, burnish-twin 1.0" in twin.error
    assert registry.records(LossRecord) == ()


def test_an_entry_point_must_name_a_module(install: Install) -> None:
    folder = install("object", "thing = 3")
    info = next(folder.parent.glob("*.dist-info")) / "entry_points.txt"
    info.write_text("[burnish]\nobject = fake_object.plugin:thing\n")
    assert "must name a module" in error_of(load(), "object")


def test_blocking_happens_before_import(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("noisy", "raise RuntimeError('was imported')")
    install("other", loss("other"))
    for registry in (load(disabled=["noisy"]), _with_environment(monkeypatch, " noisy , ")):
        assert [plugin.name for plugin in registry.plugins] == ["burnish", "other"]
    assert "fake_noisy.plugin" not in sys.modules


def _with_environment(monkeypatch: pytest.MonkeyPatch, value: str) -> Registry:
    monkeypatch.setenv("BURNISH_DISABLE_PLUGINS", value)
    return load()


def test_blocking_a_misspelt_plugin_is_an_error(install: Install) -> None:
    install("noisy", loss("noisy"))
    with pytest.raises(PluginError, match=r"cannot disable plugin 'nosy': it is not installed\. Did you mean 'noisy'"):
        load(disabled=["nosy"])


def test_the_traceback_of_a_failed_plugin_is_kept(install: Install) -> None:
    install("bad", "def inner():\n    raise RuntimeError('deep')\ninner()")
    [plugin] = [plugin for plugin in load().plugins if plugin.name == "bad"]
    assert "in inner" in plugin.trace
