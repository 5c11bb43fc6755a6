"""The pool: order, seeds, row caps, retries, and the language model's channel."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from sandbox import job
from sandbox import layout as layouts
from sandbox import verdict
from sandbox.program import Ending
from tests.sandbox import small


def _ask(questions):
    rows = [{"q": question} for question in questions]
    return (
        f"from aidp import *\nds = generate_dataset_with_llm({rows!r}, user_map='q')\n"
        "print([row['response'] for row in ds])"
    )


def test_results_come_in_the_order_of_the_jobs(sandbox):
    scripts = [
        f"import time\ntime.sleep({0.2 if i == 0 else 0})\nprint({i})" for i in range(6)
    ]
    done = []
    results = sandbox.run(small.jobs(scripts), done.append)
    assert [result.log.split("\n")[0] for result in results] == list("012345")
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
    assert first.kind == "no_output" and first.log == again.log != other.log


def test_scripts_leave_nothing_to_one_another(run):
    run(
        "import json, builtins\njson.dumps = None\nbuiltins.mine = 1\n"
        "open('x', 'w').close()"
    )
    log = run(
        "import json, builtins, os\nprint(json.dumps(1), hasattr(builtins, 'mine'),"
        " os.listdir())"
    ).log
    assert log.startswith(("1 False ['data', 'tmp']\n", "1 False ['tmp', 'data']\n"))


def test_the_verification_script_runs_after_a_success_only(run):
    check = "assert open('data/processed/a.jsonl').read(8) == {!r}, 'not it'"
    good = run(small.WRITE, verification=check.format('{"dialog'))
    assert (good.kind, good.verification, good.output.rows) == ("ok", "ok", [small.ROW])
    failed = run(small.WRITE, verification=check.format("y"))
    assert (failed.kind, failed.verification) == ("ok", "runtime_error")
    assert "not it" in failed.log and 'File "verification.py"' in failed.log
    for script in ("1 / 0", "pass", small.WRITE.replace("dialogs", "\\n")):
        assert run(script, verification=check).verification == ""


def test_what_the_verification_script_does_to_the_rows_is_too_late(run):
    write = "open('data/processed/a.jsonl', 'w').write('{}')"
    assert run(small.WRITE, verification=write).output.rows == [small.ROW]


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


def test_several_recipes_ask_at_the_same_time(sandbox, model):
    model.seconds = 0.5  # in which the others come to ask
    results = sandbox.run(small.jobs([_ask([f"{i}a", f"{i}b"]) for i in range(4)]))
    logs = [r.log.split("\n")[0] for r in results]
    assert logs == [f"['a{i}', 'b{i}']" for i in range(4)]
    assert model.batches == [2] * 4 and model.most == 4


def test_many_and_long_questions_are_asked_in_pieces(sandbox, model):
    ask = (
        "from aidp import *\n"
        "ds = generate_dataset_with_llm([{{'q': {}}}] * {}, user_map='q')\n"
    )
    scripts = [
        ask.format("'x'", 300) + "print(len(ds))",
        ask.format("'ü' * 70_000", 3) + "print(len(ds), len(ds[0]['response']))",
        ask.format("'ü' * 10 ** 6", 1),
    ]
    logs = [sandbox.run(small.jobs([script]))[0].log for script in scripts]
    assert [log.split("\n")[0] for log in logs[:2]] == ["300", "3 70000"]
    assert max(model.batches) <= 64
    assert "too much text in one request" in logs[2]


def test_the_quota_is_of_a_recipe_and_says_so(run):
    first = run(_ask(["x"] * 401))
    assert first.kind == "runtime_error"
    assert "a recipe may make 400 LLM calls: 384 made, 17 more asked for" in first.log
    first = f"{small.WRITE}\n{_ask(['x'] * 390)}"
    both = run(first, verification=_ask(["x"] * 11))
    assert (both.kind, both.verification) == ("ok", "runtime_error")
    assert "a recipe may make 400 LLM calls: 390 made, 11 more asked for" in both.log


def test_tokens_and_waiting_have_quotas_which_say_so(model):
    limits = dataclasses.replace(small.LIMITS, llm_tokens=5, llm_seconds=1.0)
    with small.started(limits=limits, answer=model) as sandbox:
        twice = _ask(["abcde"]) + "\n" + _ask(["f"])
        (result,) = sandbox.run(small.jobs([twice]))
        assert "may have 5 tokens of LLM answers: 5 received" in result.log
        model.seconds = 1.5
        catch = "\ntry:\n  {}\nexcept RuntimeError as error: print(error)"
        patient = catch.format(_ask(["a"]).replace("\n", "\n  ")) + f"\n{small.WRITE}"
        (result,) = sandbox.run(small.jobs([patient]))
    assert result.kind == "ok" and result.wall_seconds < 1.0
    assert "may wait 1 s for LLM answers: 1.0 s waited" in result.log


def test_waiting_for_answers_is_not_the_scripts_time(sandbox, model):
    model.seconds = small.LIMITS.wall_seconds + 0.5
    (result,) = sandbox.run(small.jobs([_ask(["abc"])]))
    assert result.log.startswith("['cba']\n")
    assert result.wall_seconds < small.LIMITS.wall_seconds


def test_a_stalling_recipe_harms_only_itself(sandbox):
    stall = "import os, time\nos.write(3, b'\\0\\0\\1\\0{')\ntime.sleep(60)"
    flood = "import os\nwhile True: os.write(3, b'\\0\\0\\0\\2{}')"
    never_reads = (
        "from aidp import session\nimport time\n"
        "for _ in range(9): session.current().send({'ask': [[{'role': 'user',"
        " 'content': 'x' * 10 ** 5}]] * 9})\ntime.sleep(60)"
    )
    results = sandbox.run(
        small.jobs([stall, _ask(["ab"]), flood, never_reads, _ask(["cd"])])
    )
    kinds = [result.kind for result in results]
    assert kinds == ["timeout", "no_output", *["runtime_error"] * 2, "no_output"]
    logs = [results[i].log.split("\n")[0] for i in (1, 4)]
    assert logs == ["['ba']", "['dc']"]


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


def test_a_fault_of_the_model_is_raised_and_leaves_no_process():
    answers = []
    jobs = small.jobs([_ask(["x"]), "import time\ntime.sleep(60)"])
    with small.started(answer=lambda _: answers) as sandbox:
        start = time.monotonic()
        with pytest.raises(ValueError, match="0 answers to 1"):
            sandbox.run(jobs)
        answers.append(("y", 1))
        for _ in range(3):  # also where the sleeper was
            assert sandbox.run(jobs[:1])[0].log.startswith("['y']\n")
        assert time.monotonic() - start < small.LIMITS.wall_seconds


@pytest.mark.parametrize("who", ["supervisor", "zygote"])
def test_who_dies_is_replaced_and_its_recipes_run_again(who):
    with small.started() as sandbox:
        (pair,) = sandbox._free
        pid = pair.pid if who == "supervisor" else pair.zygote
        killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
        killer.start()
        scripts = [f"import time\ntime.sleep(1)\nprint({i})" for i in range(3)]
        results = sandbox.run(small.jobs(scripts))
        assert [result.log.split("\n")[0] for result in results] == ["0", "1", "2"]
        assert (sandbox.supervisors == [pair.pid]) == (who == "zygote")


def test_a_recipe_whose_zygote_dies_while_it_verifies_begins_anew():
    verification = "import time\ntime.sleep(1)\nassert False, 'verified'"
    with small.started() as sandbox:
        (pair,) = sandbox._free
        killer = threading.Timer(0.5, os.kill, (pair.zygote, signal.SIGKILL))
        killer.start()
        (result,) = sandbox.run(small.jobs([small.WRITE], verification=verification))
    assert (result.kind, result.verification) == ("ok", "runtime_error")
    assert "verified" in result.log and result.output.rows == [small.ROW]


def test_a_recipe_that_takes_its_supervisor_along_is_our_fault():
    with small.started() as sandbox:

        def kill():
            while not stop.wait(0.4):
                for pid in sandbox.supervisors:
                    os.kill(pid, signal.SIGKILL)

        stop = threading.Event()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            (result,) = sandbox.run(small.jobs(["import time\ntime.sleep(4)"]))
        finally:
            stop.set()
            killer.join()
    assert result.kind == "sandbox_error" and "supervisor died" in result.log


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
from tests.sandbox import small
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
option = [pyseccomp.Arg(0, pyseccomp.EQ, 22)] if {call!r} == "prctl" else []
rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), {call!r}, *option)
rules.load()
with small.only(small.PLAIN), small.started():
    print("started")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert ended.returncode == 1 and ended.stdout == ""
    assert "CannotStart: the sandbox" in ended.stderr and missing in ended.stderr


@pytest.mark.parametrize("layout", small.available(), ids=str)
def test_what_a_layout_lacks_stands_in_every_result(layout):
    with small.only(layout), small.started() as sandbox:
        (result,) = sandbox.run(small.jobs([small.WRITE]))
    assert result.kind == "ok" and result.lost == layout.lost
    assert sandbox.isolation["layout"] == str(layout)
    assert set(sandbox.isolation["lost"]) == set(layout.lost)


def test_a_guarantee_that_is_required_and_lost_is_a_reason_not_to_start():
    made = small.started(require=("namespaces",))
    with small.only(small.PLAIN), pytest.raises(RuntimeError, match="to hold 'namesp"):
        made.__enter__()
    with pytest.raises(ValueError, match="'name_spaces' is none of"):
        small.started(require=("name_spaces",))


def test_where_no_layout_holds_each_says_why(monkeypatch):
    monkeypatch.setattr(layouts, "obstacle", lambda layout, _: f"no {layout}")
    with pytest.raises(RuntimeError, match="(?s)cannot start:.*one user id: no "):
        small.started().__enter__()


def test_scripts_see_the_packages_that_they_may_import_and_no_others(run):
    assert run(f"import pandas, regex, pyarrow, tqdm\n{small.WRITE}").kind == "ok"
    for name in ("jax", "flax", "ml_collections"):
        assert "ModuleNotFoundError" in run(f"import {name}").log
    with pytest.raises(ValueError, match="recipes are to import.*no_such_package"):
        small.started(importable=("no_such_package",))


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
    assert verdict.classify(ending, cpu_seconds=2.0) == kind
    assert kind in job.KINDS


def test_wiping_copes_with_what_scripts_leave(run):
    script = (
        "import os\nfor i in range(2000): os.mkdir('d'); os.chdir('d')\n"
        "open('f', 'w').close()\nos.chdir('/'); os.chdir(os.environ['HOME'])\n"
        "os.mkdir('locked', 0); os.mkdir(b'\\xff\\n'); os.mkdir('moved-1')\n"
        "open('moved-2', 'w').close()"
    )
    for _ in range(4):  # in every slot, so that one of them is used again below
        result = run(script)
        assert result.kind in ("no_output", "disk"), result.log
    log = run("import os\nprint(sorted(os.listdir()))").log
    assert log.startswith("['data', 'tmp']\n")


def test_a_script_that_is_too_long_says_so(run):
    log = run("#" * (small.LIMITS.script_bytes + 1)).log
    assert log == "processing.py has 65537 bytes, at most 65536\n"


def test_what_a_recipe_writes_is_counted(run):
    result = run(f"open('x', 'wb').write(bytes(10 ** 6))\n{small.WRITE}")
    assert 10**6 <= result.written_bytes < 2 * 10**6
