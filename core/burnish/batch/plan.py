"""The planner: a global batch becomes micro-batches under a token budget, the same number of them on every rank.

In: units, a budget in forwarded tokens, the kind of layout, the number of ranks. Out: micro-batches. A pure function of the set
of units: their order in the batch changes nothing. Knows no model; losses and gradients do not depend on what it decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass, field
from itertools import pairwise

from burnish.batch.layout import Kind
from burnish.batch.trie import canonical_order, common_prefix, num_unique_tokens
from burnish.data.units import Unit

# Units stay together when their common prefix is at least this part of what the second one costs alone.
WORTH_SHARING = 0.1
# Bins are evened until the fullest is so many times the mean, in at most so many moves.
EVEN_ENOUGH, MOST_MOVES = 1.01, 64


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Units that are laid out together. num_tokens: what they forward, or an upper bound where units of different groups share
    a prefix that was not worth keeping them together. It may be empty, so that all ranks make the same number of forwards."""

    units: tuple[Unit, ...]
    num_tokens: int


@dataclass(slots=True, eq=False)
class _Chunk:
    """Units that go together, and their cost in tokens."""

    units: list[Unit] = field(default_factory=list)
    cost: int = 0

    def merged(self, other: _Chunk) -> _Chunk:
        return _Chunk(self.units + other.units, self.cost + other.cost)


def plan(units: Iterable[Unit], budget_tokens: int, kind: Kind, num_ranks: int = 1) -> list[list[MicroBatch]]:
    """For every rank its micro-batches, equally many. One unit that exceeds the budget alone gets a micro-batch of its own.

    Longest first, so that a budget that does not fit fails at the first step.
    """
    if budget_tokens < 1 or num_ranks < 1:
        raise ValueError(f"budget and ranks must be at least 1, got {budget_tokens} and {num_ranks}")
    ordered = sorted(units, key=lambda unit: unit.id)
    bins = _padded_bins(ordered, budget_tokens) if kind == "padded" else _flat_bins(ordered, budget_tokens, kind, num_ranks)
    bins += [_Chunk() for _ in range(-len(bins) % num_ranks if bins else num_ranks)]
    bins.sort(key=lambda one: -one.cost)
    micro = [MicroBatch(tuple(one.units), one.cost) for one in bins]
    rounds = [micro[start : start + num_ranks] for start in range(0, len(micro), num_ranks)]
    # Ranks alternate in who gets the longest of a round.
    snake = [one if turn % 2 == 0 else one[::-1] for turn, one in enumerate(rounds)]
    return [list(rank) for rank in zip(*snake, strict=True)]


def _flat_bins(units: List[Unit], budget: int, kind: Kind, num_ranks: int) -> list[_Chunk]:
    """As few bins as hold everything (a multiple of the ranks, and those of oversized units), of nearly equal cost."""
    costs = [(unit, num_unique_tokens(unit.sequences) if kind == "tree" else sum(map(len, unit.sequences))) for unit in units]
    oversized = [_Chunk([unit], alone) for unit, alone in costs if alone > budget]
    chain = _chain([(unit, alone) for unit, alone in costs if alone <= budget], kind)
    if not chain:
        return oversized
    total = sum(alone - shared for _, alone, shared in chain)
    num_bins = max(-(-total // (budget * num_ranks)), 1) * num_ranks
    while True:
        # Short chunks balance best, long ones repeat fewer prefixes: try some lengths, keep the lowest peak.
        even = min(budget, -(-total // num_bins))
        tries = [_filled(_chunks(chain, even + (budget - even) * step // 4), num_bins) for step in range(5)]
        fitting = [bins for bins in tries if all(one.cost <= budget for one in bins)]
        if fitting:
            return oversized + min(fitting, key=lambda bins: max(one.cost for one in bins))
        num_bins += num_ranks


def _filled(chunks: Iterable[_Chunk], num_bins: int) -> list[_Chunk]:
    """Longest chunk first, each into the bin that is lightest by then; then what evens them further changes places."""
    bins: list[list[_Chunk]] = [[] for _ in range(num_bins)]
    for chunk in sorted(chunks, key=lambda chunk: -chunk.cost):
        min(bins, key=_cost).append(chunk)
    for _ in range(MOST_MOVES):
        if _cost(max(bins, key=_cost)) <= EVEN_ENOUGH * sum(map(_cost, bins)) / num_bins or not _evened(bins):
            break
    return [_Chunk([unit for chunk in one for unit in chunk.units], _cost(one)) for one in bins]


def _cost(chunks: Iterable[_Chunk]) -> int:
    return sum(chunk.cost for chunk in chunks)


def _evened(bins: list[list[_Chunk]]) -> bool:
    """Move a chunk out of the fullest bin, or change it for a shorter one, where it lowers the peak most; whether any does."""
    fullest = max(bins, key=_cost)
    peak, nothing = _cost(fullest), _Chunk()
    best: tuple[int, list[_Chunk], _Chunk, _Chunk] | None = None
    for other in bins:
        if other is fullest:
            continue
        room = peak - _cost(other)
        for chunk in fullest:
            for back in (nothing, *other):
                higher = max(peak - (chunk.cost - back.cost), peak - room + chunk.cost - back.cost)
                if higher < (peak if best is None else best[0]):
                    best = higher, other, chunk, back
    if best is None:
        return False
    _, other, chunk, back = best
    fullest.remove(chunk)
    other.append(chunk)
    if back is not nothing:
        other.remove(back)
        fullest.append(back)
    return True


def _chain(costs: List[tuple[Unit, int]], kind: Kind) -> list[tuple[Unit, int, int]]:
    """Units and their costs alone, so ordered that neighbours share most, each with what it shares with the one before."""
    if kind == "packed":
        return [(unit, alone, 0) for unit, alone in costs]
    firsts = [unit.sequences[0] for unit, _ in costs]
    order = canonical_order(firsts)
    shared = [0, *(common_prefix(firsts[left], firsts[right]) for left, right in pairwise(order))]
    return [(*costs[index], common) for index, common in zip(order, shared, strict=False)]


def _chunks(chain: List[tuple[Unit, int, int]], limit: int) -> Iterator[_Chunk]:
    """Cut the chain where little is shared, and wherever a chunk would exceed `limit`."""
    chunk = _Chunk()
    for unit, alone, shared in chain:
        if chunk.units and (shared < WORTH_SHARING * alone or chunk.cost + alone - shared > limit):
            yield chunk
            chunk = _Chunk()
        chunk = chunk.merged(_Chunk([unit], alone - shared if chunk.units else alone))
    if chunk.units:
        yield chunk


def _padded_bins(units: List[Unit], budget: int) -> list[_Chunk]:
    """Bins of similar length, so that little is padding; the cost is the rectangle."""
    bins: list[_Chunk] = []
    rows = width = 0
    for unit in sorted(units, key=lambda unit: -max(map(len, unit.sequences))):
        rows += len(unit.sequences)
        if not bins or rows * width > budget:
            rows, width = len(unit.sequences), max(map(len, unit.sequences))
            bins.append(_Chunk())
        bins[-1] = _Chunk([*bins[-1].units, unit], rows * width)
    return bins
