"""The pool: order, seeds, row caps, retries, and the language model's channel."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from sandbox import directories
from sandbox import pool
from sandbox.program import Ending
from tests.sandbox import small


def _jobs(tmp_path, scripts, **fields):
    given = dict(verification="", sources=(), row_cap=0, seed=0) | fields
    return [
        pool.Job(processing=script, directory=tmp_path / f"job{index}", **given)
        for index, script in enumerate(scripts)
    ]


def _ask(questions):
    rows = [{"q": question} for question in questions]
    return (
        f"from aidp import *\nds = generate_dataset_with_llm({rows!r}, user_map='q')\n"
        "print([row['response'] for row in ds])"
    )


def test_results_come_in_the_order_of_the_jobs(sandbox, tmp_path):
    scripts = [
        f"import time\ntime.sleep({0.2 if i == 0 else 0})\nprint({i})" for i in range(6)
    ]
    done = []
    results = sandbox.run(_jobs(tmp_path, scripts), done.append)
    assert [result.log for result in results] == [f"{i}\n" for i in range(6)]
    assert done == [1] * 6


def test_no_jobs_are_no_results(sandbox):
    assert sandbox.run([]) == []


def test_randomness_comes_from_the_seed(run):
    script = (
        "import random, numpy, pandas, os\n"
        "print(random.random(), numpy.random.rand(), hash('a'), set('abcdef'))\n"
        "print(pandas.DataFrame({'a': range(9)}).sample(3).a.tolist())"
    )
    first, again, other = run(script, seed=1), run(script, seed=1), run(script, seed=2)
    assert first.kind == "ok" and first.log == again.log != other.log


def test_scripts_leave_nothing_to_one_another(run):
    run(
        "import json, builtins\njson.dumps = None\nbuiltins.mine = 1\n"
        "open('x', 'w').close()"
    )
    log = run(
        "import json, builtins, os\nprint(json.dumps(1), hasattr(builtins, 'mine'),"
        " os.listdir())"
    ).log
    assert log == "1 False ['data', 'tmp']\n" or log == "1 False ['tmp', 'data']\n"


def test_the_verification_script_runs_after_a_success_only(run):
    write = "open('data/processed/a.jsonl', 'w').write('x')"
    check = "assert open('data/processed/a.jsonl').read() == '{}', 'not it'"
    assert run(write, verification=check.format("x")).verification == "ok"
    failed = run(write, verification=check.format("y"))
    assert (failed.kind, failed.verification) == ("ok", "runtime_error")
    assert "not it" in failed.log and 'File "verification.py"' in failed.log
    assert run("1 / 0", verification=check).verification == ""


def test_toolkit_calls_are_recorded(run):
    script = (
        "from aidp import *\nds = load_remote_dataset('toy/numbers', split='train')\n"
        "ds = select_by_filter(ds, lambda row: row['n'] < 4)\n1 / 0"
    )
    calls = (("load_remote_dataset", 10, 10), ("select_by_filter", 10, 4))
    assert run(script).calls == calls


def test_costs_are_measured(run):
    result = run(
        "import time\nx = bytearray(2 ** 26)\ntime.sleep(0.2)\n"
        "while time.process_time() < 0.2: pass"
    )
    assert 0.2 <= result.cpu_seconds < 1.0
    assert 0.2 <= result.wall_seconds < small.LIMITS.wall_seconds
    assert result.peak_bytes > 2**26


def test_questions_of_several_recipes_share_a_batch(sandbox, model, tmp_path):
    model.seconds = 1.0  # in which the others come to ask
    results = sandbox.run(_jobs(tmp_path, [_ask([f"{i}a", f"{i}b"]) for i in range(4)]))
    assert [r.log for r in results] == [f"['a{i}', 'b{i}']\n" for i in range(4)]
    assert sum(model.batches) == 8 and max(model.batches) >= 4
    assert model.threads == {threading.main_thread()}


def test_many_and_long_questions_are_asked_in_pieces(sandbox, model, tmp_path):
    ask = (
        "from aidp import *\n"
        "ds = generate_dataset_with_llm([{{'q': {}}}] * {}, user_map='q')\n"
    )
    scripts = [
        ask.format("'x'", 300) + "print(len(ds))",
        ask.format("'ü' * 70_000", 3) + "print(len(ds), len(ds[0]['response']))",
        ask.format("'ü' * 10 ** 6", 1),
    ]
    logs = [sandbox.run(_jobs(tmp_path, [script]))[0].log for script in scripts]
    assert logs[:2] == ["300\n", "3 70000\n"]
    assert max(model.batches) <= 64
    assert "too much text in one request" in logs[2]


def test_the_quota_is_of_a_recipe_and_says_so(run):
    first = run(_ask(["x"] * 401))
    assert first.kind == "runtime_error"
    assert "a recipe may make 400 LLM calls: 384 made, 17 more asked for" in first.log
    both = run(_ask(["x"] * 390), verification=_ask(["x"] * 11))
    assert (both.kind, both.verification) == ("ok", "runtime_error")
    assert "a recipe may make 400 LLM calls: 390 made, 11 more asked for" in both.log


def test_waiting_for_answers_is_not_the_scripts_time(sandbox, model, tmp_path):
    model.seconds = small.LIMITS.wall_seconds + 0.5
    (result,) = sandbox.run(_jobs(tmp_path, [_ask(["abc"])]))
    assert (result.kind, result.log) == ("ok", "['cba']\n")
    assert result.wall_seconds < small.LIMITS.wall_seconds


def test_a_stalling_recipe_harms_only_itself(sandbox, tmp_path):
    stall = "import os, time\nos.write(3, b'\\0\\0\\1\\0{')\ntime.sleep(60)"
    flood = "import os\nwhile True: os.write(3, b'\\0\\0\\0\\2{}')"
    never_reads = (
        "from aidp import session\nimport time\n"
        "for _ in range(9): session.current().send({'ask': [[{'role': 'user',"
        " 'content': 'x' * 10 ** 5}]] * 9})\ntime.sleep(60)"
    )
    results = sandbox.run(
        _jobs(tmp_path, [stall, _ask(["ab"]), flood, never_reads, _ask(["cd"])])
    )
    kinds = [result.kind for result in results]
    assert kinds == ["timeout", "ok", "runtime_error", "runtime_error", "ok"]
    assert [results[1].log, results[4].log] == ["['ba']\n", "['dc']\n"]


@pytest.mark.parametrize(
    "question",
    [
        "[]",
        "[[]]",
        "3",
        "[[{'role': 'user'}]]",
        "[[{'role': 'x', 'content': ''}]]",
        "[[{'role': 'user', 'content': 3}]]",
        "[[{'role': 'user', 'content': '\\ud800'}]]",
    ],
)
def test_only_chats_reach_the_model(run, question):
    script = (
        "from aidp import session\ns = session.current()\n"
        f"s.send({{'ask': {question}}})\nprint(s.receive())"
    )
    assert "closed the channel" in run(script).log


def test_a_fault_of_the_model_is_raised_and_leaves_no_process(tmp_path):
    answers = []
    jobs = _jobs(tmp_path, [_ask(["x"]), "import time\ntime.sleep(60)"])
    with pool.Sandbox(
        limits=small.LIMITS, workers=2, answer=lambda _: answers
    ) as sandbox:
        with pytest.raises(ValueError, match="0 answers to 1"):
            sandbox.run(jobs)
        answers.append("y")
        assert sandbox.run(jobs[:1])[0].log == "['y']\n"


def test_a_dead_zygote_is_replaced_and_its_recipes_run_again(tmp_path):
    with pool.Sandbox(limits=small.LIMITS, workers=2, answer=small.Model()) as sandbox:
        zygote = sandbox._zygote.pid
        killer = threading.Timer(0.5, os.kill, (zygote, signal.SIGKILL))
        killer.start()
        scripts = [f"import time\ntime.sleep(1)\nprint({i})" for i in range(3)]
        results = sandbox.run(_jobs(tmp_path, scripts))
        assert sandbox._zygote.pid != zygote
    assert [result.log for result in results] == ["0\n", "1\n", "2\n"]


@pytest.mark.parametrize(
    ("call", "missing"),
    [("landlock_create_ruleset", "Landlock is missing"), ("prctl", "sandbox_error")],
)
def test_it_refuses_to_start_where_a_guard_is_missing(call, missing):
    """On a kernel that, to this program, does not know the system call."""
    program = f"""
import errno, pathlib, sys
import pyseccomp
sys.path.insert(0, {str(pathlib.Path(__file__).parents[2])!r})
from sandbox import pool
from tests.sandbox import small
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
option = [pyseccomp.Arg(0, pyseccomp.EQ, 22)] if {call!r} == "prctl" else []
rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), {call!r}, *option)
rules.load()
with pool.Sandbox(limits=small.LIMITS, workers=1, answer=small.Model()):
    print("started")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert ended.returncode == 1 and ended.stdout == ""
    assert "RuntimeError: the sandbox" in ended.stderr and missing in ended.stderr


def test_our_own_fault_is_told_from_the_recipes(run, source):
    missing = dataclasses.replace(source, path=source.path.parent / "missing")
    result = run("print(1)", sources=[missing])
    assert result.kind == "sandbox_error" and "missing" in result.log


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (Ending(status=None), "sandbox_error"),
        (Ending(status=0), "sandbox_error"),
        (Ending(status=0, ready=True), "ok"),
        (Ending(status=0, ready=True, cpu_seconds=2.0), "timeout"),
        (Ending(status=9, ready=True, killed="disk"), "disk"),
        (Ending(status=9, ready=True), "oom"),
        (Ending(status=11, ready=True), "crash"),
        (Ending(status=31, ready=True), "forbidden"),
        (Ending(status=120 << 8, ready=True), "syntax_error"),
        (Ending(status=1 << 8, ready=True), "runtime_error"),
    ],
)
def test_kinds_by_what_was_seen_from_outside(ending, kind):
    assert pool.classify(ending, cpu_seconds=2.0) == kind
    assert kind in pool.KINDS


def test_wiping_copes_with_what_scripts_leave(run, tmp_path):
    result = run(
        "import os\nfor i in range(2000): os.mkdir('d'); os.chdir('d')\n"
        "open('f', 'w').close()\nos.chdir('/'); os.chdir(os.environ['HOME'])\n"
        "os.mkdir('locked', 0); os.mkdir(b'\\xff\\n'); os.mkdir('moved-1')\n"
        "open('moved-2', 'w').close()"
    )
    assert result.kind in ("ok", "disk"), result.log
    directories.wipe(tmp_path / "job")
    assert not (tmp_path / "job").exists()
