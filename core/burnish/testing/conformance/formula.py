"""Checks of the formula alone, on drawn numbers: milliseconds each, so they run on many batches.

In: a subject and rows. Out: nothing, or `Broken` with what was found. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Sequence as List
from dataclasses import replace
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import Sequence, Unit
from burnish.model.signals import Signal
from burnish.objective.contract import derived_signals
from burnish.objective.readings import describe
from burnish.objective.reduce import Tally
from burnish.objective.terms import flat
from burnish.testing.conformance.checking import Broken, Rows
from burnish.testing.conformance.numbers import Numbers, Scene, values_of
from burnish.testing.conformance.rows import ANSWERING, ASKING, TURNED, end_id, ids_of, units_of
from burnish.testing.conformance.stopped import StoppedGradients
from burnish.testing.conformance.subject import Subject

BOUND = 1e-10  # float64, relative
NUDGE = 0.25  # of log-probabilities, nats
STEP = 1e-6  # of finite differences, nats
SLOPE = 1e-6  # relative error of finite differences
DIRECTIONS = 3


def finite(subject: Subject, rows: Rows) -> None:
    """Values, gradients and metrics are numbers."""
    _finite(subject, subject.scene(rows))


def far(subject: Subject, rows: Rows) -> None:
    """They still are, in float32, where models disagree by hundreds of nats; the formula keeps the precision it is given."""
    scene = subject.scene(rows, numbers=Numbers("far"), dtype=torch.float32)
    _finite(subject, scene)
    if scene.places and values_of(scene.call()).dtype != torch.float32:
        raise Broken(f"float32 signals gave {values_of(scene.call()).dtype} terms")


def alone(subject: Subject, rows: Rows) -> None:
    """So they are for a batch of one."""
    for place in range(len(rows)):
        _finite(subject, subject.scene(rows[place : place + 1]), f"of row {place} alone ")


def empty(subject: Subject, rows: Rows) -> None:
    """So they are where one answer of several has no target: a mean over nothing is 0."""
    for which in (0, -1):
        units = [_without_targets(unit, which) for unit in units_of(rows, subject.registry)]
        _finite(subject, Scene(subject.entry, subject.owner, units))


def learns(subject: Subject, _: Rows) -> None:
    """Some gradient is not zero; that of a weight is cut."""
    if subject.is_weight:
        return
    if not any(_slope(scene).any() for scene in map(subject.scene, subject.examples)):
        raise Broken("the gradient is 0 on every batch")


def every_target(subject: Subject, _: Rows) -> None:
    """Answers of one target token matter as longer ones do, be it the first or the last."""
    matters, kept = _roles_that_matter(subject, None), {}
    for which in (0, -1):
        kept[which] = _roles_that_matter(subject, which)
        if missing := sorted(matters - kept[which]):
            end = "first" if which == 0 else "last"
            raise Broken(f"'{missing[0]}' sequences have no gradient when only their {end} target is left")


def micro_batches(subject: Subject, rows: Rows) -> None:
    """Value and gradient of the batch are the sums of those of any cut of it."""
    scene = subject.scene(rows)
    if scene.entry.is_coupled or not scene.places:
        return
    whole = scene.compute().shares.sum()
    for cut in _cuts(scene):
        shares = torch.stack([scene.compute(places).shares.sum() for places in cut]).sum()
        said = f"in {len(cut)} micro-batches of {'+'.join(str(len(places)) for places in cut)} members"
        _close("the loss", shares, whole, said)
        _close("the gradient", scene.gradient(shares), scene.gradient(whole), said)


def order(subject: Subject, rows: Rows) -> None:
    """A term belongs to its member, wherever it stands in the batch."""
    scene = subject.scene(rows)
    if len(scene.places) < 2:
        return
    plain = values_of(scene.call())
    for places in (scene.places[::-1], scene.places[1:] + scene.places[:1]):
        _close("the terms", values_of(scene.call(places)), plain[places], f"with the members in the order {places}")


def metrics(subject: Subject, rows: Rows) -> None:
    """Every micro-batch gives the same metrics, and together they are the batch's."""
    scene = subject.scene(rows)
    if not scene.places:
        return
    whole = scene.compute().metrics
    if scene.entry.is_coupled:
        return
    for cut in _cuts(scene):
        parts = [scene.compute(places).metrics for places in cut]
        odd = sorted(key for part in parts for key in part.keys() ^ whole.keys())
        if odd:
            raise Broken(f"the metric '{odd[0]}' is there for some members only")
        for name, tally in whole.items():
            merged = reduce(Tally.merge, (part[name] for part in parts)).value()
            value = tally.value()
            if (merged is None) != (value is None) or (
                merged is not None and value is not None and abs(merged - value) > 1e-9 * max(1, abs(value))
            ):
                raise Broken(f"the metric '{name}' ({tally.how}) is {value} for the batch, {merged} put together of {len(cut)}")


def dashboard(subject: Subject, rows: Rows) -> None:
    """Metrics that dashboards know by name mean what they say: of either side, they rise with its likelihood alone."""
    scene = subject.scene(rows)
    logps = [signal for signal in scene.leaves if signal.name == "logp"]
    if not scene.places or not logps:
        return
    before = scene.call().metrics
    sides = {name: name.rpartition("/")[2] for name in before if name.startswith(("rewards/", "logps/"))}
    for moved in ("chosen", "rejected"):
        leaves = {signal: leaf.detach().clone() for signal, leaf in scene.leaves.items()}
        for unit in scene.units:
            span = scene.spans.get(id(unit.sequence(moved)), slice(0, 0))
            for signal in logps:
                leaves[signal][span] += NUDGE
        after = scene.call(leaves=leaves).metrics
        for name, side in sides.items():
            if side in ("chosen", "rejected"):
                change = float((flat(after[name].values) - flat(before[name].values)).detach().sum())
                if (side == moved) != (change > 0) or (side != moved and change):
                    raise Broken(f"'{name}' changes by {change:.3g} when all {moved} answers become likelier")


def untargeted(subject: Subject, rows: Rows) -> None:
    """What models say of prompt tokens changes nothing; derived sequences score answers, whole."""
    if subject.entry.targets == "all":
        return
    plain, moved = (
        subject.scene(rows, numbers=Numbers(perturbed=frozenset(ids))) for ids in ((), ids_of(ASKING))
    )
    _same(plain, moved, "when untargeted tokens read other numbers")
    if subject.entry.targets != "completion":
        return
    asked, answers = ids_of(ASKING), [*ids_of(ANSWERING), end_id()]
    for member in plain.part.members:
        for role, sequence in member.derived.items():
            mask = sequence.masks[subject.entry.targets]
            wrong = (mask & np.isin(sequence.ids, asked)) | (~mask & np.isin(sequence.ids, answers))
            if wrong[1:].any():
                place = int(np.flatnonzero(wrong[1:])[0]) + 1
                what = "leaves out a target" if not mask[place] else "scores a token of the prompt"
                raise Broken(f"the derived sequence '{role}' {what}: token {place} of {len(sequence)}")


def names(subject: Subject, rows: Rows) -> None:
    """Other ids for the same tokens, equal numbers: nothing changes, since no id means anything to a formula."""
    plain = subject.scene(rows)
    renamed = {token: token + 1000 for unit in plain.units for one in unit.sequences for token in one.ids.tolist()}
    units = [_renamed(unit, renamed) for unit in plain.units]
    moved = Scene(subject.entry, subject.owner, units, Numbers(names={new: old for old, new in renamed.items()}))
    _same(plain, moved, "when tokens have other ids")


def frozen(subject: Subject, rows: Rows) -> None:
    """Numbers of the reference, of the teacher, of the rollout are constants: no gradient reaches them."""
    scene = subject.scene(rows)
    if not scene.places:
        return
    readings = scene.readings()
    value = values_of(scene.spied(readings)).sum()
    if value.requires_grad:
        scene.gradient(value)
    read = [*readings.read_without_gradient, *scene.detached.read_without_gradient]
    if any(values.requires_grad for values in read):
        raise Broken("numbers of a frozen model require a gradient after the loss was called")


def signals_used(subject: Subject, _: Rows) -> None:
    """What `signals()` declares is read."""
    read: set[Signal] = set()
    for rows in subject.examples:
        scene = subject.scene(rows)
        readings = scene.readings()
        if scene.places:
            scene.spied(readings)
        read |= readings.signals | scene.detached.signals
    declared = subject.plugin.signals() | derived_signals(subject.plugin)
    if unused := sorted(describe(signal) for signal in declared - read):
        raise Broken(f"signals() declares {unused[0]}, which is never read")


def slope(subject: Subject, rows: Rows) -> None:
    """The gradient is that of the value, what the formula holds constant held constant."""
    scene = subject.scene(rows)
    if scene.is_weight or not scene.places:
        return
    leaves = {signal: leaf.detach() for signal, leaf in scene.leaves.items()}
    generator = torch.Generator().manual_seed(0)
    mix = torch.rand(len(scene.places), generator=generator, dtype=scene.dtype) + 0.5
    stopped = StoppedGradients()
    with stopped:
        value = values_of(scene.call()) @ mix
    gradient = scene.gradient(value)
    for _ in range(DIRECTIONS):
        direction = {
            signal: torch.randn(len(leaf), generator=generator, dtype=leaf.dtype) * scene.leaves[signal].requires_grad
            for signal, leaf in leaves.items()
        }
        ends = []
        for sign in (1, -1):
            with stopped.again():
                moved = {signal: leaf + sign * STEP * direction[signal] for signal, leaf in leaves.items()}
                ends.append(values_of(scene.call(leaves=moved)) @ mix)
        found = float((ends[0] - ends[1]) / (2 * STEP))
        flat = torch.cat([one for signal, one in direction.items() if scene.leaves[signal].requires_grad])
        said = float(gradient @ flat)
        if abs(found - said) > SLOPE * max(1.0, abs(found), float(value.detach().abs())):
            raise Broken(f"along a random direction the gradient says {said:.9g}, finite differences of the value {found:.9g}")


def preference(subject: Subject, _: Rows) -> None:
    """Which answer is the better one matters."""
    turned = [(rows, [TURNED[subject.entry.data](row) for row in rows]) for rows in subject.examples]
    if not any(_value(subject, one) != _value(subject, other) for one, other in turned):
        raise Broken("the loss stays what it is when the better and the worse answers change places")


def not_negative(subject: Subject, rows: Rows) -> None:
    """A weight turns no loss into a gain."""
    scene = subject.scene(rows)
    values = scene.call().values if scene.places else torch.zeros(0)
    if (flat(values) < 0).any():
        raise Broken(f"a weight is {float(flat(values).min()):.6g}")


def repeats(subject: Subject, rows: Rows) -> None:
    """Called again it says the same, whatever the global random state; and leaves that as it was."""
    scenes = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            scenes.append(subject.scene(rows))
            scenes[-1].compute() if scenes[-1].places else None
            if not torch.equal(before, torch.get_rng_state()):
                raise Broken("it draws from the global random state")
    _same(scenes[0], scenes[1], "when called again", exact=True)


def state(subject: Subject, rows: Rows) -> None:
    """What a statistic remembers goes through JSON and back, and is not changed by the next batch."""
    first = subject.scene(rows)
    text = json.dumps(first.after)
    kept, read = (subject.scene(rows, before=before) for before in (first.after, json.loads(text)))
    _same(kept, read, "when the state has been written and read", exact=True)
    if json.dumps(kept.after) != json.dumps(read.after):
        raise Broken(f"the next state is {read.after} when this one was written and read, otherwise {kept.after}")
    if json.dumps(first.after) != text:
        raise Broken(f"statistic() changed the state that it was given: {text} became {first.after}")


def _finite(subject: Subject, scene: Scene, said: str = "") -> None:
    if not scene.places:
        return
    outcome = scene.compute()
    if not outcome.shares.isfinite().all():
        raise Broken(f"the terms {said}are {outcome.shares.tolist()}")
    if not subject.is_weight and not scene.gradient(outcome.shares.sum()).isfinite().all():
        raise Broken(f"the gradient {said}is not finite")
    for name, tally in outcome.metrics.items():
        if tally.moments[0] and not tally.moments.isfinite().all():
            raise Broken(f"the metric '{name}' {said}is {tally.value()}")


def _slope(scene: Scene) -> Tensor:
    return scene.gradient(scene.compute().shares.sum()) if scene.places else torch.zeros(0)


def _value(subject: Subject, rows: Rows) -> float:
    scene = subject.scene(rows)
    return round(float(values_of(scene.call()).detach().sum()), 9) if scene.places else 0.0


def _roles_that_matter(subject: Subject, only: int | None) -> set[str]:
    """Roles of sequences with a gradient somewhere. only: with nothing but this one of their targets left."""
    found: set[str] = set()
    for rows in subject.examples:
        units = units_of(rows, subject.registry)
        if only is not None:
            units = [_with_one_target(unit, subject.entry.targets, only) for unit in units]
        scene = Scene(subject.entry, subject.owner, units)
        if not scene.places:
            continue
        outcome = scene.call() if scene.is_weight else None
        value = values_of(outcome).sum() if outcome is not None else scene.compute().shares.sum()
        leaves = [leaf for leaf in scene.leaves.values() if leaf.requires_grad]
        gradients = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else ()
        for unit in scene.units:
            for sequence in unit.sequences:
                span = scene.spans.get(id(sequence), slice(0, 0))
                if any(one is not None and one[span].any() for one in gradients):
                    found.add(sequence.role)
    return found


def _without_targets(unit: Unit, which: int) -> Unit:
    sequences = list(unit.sequences)
    masks = {name: np.zeros_like(mask) for name, mask in sequences[which].masks.items()}
    sequences[which] = replace(sequences[which], masks=masks)
    return replace(unit, sequences=tuple(sequences))


def _with_one_target(unit: Unit, name: str, which: int) -> Unit:
    def cut(sequence: Sequence) -> Sequence:
        mask = np.zeros(len(sequence), np.bool_)
        mask[np.flatnonzero(sequence.masks[name])[which]] = True
        return replace(sequence, masks={**sequence.masks, name: mask})

    return replace(unit, sequences=tuple(map(cut, unit.sequences)))


def _renamed(unit: Unit, ids: dict[int, int]) -> Unit:
    sequences = [replace(one, ids=np.array([ids[token] for token in one.ids.tolist()])) for one in unit.sequences]
    return replace(unit, sequences=tuple(sequences))


def _cuts(scene: Scene) -> Iterable[List[List[int]]]:
    """Each member for itself; all but the last two and those."""
    places = scene.places
    yield [[place] for place in places]
    if len(places) > 2:
        yield [places[:-2], places[-2:]]


def _same(one: Scene, other: Scene, said: str, exact: bool = False) -> None:
    if not one.places and not other.places:
        return
    if len(one.places) != len(other.places):
        raise Broken(f"{len(one.places)} members count, but {len(other.places)} {said}")
    values = [values_of(scene.call()) for scene in (one, other)]
    _close("the terms", values[1], values[0], said, exact)
    if not one.is_weight:
        _close("the gradient", other.gradient(values[1].sum()), one.gradient(values[0].sum()), said, exact)


def _close(what: str, found: Tensor, expected: Tensor, said: str, exact: bool = False) -> None:
    found, expected = found.detach(), expected.detach()
    difference = float((found - expected).norm())
    if found.shape != expected.shape or difference > (0.0 if exact else BOUND * max(float(expected.norm()), 1.0)):
        raise Broken(f"{what} differs by {difference:.3g} of {float(expected.norm()):.3g} {said}")
