"""What receipts cost, of a tiny model; the difference by hand."""

from __future__ import annotations

from tests.benchmarks.receipts_cost import costs, markdown

from burnish.testing import tiny_model, tiny_tokenizer


def test_every_part_has_its_time() -> None:
    found = costs(tiny_model("llama"), tiny_tokenizer(), 2)
    assert {len(times) for what, times in found.items() if what != "handshake"} == {2}
    assert all(one > 0 for times in found.values() for one in times)


def test_what_the_proof_adds() -> None:
    # 0.9 s with the proof, 0.6 s without: 0.3 s, 1 % of 30.
    found = {name: [1.0] for name in ("file read and hashed", "file read, bfloat16")}
    table = markdown({"transfer with its proof": [0.9], "transfer alone": [0.6], **found})
    assert "| **the proof at a transfer** | 0.300 | | 1.00% |" in table
