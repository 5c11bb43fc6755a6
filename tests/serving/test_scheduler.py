"""Tests for datachef_jax/serving/scheduler.py, and for the lanes that it runs."""

from concurrent import futures
import threading

import jax
import numpy as np
import pytest

from datachef_jax.parallel import sharding
from datachef_jax.sampling import grammar
from datachef_jax.sampling import shards
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving import client
from datachef_jax.serving import reader
from datachef_jax.serving import ticket as tickets

_SECONDS = 120.0  # after which a test that waits has failed


def _request(text, *seeds, tokens=20, words=None, **fields):
    sampling = Sampling(max_new_tokens=tokens, temperature=1.0)
    prompt = tuple(3 + byte for byte in text.encode())
    return Request(prompt=prompt, seeds=seeds, sampling=sampling, **fields)


@pytest.fixture(scope="module")
def direct(make_engine, models):
    """Returns what one thread alone gets of a request."""
    made = client.Direct(make_engine(), models[2], version=0)

    def answer(request):
        return tuple(
            part.completion
            for _, part in sorted(made.serve([request]), key=lambda p: p[1].sample)
        )

    return answer


def test_many_threads_get_what_each_would_alone(start, direct, models):
    made = start("a", "b")
    requests = [_request(f"question {i}", i, 100 + i, tokens=9) for i in range(12)]

    def ask(i):
        return made.submit("ab"[i % 2], requests[i]).result(_SECONDS).completions

    with futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    assert answers == [direct(request) for request in requests]


def test_a_completion_leaves_while_others_decode(start):
    made = start(rounds=1000)
    slow = made.submit("model", _request("x", 1, tokens=32))
    short = _request("x", 1, tokens=2)
    # What it does is done before the next slice, and too late in the same one.
    quick = made.submit("model", short, listen=lambda _: slow.cancel())
    quick.result(_SECONDS)
    with pytest.raises(tickets.Cancelled):
        slow.result(_SECONDS)


def _hold(made):
    """Keeps the scheduler's thread from working until the event is set."""
    held, go = threading.Event(), threading.Event()

    def wait():
        held.set()
        go.wait(_SECONDS)

    made._put(wait)
    held.wait(_SECONDS)
    return go


def _order(made, jobs):
    """Hands in (model, request) while nothing works; returns who ends when."""
    order = []
    go = _hold(made)
    asked = [
        made.submit(name, request, listen=lambda event, i=i: order.append(i))
        for i, (name, request) in enumerate(jobs)
    ]
    go.set()
    for one in asked:
        one.result(_SECONDS)
    return order


def test_the_smaller_priority_goes_first_in_and_among_engines(start):
    made = start("rollouts", "judge", "recipes")
    last, middle, first = (
        _request("abc", 5, tokens=12, priority=priority) for priority in (2, 1, 0)
    )
    jobs = [("recipes", last), ("judge", middle), ("rollouts", first)]
    assert _order(made, jobs) == [2, 1, 0]
    many = [("judge", _request(f"{i}", i, priority=1, tokens=8)) for i in range(8)]
    late = ("judge", _request("late", 7, priority=0, tokens=8))
    order = _order(made, [*many, *many, late])
    assert order.index(16) < 8


def test_a_less_urgent_engine_waits_for_a_bounded_time(start):
    made = start("rollouts", "judge", patience=1e-6)
    slow = _request("abc", *range(64), tokens=32, priority=0)
    quick = _request("abc", 5, tokens=2, priority=9)
    go = _hold(made)
    busy = made.submit("rollouts", slow)
    served = made.submit("judge", quick, listen=lambda _: ended.append(busy.done))
    ended = []
    go.set()
    served.result(_SECONDS)
    busy.result(_SECONDS)
    assert ended == [False]


def test_a_request_past_its_deadline_ends_with_what_it_has(start):
    made = start(rounds=1, drafted_rounds=1)
    heard = []
    endless = _request("some", *range(64), tokens=32)

    def slow(event):
        heard.append(event)
        threading.Event().wait(0.01)  # so that it cannot be done in time

    late = made.submit("model", endless, seconds=0.3, listen=slow, drafts=True)
    with pytest.raises(tickets.DeadlinePassed, match="0.3 s") as caught:
        late.result(_SECONDS)
    begun = [one for one in caught.value.partial if one is not None]
    assert begun and any(one.ended == "running" and one.tokens for one in begun)
    assert isinstance(heard[-1], tickets.DeadlinePassed)
    figures = made.statistics()["model"]
    assert figures["requests_expired"] == 1 and figures["requests_running"] == 0


def test_a_deadline_passes_while_waiting_too(start):
    made = start("rollouts", "judge")
    go = _hold(made)
    busy = made.submit("rollouts", _request("a", 1, tokens=32))
    late = made.submit("judge", _request("b", 1, priority=9), seconds=0.01)
    threading.Event().wait(0.05)
    go.set()
    with pytest.raises(tickets.DeadlinePassed):
        late.result(_SECONDS)
    assert busy.result(_SECONDS).completions


def test_what_is_cancelled_frees_its_pages_and_harms_nobody(start, direct):
    made = start(rounds=1)
    begun = threading.Event()
    unwanted = made.submit(
        "model",
        _request("gone", *range(64), tokens=32),
        listen=lambda _: begun.set(),
        drafts=True,
    )
    other = _request("stays", 3, 4)
    wanted = made.submit("model", other)
    begun.wait(_SECONDS)
    unwanted.cancel()
    with pytest.raises(tickets.Cancelled):
        unwanted.result(_SECONDS)
    assert wanted.result(_SECONDS).completions == direct(other)
    made.submit("model", _request("z", 1, tokens=1)).result(_SECONDS)
    figures = made.statistics()["model"]
    assert (figures["requests_cancelled"], figures["pages_in_use"]) == (1, 0)
    unwanted.cancel()  # once more does no harm
    assert made.statistics()["model"]["requests_cancelled"] == 1


def test_more_requests_than_the_bound_are_refused(start):
    made = start(most_requests=2)
    go = _hold(made)
    first, second = (made.submit("model", _request("a", i)) for i in range(2))
    with pytest.raises(tickets.QueueFull, match="2 requests to model"):
        made.submit("model", _request("a", 3))
    go.set()
    first.result(_SECONDS), second.result(_SECONDS)
    assert made.submit("model", _request("a", 3)).result(_SECONDS).completions


@pytest.mark.parametrize("seed", [1, 2])
def test_stop_strings_cut_at_the_same_place_whatever_the_slice(
    start, direct, pieces, seed
):
    request = _request("stop", seed, seed + 50, tokens=32)
    free = direct(request)
    whole = reader.Reader(pieces, ())
    whole.read(free[0].tokens)
    assert len(whole.text) > 9
    stops = (whole.text[5:8], "never there")
    answers = []
    for rounds in (1, 3, 1000):
        made = start(drafted_rounds=rounds)
        answer = made.submit("model", request, stop_strings=stops).result(_SECONDS)
        answers.append(answer.completions)
    assert answers[0] == answers[1] == answers[2]
    cut, kept = answers[0][0], free[0].tokens
    assert cut.tokens == kept[: len(cut.tokens)] and cut.ended == "end"
    text = reader.Reader(pieces, stops)
    text.read(cut.tokens)
    assert text.stopped and text.text == whole.text[: whole.text.index(stops[0])]
    shorter = reader.Reader(pieces, stops)
    shorter.read(cut.tokens[:-1])
    assert not shorter.stopped


def test_drafts_grow_into_the_completion(start):
    made = start(drafted_rounds=2)
    heard = []
    ticket = made.submit(
        "model", _request("abc", 7, tokens=32), listen=heard.append, drafts=True
    )
    (done,) = ticket.result(_SECONDS).completions
    drafts = [part.completion.tokens for part in heard[:-1]]
    assert len(drafts) > 3 and drafts == sorted(drafts, key=len)
    assert all(done.tokens[: len(draft)] == draft for draft in drafts)
    assert heard[-1].last and heard[-1].completion == done


def test_new_weights_count_from_the_next_slice_without_recompiling(
    start, models, make_engine
):
    made = start()
    request = _request("weights", 3, 4)
    before = made.submit("model", request).result(_SECONDS)
    compiled = shards.run._cache_size()
    made.set_params("model", models[3], version=1)
    after = made.submit("model", request).result(_SECONDS)
    alone = client.Direct(make_engine(), models[3], version=1)
    assert after != before and shards.run._cache_size() == compiled
    expected = [part.completion for _, part in alone.serve([request])]
    assert set(after.completions) == set(expected)
    assert after.completions[0].versions == (1,) * len(after.completions[0].tokens)
    assert made.statistics()["model"]["version"] == 1


def test_an_engine_that_fails_takes_all_its_requests_and_no_others(start, direct):
    made = start("broken", "whole")
    go = _hold(made)
    asked = [made.submit("broken", _request("a", i)) for i in range(3)]
    other = made.submit("whole", _request("a", 1))
    made._lanes["broken"].params = None  # as if they had been given away
    go.set()
    errors = [one._future.exception(_SECONDS) for one in asked]
    assert errors[0] is not None and errors[0] is errors[1] is errors[2]
    assert other.result(_SECONDS).completions == direct(_request("a", 1))
    with pytest.raises(type(errors[0])):
        made.submit("broken", _request("a", 9)).result(_SECONDS)
    assert made.failures() == {"broken": errors[0]}
    assert set(made.statistics()) == {"whole"}


def test_a_listener_that_raises_ends_its_own_request_alone(start, direct):
    made = start(most_requests=2)

    def raises(event):
        raise KeyError("mine")

    bad = made.submit("model", _request("a", 1, 2, 3), listen=raises)
    good = made.submit("model", _request("b", 1))
    with pytest.raises(KeyError, match="mine"):
        bad.result(_SECONDS)
    assert good.result(_SECONDS).completions == direct(_request("b", 1))
    assert made._call(lambda: made._open) == {"model": 0}


def test_more_grammars_than_slots_wait_for_one_another(start, pieces, words):
    made = start()  # one slot
    patterns = ("a{3}", "(xy){2}", "[0-9]{5}")
    asked = []
    for pattern in patterns:
        held = grammar.compile_regex(pattern, pieces, end_id=words.end_id)
        sampling = Sampling(max_new_tokens=12, temperature=1.0, grammar=held)
        request = Request(prompt=(9, 9), seeds=(1,), sampling=sampling)
        asked.append(made.submit("model", request))
    texts = [words.decode(one.result(_SECONDS).completions[0].tokens) for one in asked]
    assert texts[:2] == ["aaa", "xyxy"] and texts[2].isdigit()


def test_a_closed_scheduler_leaves_nobody_waiting(start):
    made = start()
    go = _hold(made)
    waiting = [made.submit("model", _request("a", i)) for i in range(3)]
    threading.Timer(0.05, go.set).start()
    made.close()
    for one in waiting:
        assert one.done or one.result(0)
    with pytest.raises(tickets.Closed):
        made.submit("model", _request("a", 1))
    with pytest.raises(tickets.Closed):
        made.statistics()


def test_requests_that_cannot_be_are_refused(start):
    made = start()
    with pytest.raises(ValueError, match="priority 32"):
        made.submit("model", _request("a", 1, priority=32))
    with pytest.raises(ValueError, match="empty stop string"):
        made.submit("model", _request("a", 1), stop_strings=("",))
    with pytest.raises(ValueError, match="161 tokens"):
        made.submit("model", _request("x" * 161, 1)).result(_SECONDS)
    with pytest.raises(ValueError, match="prompt 1: .*0 tokens"):
        made.client("model", priority=0).score([[5], []], [7])
    assert made.statistics()["model"]["requests_running"] == 0


def test_it_works_on_the_mesh_that_was_set_where_it_was_made(models, start):
    mesh = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        made = start()
        seen = made._call(jax.sharding.get_mesh)
    assert seen == mesh
    assert start()._call(jax.sharding.get_mesh).empty


def test_figures_add_up(start):
    made = start()
    prompt = _request("x" * 64, 1, 2, tokens=4)
    lengths = []
    for _ in range(2):
        answer = made.submit("model", prompt).result(_SECONDS)
        lengths += [len(one.tokens) for one in answer.completions]
    figures = made.statistics()["model"]
    assert figures["requests_done"] == 2 and figures["requests_waiting"] == 0
    assert 0.3 < figures["prefix_hit_share"] < 0.5  # 48 of 64, the second time
    rate = sum(lengths) / figures["device_seconds"]
    np.testing.assert_allclose(figures["tokens_per_second"], rate, rtol=1e-6)
    assert 0 < figures["queue_seconds_mean"] <= figures["queue_seconds_max"]
