"""Mutants that compute the same numbers for a reason that no program finds: by loss and change, why."""

from __future__ import annotations

ONE_TARGET = "A sequence has one target, its end, so the last of its scores is their sum."
COLUMNS = "Of two axes, 1 is the last one."
SAME_NUMBERS: dict[tuple[str, str], str] = {
    ("bco", "0.0 -> 1.0: `before, seen = state if state is not None else (1.0, 0)`"): (
        "It is multiplied by the number of answers before, 0."
    ),
    ("bradley_terry", "r_w -> r_l: `metrics = {'accuracy': Metric((r_w > r_l).to(r_l)), 'margin': Metric(r_w - r_l)}`"): (
        "Only the precision is taken from it."
    ),
    (
        "bradley_terry",
        ".last -> .sum: `r_w, r_l = (view.signal(score()).sum() for view in (batch.chosen, batch.rejected))`",
    ): ONE_TARGET,
    ("ordinal", ".last -> .sum: `r = batch.signal(score()).sum()`"): ONE_TARGET,
    ("ordinal", "no minus: `odd = float(ratings[~at.any(+1)][0])`"): COLUMNS,
    ("ordinal", "no minus: `return at.to(torch.int64).argmax(+1)`"): COLUMNS,
    ("prm", "targets swapped: `marked, found = (is_wrong(right - wrong), is_wrong(label - 0.5))`"): (
        "Both metrics compare the two, and it does not matter which comes first."
    ),
    ("regression", ".last -> .sum: `r, y = (batch.signal(score()).sum(), batch.scalar('rating'))`"): ONE_TARGET,
}
