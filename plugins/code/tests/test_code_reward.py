"""Programs judged by unit tests: right ones, wrong ones, and those that try to get out or to take everything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from burnish_code import kernel, sandbox
from burnish_code.jail import UNUSED_UID, Jail
from burnish_code.programs import Tests, program_in, read_tests
from burnish_code.reward import Code
from burnish_code.sandbox import Isolation, Output, Sandbox, isolation_here

import burnish
from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.rewards import load_reward, run_rewards
from burnish.testing import check_reward

ADD = "def add(a, b):\n    return a + b\n"
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]
PATIENT = 20.0  # seconds of the processor, so that a busy machine fails nothing


# A process of root that becomes another account, and may then write its own maps of accounts like any that was begun as one.
POWERLESS = """
import ctypes, os, sys
sys.path[:0] = sys.argv[2:]
from burnish_code import jail, kernel
os.setgroups([])
os.setgid(5678)
os.setuid(1234)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
# As many processes as it may make, each of which does nothing for a minute.
MANY = """
import os, time
made = 0
try:
    while True:
        if not os.fork():
            time.sleep(60)
        made += 1
except OSError:
    print(made, flush=True)
    os._exit(0)
"""
# The secret of the marks stands in what the interpreter that runs the tests has read.
READS_ITS_INPUT_AGAIN = """
import json, os
os.lseek(0, 0, 0)
given = json.loads(os.read(0, 10**6))
for place in range(2):
    for fd in range(3, 64):
        try:
            os.write(fd, f"{given['secret']} {place}\\n".encode())
        except OSError:
            pass
"""
# System V's memory: 50 MB, filled and let go of, eight times. It stays until the queues that it belongs to are gone.
HOARDS = """
import ctypes
C = ctypes.CDLL(None)
C.shmat.restype = ctypes.c_void_p
held = 0
for _ in range(8):
    id = C.shmget(0, 50 << 20, 0o1600)
    if id >= 0:
        at = C.shmat(id, None, 0)
        ctypes.memset(at, 1, 50 << 20)
        C.shmdt(ctypes.c_void_p(at))
        held += 50
print(held)
"""
# A process that hands all of its capabilities on, as some containers do.
GENEROUS = """
import ctypes, sys
sys.path[:0] = sys.argv[3:]
from burnish_code.sandbox import Sandbox
header, values = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
capget, capset = ctypes.CDLL(None).capget, ctypes.CDLL(None).capset
capget(header, values)
values[2], values[5] = values[1], values[4]
assert capset(header, values) == 0
sandbox = Sandbox(isolation=sys.argv[1], time_limit=20.0, memory_mb=512, processes=4)
print(sandbox.run(["-c", sys.argv[2]]).written.decode())
"""
CAPABILITIES = """
import ctypes
values = (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), values)
print([*values])
"""
UNFIT = [{"time_limit": 0}, {"memory_mb": 1}, {"processes": 0}, {"score": "some"}, {"isolation": "no"}]


@pytest.fixture(params=["namespaces", "landlock"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    try:
        return isolation_here(request.param)
    except RewardError as error:
        pytest.skip(str(error))


@pytest.fixture
def reward(isolation: Isolation) -> Code:
    return Code(isolation=isolation, time_limit=PATIENT)


def run(isolation: Isolation, program: str, time_limit: float = PATIENT, **limits: Any) -> Output:
    limits = {"memory_mb": 512, "processes": 4, **limits}
    return Sandbox(isolation=isolation, time_limit=time_limit, **limits).run(["-c", program])


def tried(isolation: Isolation, program: str, **limits: Any) -> str:
    """What came of an expression in a program: its value, or the name of the error."""
    code = f"try:\n    print({program})\nexcept BaseException as error:\n    print(type(error).__name__)"
    return run(isolation, f"import ctypes, fcntl, os, socket\n{code}", **limits).written.decode().strip()


def test_statements(reward: Code) -> None:
    said = [ADD, f"Here it is:\n```python\n{ADD}```\nDone.", ADD.replace("+", "-"), "no program at all", ADD]
    assert reward(said, tests=[TESTS] * 4 + [None]) == [1.0, 1.0, 0.0, 0.0, None]


def test_a_share_of_the_tests(isolation: Isolation) -> None:
    # a - b is right where b is 0: one of three.
    share = Code(isolation=isolation, time_limit=PATIENT, score="share")
    assert share([ADD.replace("+", "-")], tests=[[*TESTS, "assert add(5, 0) == 5"]]) == [pytest.approx(1 / 3)]


def test_input_and_output(reward: Code) -> None:
    double = "if __name__ == '__main__':\n    print(2 * int(input()))\n"
    pairs = [{"input": "1\n", "output": "2"}, {"input": "4\n", "output": "8\n"}]
    said = [double, double.replace("2 *", "3 *"), double + "raise SystemExit(1)", "print(2)"]
    assert reward(said, tests=[pairs] * 4) == [1.0, 0.0, 0.0, 0.0]


def test_columns_of_mbpp_and_humaneval() -> None:
    mbpp = read_tests({"test_list": TESTS, "test_setup_code": "import math", "tests": None})
    assert isinstance(mbpp, Tests)
    assert (mbpp.setup, mbpp.statements, len(mbpp)) == ("import math", tuple(TESTS), 2)
    humaneval = read_tests({"test": "def check(candidate):\n    assert candidate(1, 2) == 3", "entry_point": "add"})
    assert isinstance(humaneval, Tests)
    assert humaneval.statements[0].endswith("\ncheck(add)")
    assert read_tests({"test": "x", "entry_point": None}) is None
    with pytest.raises(RewardError, match="`input` and `output`"):
        read_tests({"tests": [{"in": 1}]})


def test_the_last_block_is_the_program() -> None:
    assert program_in("```python\na = 1\n```\nbetter:\n```py\nb = 2\n```") == "b = 2\n"
    assert program_in("```\nc = 3") == "c = 3"
    assert program_in("d = 4\r\n") == "d = 4\n"


@pytest.mark.parametrize(
    "program",
    [
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "print('0\\n1\\n' * 9)",
        "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'0\\n1\\n')\n    except OSError:\n        pass",
        "__builtins__['AssertionError'] = ValueError",
        "__builtins__['exec'] = print",
        "import builtins\nbuiltins.enumerate = lambda tests: [(0, ''), (1, '')]",
        "import builtins\nmine = compile('', '', 'exec')\nbuiltins.compile = lambda *_: mine",
        READS_ITS_INPUT_AGAIN,
    ],
)
def test_cheap_tricks_do_not_pass(reward: Code, program: str) -> None:
    assert reward([program], tests=[TESTS]) == [0.0]


def test_a_fork_bomb_is_held_and_gone(isolation: Isolation) -> None:
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    assert run(isolation, bomb, time_limit=1.0).code != 0
    until = time.monotonic() + 20
    while (left := list(_jailed())) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def test_processes_are_counted(isolation: Isolation) -> None:
    made = int(run(isolation, MANY, processes=4).written)
    assert made == 0 if isolation == "landlock" else 3 <= made <= 6


def test_endless_output_is_cut(isolation: Isolation) -> None:
    output = run(isolation, "while True:\n    print('x' * 1000)", output_kb=64)
    assert (output.ending, len(output.written)) == ("output", 64 * 1024)
    for more, ending in ((0, "ended"), (1, "output")):
        output = run(isolation, f"print('x' * {64 * 1024 + more}, end='')", output_kb=64)
        assert (output.ending, len(output.written)) == (ending, 64 * 1024)


def test_memory_is_limited(isolation: Isolation) -> None:
    assert tried(isolation, "len(bytearray(10 ** 9))", memory_mb=256) == "MemoryError"
    assert tried(isolation, "len(bytearray(10 ** 7))", memory_mb=256) == str(10**7)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("os.memfd_create('x')", "PermissionError"),
        ("ctypes.CDLL(None).semget(0, 32000, 0o1600)", "-1"),
        ("ctypes.CDLL(None).msgget(0, 0o1600)", "-1"),
    ],
)
def test_nothing_holds_memory_that_no_limit_counts(isolation: Isolation, call: str, said: str) -> None:
    assert tried(isolation, call) == said
    assert run(isolation, HOARDS, memory_mb=128).written == b"0\n"


def test_a_sleeper_and_a_spinner_are_stopped(isolation: Isolation) -> None:
    started = time.monotonic()
    assert run(isolation, "import time; time.sleep(600)", time_limit=0.5).ending == "time"
    assert run(isolation, "import os; os.close(1); os.close(0)\nimport time; time.sleep(600)", time_limit=0.5).ending == "time"
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    assert run(isolation, deaf, time_limit=0.5).ending == "time"
    assert run(isolation, "while True: pass", time_limit=1.0).code != 0
    assert time.monotonic() - started < 60


def test_a_spinner_has_its_seconds_of_the_processor(isolation: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends long before the clock would end it."""
    monkeypatch.setattr(sandbox, "CLOCK", 100)
    output = run(isolation, "while True: pass", time_limit=1.0)
    assert output.ending == "ended"
    assert output.code != 0


def test_the_users_files_are_out_of_reach(isolation: Isolation, tmp_path: Path) -> None:
    secret = Path.home() / f".burnish-code-test-{time.time_ns()}"
    for path in (tmp_path / "secret", secret):
        path.write_text("secret")
        try:
            found = tried(isolation, f"open({str(path)!r}).read()")
        finally:
            path.unlink()
        assert found in ("FileNotFoundError", "PermissionError")
    assert tried(isolation, "open('/etc/passwd').read()") in ("FileNotFoundError", "PermissionError")
    assert tried(isolation, "open('/proc/1/environ').read()") in ("FileNotFoundError", "PermissionError")
    known = {"HOME", "LANG", "LC_CTYPE", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH"}
    assert tried(isolation, f"sorted(set(os.environ) - {known})") == "[]"


def test_no_socket_opens(isolation: Isolation) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert tried(isolation, f"socket.create_connection({server.getsockname()!r})") == "PermissionError"
    assert tried(isolation, "socket.socket(socket.AF_UNIX)") == "PermissionError"


def test_nothing_is_written_but_scratch(isolation: Isolation, tmp_path: Path) -> None:
    assert tried(isolation, "open('/usr/hostile', 'w')") in ("OSError", "PermissionError")
    assert tried(isolation, f"open({str(tmp_path / 'hostile')!r}, 'w')") in ("FileNotFoundError", "PermissionError")
    scratch = tried(isolation, "open('/tmp/mine', 'w').write('x' * 100)")
    assert scratch == ("100" if isolation == "namespaces" else "PermissionError")
    assert not (Path("/tmp") / "mine").exists()
    if isolation == "namespaces":
        assert tried(isolation, "open('/tmp/mine', 'w').write('x' * 10 ** 8)") == "OSError"


@pytest.mark.parametrize("call", ["os.chmod({}, 0o777)", "os.utime({}, (1, 1))", "os.setxattr({}, 'user.x', b'x')"])
def test_not_even_what_is_known_of_a_file_is_changed(isolation: Isolation, tmp_path: Path, call: str) -> None:
    """Landlock does not see these calls, by which a program could open the user's files to all, or to nobody."""
    mine = tmp_path / "mine"
    mine.touch(0o600)
    assert tried(isolation, call.format(repr(str(mine)))) in ("FileNotFoundError", "PermissionError")


@pytest.mark.parametrize("isolation", ["landlock"], indirect=True)
def test_no_signal_goes_to_others_by_a_side_door(isolation: Isolation) -> None:
    """Which Landlock does not see before Linux 6.12, so these are refused even to itself. What is asked beside is not."""
    assert tried(isolation, "ctypes.CDLL(None).sigqueue(os.getpid(), 0, None)") == "-1"
    assert tried(isolation, "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getpid())") == "PermissionError"
    assert tried(isolation, "fcntl.ioctl(socket.socketpair()[0], 0x8901, b'1234')") == "PermissionError"
    assert tried(isolation, "fcntl.fcntl(os.pipe()[0], fcntl.F_GETFD)") == "1"


def test_landlock_that_lets_files_be_emptied_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "syscall", MagicMock(side_effect=[2, AssertionError("it went on")]))
    with pytest.raises(OSError, match="lets files be emptied"):
        kernel.landlock([], [])


def test_its_input_is_not_written_to(isolation: Isolation) -> None:
    assert tried(isolation, "os.write(0, b'x')") == "OSError"


@pytest.mark.parametrize("call", ["os.kill(os.getppid(), 9)", "os.kill(-1, 9)", "os.setuid(0)", "os.chroot('/tmp')"])
def test_it_has_no_power_over_others(isolation: Isolation, call: str) -> None:
    # By namespaces its parent is process 1 of its own world, which it cannot kill, and to kill all is to kill nobody else.
    assert tried(isolation, call) in ("PermissionError", "ProcessLookupError", "None")


def test_it_is_an_account_that_nobody_has(isolation: Isolation) -> None:
    """Root's programs are: by namespaces, with a group of that number and no other. Anybody else's stay who they are."""
    own = f"os.getuid() == os.getgid() > {UNUSED_UID}, os.getgroups()"
    if isolation == "landlock" or os.geteuid() != 0:
        own = f"(os.getuid(), os.getgid()) == {(os.getuid(), os.getgid())}, []"
    assert tried(isolation, f"({own})") == "(True, [])"


def test_no_capability_is_inherited(isolation: Isolation) -> None:
    places = [str(Path(module.__file__ or "").parents[1]) for module in (burnish, sandbox)]
    command = [sys.executable, "-c", GENEROUS, isolation, CAPABILITIES, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str([0] * 6), done.stderr


def test_open_files_are_limited(isolation: Isolation) -> None:
    assert tried(isolation, "len([os.dup(1) for _ in range(32)])") == "32"
    assert tried(isolation, "len([os.dup(1) for _ in range(64)])") == "OSError"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that any account gets to, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root shuts programs in as such in every other test")
def test_an_account_without_power_shuts_programs_in_too(open_folder: Path) -> None:
    """In a user namespace of its own, where it stays who it is. Account and group differ: neither stands for the other."""
    limits = {"memory_bytes": 1 << 29, "file_bytes": 1 << 20, "cpu_s": 20, "processes": 4, "number": 0}
    given = Jail(isolation="namespaces", root=str(open_folder), readable=[], command=["/usr/bin/id"], **limits)

    def powerless(then: str) -> subprocess.CompletedProcess[str]:
        places = [str(Path(module.__file__ or "").parents[1]) for module in (burnish, sandbox)]
        command = [sys.executable, "-c", POWERLESS + then, json.dumps(asdict(given)), *places]
        return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)

    if powerless("kernel.unshare(kernel.NEW_USER)").returncode:
        pytest.skip("accounts other than root cannot have user namespaces here")
    done = powerless("jail.main()")
    assert done.stdout.strip() == "uid=1234 gid=5678 groups=5678", done.stderr


def test_no_namespace_and_no_old_kind_of_call(isolation: Isolation) -> None:
    assert tried(isolation, "ctypes.CDLL(None, use_errno=True).unshare(0x10000000)") == "-1"
    assert tried(isolation, "ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0)") == "-1"


def test_without_a_sandbox_it_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation_here.cache_clear()
    monkeypatch.setattr(sandbox.Sandbox, "run", _refused)
    try:
        with pytest.raises(RewardError, match=r"so none is run \(namespaces: cannot make namespaces.*landlock: cannot"):
            Code()
    finally:
        isolation_here.cache_clear()


def test_a_sandbox_that_does_not_hold_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation_here.cache_clear()
    monkeypatch.setattr(sandbox.Sandbox, "run", lambda *_: Output(b"False\n", "ended", 0))
    try:
        with pytest.raises(RewardError, match="a program that tried to get out was not held"):
            isolation_here("landlock")
    finally:
        isolation_here.cache_clear()


@pytest.mark.parametrize("options", UNFIT)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Code(**options)


def test_it_runs_under_its_name_and_holds_what_every_reward_must() -> None:
    reward = load_reward("code", load(), options={"time_limit": PATIENT})
    found = run_rewards([reward], ["Add."], [[{"role": "assistant", "content": ADD}]], [[1]], {"tests": [TESTS]})
    assert found == {"code": [1.0]}
    rows = [{"prompt": "Add.", "completion": text, "tests": TESTS} for text in (ADD, "", "pass")]
    check_reward("code", data=rows, options={"time_limit": PATIENT}).raise_for_failures()


def _refused(self: Sandbox, *_: Any) -> Output:
    raise RewardError("cannot make namespaces" if self.isolation == "namespaces" else "cannot ask for Landlock")


def _jailed() -> Iterator[str]:
    """Processes that belong to no account of this machine."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            user = next(line for line in status.read_text().splitlines() if line.startswith("Uid:")).split()[1]
        except OSError:
            continue
        if int(user) >= UNUSED_UID:
            yield status.parent.name
