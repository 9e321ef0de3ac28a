"""Programs out of completions, tests out of rows. In: text and columns. Out: what is to be run, and what passes.

There are two kinds of test. A statement, such as `assert f(1) == 2`, runs after the program in the same interpreter. A pair of
input and output is a run of its own, whose output is compared outside of it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.errors import RewardError
from burnish_code.sandbox import Sandbox

FENCED = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
# Output and errors go nowhere, apart from the marks of tests that passed. Their secret is out of the program's sight as long as
# it does not search the interpreter that runs it: its input can be read once only, and what the tests are run with is the
# interpreter's own, whatever the program calls by these names.
STATEMENTS = """
import json, os, sys
def run(compile=compile, enumerate=enumerate, exec=exec, write=os.write):
    given = json.loads(sys.stdin.buffer.read())
    marks = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(silence, standard)
    space = {"__name__": "__program__"}
    try:
        for text in (given["setup"], given["program"]):
            exec(compile(text, "program", "exec"), space)
    except BaseException:
        return
    for place, test in enumerate(given["tests"]):
        try:
            exec(compile(test, "test", "exec"), space)
        except BaseException:
            continue
        write(marks, f"{given['secret']} {place}\\n".encode())
run()
"""
# The program comes before its input, in the same file, so that neither has to fit into an argument.
WHOLE = """
import os, sys
def text():
    read = b""
    while len(read) < int(sys.argv[1]):
        read += os.read(0, int(sys.argv[1]) - len(read))
    return read
exec(compile(text(), "program", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Tests:
    """Tests of one row. setup: run before the program. statements and pairs: of input and output; one of them is empty."""

    setup: str
    statements: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.statements) + len(self.pairs)

    def passed(self, program: str, sandbox: Sandbox, *, all_or_nothing: bool) -> int:
        """How many the program passes. all_or_nothing: stop at the first that it does not."""
        if self.statements:
            secret = secrets.token_hex(16)
            given = {"setup": self.setup, "program": program, "tests": self.statements, "secret": secret}
            output = sandbox.run(["-c", STATEMENTS], json.dumps(given).encode())
            marks = set(output.written.decode(errors="replace").split("\n"))
            return sum(f"{secret} {place}" in marks for place in range(len(self.statements)))
        count = 0
        for text, wanted in self.pairs:
            whole = f"{self.setup}\n{program}".encode(errors="replace")
            output = sandbox.run(["-c", WHOLE, str(len(whole))], whole + text.encode(errors="replace"))
            right = output.ending == "ended" and output.code == 0 and _same(output.written.decode(errors="replace"), wanted)
            if all_or_nothing and not right:
                break
            count += right
        return count


def program_in(text: str) -> str:
    """The last fenced block of a completion, else all of it; line ends as Python wants them."""
    blocks = FENCED.findall(text)
    return (blocks[-1] if blocks else text).replace("\r\n", "\n")


COLUMNS = ("tests", "test_list", "test_setup_code", "test", "entry_point")
"""What `read_tests` reads of a row."""


def read_tests(row: Mapping[str, Any]) -> Tests | None:
    """The tests in a row's columns, None where there are none.

    `tests`: statements, or mappings with `input` and `output`; or MBPP's `test_list` and `test_setup_code`; or HumanEval's
    `test` and `entry_point`.
    """
    given = row.get("tests") or row.get("test_list")
    setup = str(row.get("test_setup_code") or "")
    if not given and row.get("test") and row.get("entry_point"):
        given = [f"{row['test']}\ncheck({row['entry_point']})"]
    if not given:
        return None
    if isinstance(given, str):
        given = [given]
    if all(isinstance(one, str) for one in given):
        return Tests(setup, tuple(given), ())
    try:
        return Tests(setup, (), tuple((str(one["input"]), str(one["output"])) for one in given))
    except (KeyError, TypeError):
        raise RewardError(f"a test is a statement, or has `input` and `output`; this row has {_shown(given)}") from None


def _same(written: str, wanted: str) -> bool:
    """Whether two outputs are equal apart from space at the ends of lines and of the whole."""
    one, other = ([line.rstrip() for line in text.strip().splitlines()] for text in (written, wanted))
    return one == other


def _shown(given: Sequence[Any]) -> str:
    return repr(given)[:200]
