"""The simulator: cases whose times can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from played import trajectory
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.errors import RunError
from burnish.rollout.journal import Journal
from burnish.rollout.recorded import of_distribution, of_journal
from burnish.rollout.scheduler import Pace
from burnish.rollout.simulation import Answer, Prediction, Timing, simulate

EVEN = [[Answer(10), Answer(10)]]  # a group: two completions of ten tokens, at 0.1 s a token
SECOND = Timing(token_s=0.1, train_s=2.0)


def close(value: float) -> object:
    return pytest.approx(value, abs=1e-6)


def test_one_after_the_other() -> None:
    """Each batch: 10 tokens x 0.1 s, then 2 s of training; five of them. The trainer waits a third of the time."""
    found = simulate(Pace(size=2), SECOND, EVEN, 5)
    assert found == Prediction(close(15.0), 5, 5 * 2 * 2 * 10, 0.0, 0, close(1 / 3), close(2 / 3), 0)
    assert found.tokens_per_s == close(200 / 15)


def test_beside_training_the_shorter_phase_is_hidden() -> None:
    """The first batch takes 1 s, and with it the second is begun, as two batches may be under way; from then on training (2 s)
    is all that takes time: 1 + 5 x 2. Batch n + 1 is drawn while n is trained on, by n's weights, or for n = 1 by the first."""
    found = simulate(Pace(size=2, max_staleness=1), SECOND, EVEN, 5)
    assert (found.seconds, found.trainer_idle) == (close(11.0), close(1 / 11))
    assert (found.staleness_mean, found.staleness_max) == (close(4 / 5), 1)


def test_where_drawing_is_slower_the_trainer_waits_for_the_rest_of_it() -> None:
    """Drawing takes 3 s, training 2 s. Two batches are begun at once and are there after 3 s. While the first is trained on
    (until 5), the third is drawn (until 6): the sampler is always busy from there. The second begins at 5, until 7."""
    found = simulate(Pace(size=1, max_staleness=1), Timing(token_s=0.3, train_s=2.0), EVEN, 2)
    assert found.seconds == close(3 + 2 + 2)
    assert found.trainer_idle == close(3 / 7)


def test_rows_share_a_step_and_wait_for_room() -> None:
    """A step is 0.1 s and 0.05 s a row. Four rows of ten tokens: at once 10 x 0.3 s; two at a time 2 x 10 x 0.2 s."""
    step = {"token_s": 0.1, "row_s": 0.05}
    assert simulate(Pace(size=2), Timing(**step), EVEN, 1).seconds == close(3.0)
    assert simulate(Pace(size=2), Timing(**step, rows=2), EVEN, 1).seconds == close(4.0)


def test_rows_that_are_done_make_the_others_faster() -> None:
    """Rows of 4 and 10 tokens: 4 steps of 0.2 s with both, then 6 of 0.15 s with one."""
    uneven = [[Answer(4), Answer(10)]]
    assert simulate(Pace(size=1), Timing(token_s=0.1, row_s=0.05), uneven, 1).seconds == close(4 * 0.2 + 6 * 0.15)


def test_a_long_tail_is_cut_and_played_again() -> None:
    """Groups take 1 s, every third 9 s. Three are begun for two: after 1 s two are there. The long one is begun anew with the
    next batch, with two others, and cut again."""
    tail = [[Answer(90)], [Answer(10)], [Answer(10)]]
    plain = simulate(Pace(size=3), Timing(token_s=0.1), tail, 2)
    cut = simulate(Pace(size=2, extra=1), Timing(token_s=0.1), tail[:1] + tail[1:] * 8, 3)
    assert plain.seconds == close(18.0)
    assert (cut.seconds, cut.replayed) == (close(3.0), 3)


def test_without_in_flight_updates_the_sampler_is_emptied_first() -> None:
    """One group of 10 s and others of 1 s, k = 2. Weights for the second batch wait until the long one is done, unless they are
    taken in flight."""
    tail = [[Answer(100)], *([[Answer(10)]] * 20)]
    pace, timing = Pace(size=1, max_staleness=2), Timing(token_s=0.1, train_s=0.5)
    emptied, swapped = simulate(pace, timing, tail, 2), simulate(pace, timing, tail, 2, in_flight=True)
    assert emptied.seconds == close(10.0 + 0.5)
    assert swapped.seconds == close(1.0 + 0.5 + 0.5)


def test_groups_without_signal_cost_time() -> None:
    """Every other group is dead: each batch of two draws four, in two rounds of 1 s."""
    half = [[Answer(10, 1.0), Answer(10, 1.0)], [Answer(10, 0.0), Answer(10, 1.0)]]
    found = simulate(Pace(size=2, filter=True, max_refills=3), Timing(token_s=0.1), half, 1)
    # 0 and 1 are drawn, 1 counts; 2 has no signal, 3 has: three rounds
    assert found.seconds == close(3.0)
    assert found.tokens == 2 * 2 * 10


def test_sending_takes_its_time() -> None:
    found = simulate(Pace(size=1), Timing(token_s=0.1, train_s=1.0, send_s=0.5), EVEN, 4)
    assert found.seconds == close(4 * (0.5 + 1.0 + 1.0))


def test_what_a_run_wrote_is_what_is_simulated_with(tmp_path: Path) -> None:
    first = [replace(trajectory(0, member, [5] * (1 + member)), reward=float(member)) for member in (-1, 0, 1, 2)]
    journal = Journal(tmp_path)
    journal.append(0, first)
    assert of_journal(journal, 2) == [[Answer(1, 0.0), Answer(2, 1.0)]]
    with pytest.raises(RunError, match="have 3 completions, and 4 are asked for"):
        of_journal(journal, 4)
    with pytest.raises(RunError, match="no rollouts"):
        of_journal(Journal(tmp_path / "none"), 1)


def test_drawn_lengths_have_the_mean_that_was_asked_for() -> None:
    """512 x 16 draws of mean 100 and standard deviation 53 (spread .5): the mean is within 4 x 53 / 90 of 100."""
    groups = of_distribution(100.0, 0.5, 10_000, 16, seed=0)
    lengths = [answer.length for group in groups for answer in group]
    assert abs(sum(lengths) / len(lengths) - 100) < 2.4
    assert max(answer.length for group in of_distribution(100.0, 0.5, 120, 16, seed=0) for answer in group) == 120


def test_the_command_compares_schedules(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    (tmp_path / "even.py").write_text("def even(completion_ids, **_):\n    return [0.0] * len(completion_ids)\n")
    config.write_text(
        "model: {name: none}\ndata: {main: {source: none.jsonl}}\nobjective: [grpo: {}]\n"
        "rollout: {prompts: 4, group_size: 4, rewards: ['./even.py:even'], max_staleness: 1}\ntrain: {batch_size: 16}\n"
    )
    options = ["--simulate", "--mean-length", "50", "--token-s", "0.02", "--train-s", "1"]
    answer = CliRunner().invoke(app, ["plan", str(config), *options])
    assert answer.exit_code == 0, answer.output
    lines = answer.output.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"max_staleness {number}" for number in (0, 1, 2)]
    assert "<- this config" in lines[2]
    missing = CliRunner().invoke(app, ["plan", str(config), "--simulate", "--mean-length", "50"])
    assert "--simulate needs --token-s" in missing.output + str(missing.exception)
