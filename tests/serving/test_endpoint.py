"""Tests for datachef_jax/serving/endpoint.py and all behind it, by OpenAI's client."""

from concurrent import futures
import json
import math
import socket
import threading
import time

import httpx2
import numpy as np
import openai
import pytest

from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving import asked
from datachef_jax.serving import client
from datachef_jax.serving import compiler
from datachef_jax.serving import endpoint
from datachef_jax.serving import lane
from datachef_jax.serving import remote
from datachef_jax.serving import scheduler
from datachef_jax.serving import server
from datachef_jax.serving.offer import Offer

_KEY = "open sesame"
_LIMITS = asked.Limits(choices=16, seconds=60.0, max_new_tokens=32)
_BOUNDS = endpoint.Bounds(body_bytes=20_000, body_seconds=1.0)
_ABC = "abc"


@pytest.fixture(scope="module")
def compile(pieces, words):
    """Returns what compiles grammars."""
    made = compiler.Compiler(pieces, end_id=words.end_id, seconds=2.0, memory=8 * 2**30)
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(make_engine, models, pieces):
    """Returns a scheduler with two models, of which one is about to break."""
    made = scheduler.Scheduler(
        slices=lane.Slices(rounds=8, drafted_rounds=2), patience=1.0, most_requests=8
    )
    made.add("tiny", make_engine(), models[2], pieces=pieces)
    yield made
    made.close()


def _offer(words, **fields):
    least = dict(max_prompt_tokens=160, max_new_tokens=32, candidates=8, seconds=60.0)
    return Offer(**{**least, "vocabulary": words.vocabulary, **fields})


def _serve(running, words, pieces, compile, key, **fields):
    reading = asked.Reading(words, compile, _LIMITS)
    model = endpoint.Model(reading=reading, pieces=pieces, offer=_offer(words))
    app = endpoint.Endpoint(
        running, {"tiny": model}, key=key, **{"bounds": _BOUNDS} | fields
    ).app
    bound = server.listen("127.0.0.1", 0, keyed=bool(key))
    return server.Background(server.make(app, connections=64), bound), server.url(bound)


@pytest.fixture(scope="module")
def url(running, words, pieces, compile):
    """Returns where the endpoint is, which wants the key."""
    background, where = _serve(running, words, pieces, compile, _KEY)
    yield where
    background.close()


@pytest.fixture(scope="module")
def api(url):
    """Returns OpenAI's client."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=_KEY, max_retries=0)


@pytest.fixture(scope="module")
def direct(make_engine, models):
    """Returns the same model without any of it."""
    return client.Direct(make_engine(), models[2], version=0)


def _expected(direct, prompt, seeds, *, tokens=32, **fields):
    sampling = Sampling(max_new_tokens=tokens, **fields)
    return direct.generate(
        [prompt],
        group_size=len(seeds),
        seeds=np.array(seeds, np.uint32),
        sampling=sampling,
    )


def _post(url, path="/v1/completions", key=_KEY, **content):
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    headers |= content.pop("headers", {})
    return httpx2.post(url + path, headers=headers, timeout=60, **content)


def test_a_completion_is_what_the_engine_gives(api, direct, words):
    got = api.completions.create(
        model="tiny",
        prompt=_ABC,
        seed=7,
        n=3,
        max_tokens=32,
        logprobs=0,
        temperature=0.7,  # the logprobs are those before it
    )
    expected = _expected(direct, words.encode(_ABC), [7, 8, 9], temperature=0.7)
    for choice, completion in zip(got.choices, expected, strict=True):
        assert choice.text == words.decode(completion.tokens)
        reason = "stop" if completion.finished else "length"
        assert choice.finish_reason == reason
        assert tuple(choice.logprobs.token_logprobs) == completion.raw_logprobs
        assert len(choice.logprobs.text_offset) == len(completion.tokens)
    drawn = sum(len(completion.tokens) for completion in expected)
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (3, drawn)


def test_all_settings_reach_the_engine(api, direct, words):
    settings = dict(temperature=0.7, top_p=0.9, top_k=9, min_p=0.01)
    got = api.completions.create(
        model="tiny",
        prompt=words.encode(_ABC),
        seed=2**32 - 1,  # the next one is 0
        n=2,
        max_tokens=9,
        temperature=0.7,
        top_p=0.9,
        extra_body={"top_k": 9, "min_p": 0.01, "stop_token_ids": [70, 71]},
    )
    expected = _expected(
        direct,
        words.encode(_ABC),
        [2**32 - 1, 0],
        tokens=9,
        stop_ids=(70, 71),
        **settings,
    )
    texts = [words.decode(completion.tokens) for completion in expected]
    assert [choice.text for choice in got.choices] == texts


def test_several_prompts_are_answered_in_order(api):
    together = api.completions.create(
        model="tiny", prompt=["a", "bc"], n=2, max_tokens=5, temperature=0
    )
    alone = [
        api.completions.create(
            model="tiny", prompt=prompt, max_tokens=5, temperature=0
        ).choices[0]
        for prompt in ("a", "a", "bc", "bc")
    ]
    assert [c.text for c in together.choices] == [c.text for c in alone]
    assert [c.index for c in together.choices] == [0, 1, 2, 3]


def test_a_chat_is_its_template(api, direct, words):
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi <|im_end|>"}]},
    ]
    got = api.chat.completions.create(
        model="tiny", messages=messages, seed=4, logprobs=True, max_tokens=12
    )
    plain = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi <|im_end|>"},
    ]
    prompt = words.chat(plain, generation_prompt=True)
    (expected,) = _expected(direct, prompt, [4], tokens=12)
    assert got.choices[0].message.content == words.decode(expected.tokens)
    assert got.choices[0].message.role == "assistant"
    content = got.choices[0].logprobs.content
    assert tuple(each.logprob for each in content) == expected.raw_logprobs


@pytest.mark.parametrize("chat", [False, True])
def test_a_stream_adds_up_to_the_answer(api, chat):
    settings = dict(
        model="tiny", n=2, seed=11, max_tokens=32, stop=["\x05\x06never", "!"]
    )
    if chat:
        create = api.chat.completions.create
        settings |= dict(messages=[{"role": "user", "content": "x"}], logprobs=True)
        text = lambda choice: choice.delta.content
        logprobs = lambda choice: [x.logprob for x in choice.logprobs.content]
    else:
        create = api.completions.create
        settings |= dict(prompt="x", logprobs=0)
        text = lambda choice: choice.text
        logprobs = lambda choice: choice.logprobs.token_logprobs
    whole = create(**settings)
    chunks = list(
        create(**settings, stream=True, stream_options=dict(include_usage=True))
    )
    assert chunks[-1].usage == whole.usage and not chunks[-1].choices
    for expected in whole.choices:
        own = [
            c.choices[0] for c in chunks[:-1] if c.choices[0].index == expected.index
        ]
        assert len(own) > 2
        content = expected.message.content if chat else expected.text
        assert "".join(text(one) or "" for one in own) == content
        assert [one.finish_reason for one in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1].finish_reason == expected.finish_reason
        if chat:
            told = [x.logprob for x in expected.logprobs.content]
        else:
            told = expected.logprobs.token_logprobs
        assert sum(map(logprobs, own), []) == told


def test_a_stop_string_ends_the_text_before_it(api, direct, words):
    (free,) = _expected(direct, words.encode(_ABC), [1])
    whole = words.decode(free.tokens)
    stop = whole[6:8]
    got = api.completions.create(
        model="tiny", prompt=_ABC, seed=1, max_tokens=32, stop=stop
    )
    assert got.choices[0].text == whole[: whole.index(stop)]
    assert got.choices[0].finish_reason == "stop"


def test_grammars_are_kept_to(api):
    def answer(**fields):
        return api.completions.create(
            model="tiny", prompt="q", seed=5, max_tokens=32, temperature=2, **fields
        ).choices[0]

    one = answer(extra_body={"regex": "(yes|no), [0-9]{2}"})
    assert one.finish_reason == "stop"
    assert one.text[-4:-2] == ", " or one.text[-4:-2].endswith(" ")
    assert one.text.split(", ")[0] in ("yes", "no") and one.text[-2:].isdigit()
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", 3]}},
        "required": ["a", "b"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    two = api.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "q"}],
        seed=6,
        response_format=form,
    )
    said = json.loads(two.choices[0].message.content)
    assert isinstance(said["a"], bool) and said["b"] in ("x", 3)


def test_a_pattern_without_end_is_refused_and_the_next_one_is_not(api):
    with pytest.raises(openai.BadRequestError, match="takes more than 2 s") as caught:
        api.completions.create(
            model="tiny", prompt="q", extra_body={"regex": "[ab]*a[ab]{30}"}
        )
    assert caught.value.body["param"] == "regex"
    after = api.completions.create(
        model="tiny", prompt="q", extra_body={"regex": "b{3}"}
    )
    assert after.choices[0].text == "bbb"


def test_prompts_and_candidates_are_scored(api, direct, words):
    prompt = words.encode("hello")
    got = api.completions.create(
        model="tiny",
        prompt="hello",
        max_tokens=0,
        echo=True,
        logprobs=0,
        extra_body={"candidates": ["A", words.encode("B")[0]]},
    )
    (choice,) = got.choices
    candidates = words.encode("AB")
    request = Request(
        prompt=tuple(prompt), candidates=tuple(candidates), prompt_logprobs=True
    )
    ((_, part),) = direct.serve([request])
    assert choice.text == "hello"
    assert choice.logprobs.token_logprobs == [None, *part.scores.prompt]
    assert choice.logprobs.text_offset == [0, 1, 2, 3, 4]
    assert choice.candidate_logprobs == list(part.scores.candidates)


@pytest.mark.parametrize(
    "body, field, message",
    [
        ({"prompt": "x", "temprature": 1}, "temprature", "not supported"),
        ({"prompt": "x", "temperature": -1}, "temperature", "at least 0"),
        ({"prompt": "x", "temperature": math.nan}, "temperature", "at least 0"),
        ({"prompt": "x", "temperature": "hot"}, "temperature", "'hot': must be a num"),
        ({"prompt": "x", "top_p": 0}, "top_p", "above 0"),
        ({"prompt": "x", "n": 17}, "n", "n=17: must be at most 16"),
        ({"prompt": ["x"] * 9, "n": 2}, "n", "above 16"),
        ({"prompt": "x", "n": True}, "n", "an integer"),
        ({"prompt": "x", "logprobs": 5}, "logprobs", "logprobs=5: only the drawn"),
        ({"prompt": "x", "presence_penalty": 0.5}, "presence_penalty", "=0.5: is not"),
        ({"prompt": "x", "stop": ["a", ""]}, "stop", "none empty"),
        ({"prompt": "x", "best_of": 4}, "best_of", "best_of=4"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens", "without echo"),
        ({"prompt": "x", "regex": "("}, "regex", "regex"),
        ({"prompt": "x", "regex": "a", "guided_regex": "b"}, "guided_regex", "beside"),
        ({"prompt": "x", "candidates": ["AB"]}, "candidates", "one token"),
        ({"prompt": "x", "seeds": [1, 2]}, "seeds", "must be 1"),
        ({"prompt": "x", "deadline_seconds": 61}, "deadline_seconds", "at most 60"),
        ({"prompt": "x", "echo": True, "stream": True}, "stream", "no stream"),
        ({"prompt": [[1], "x", [0.5]]}, "prompt", "texts or token ids"),
        ({"prompt": []}, "prompt", "texts or token ids"),
        ({}, "prompt", "texts or token ids"),
        ({"prompt": "x", "max_tokens": 33}, None, "max_new_tokens 33"),
        ({"prompt": "x" * 161}, None, "161 tokens"),
        ({"prompt": ""}, None, "0 tokens"),
        ({"prompt": [400]}, None, "outside"),
    ],
)
def test_what_cannot_be_is_refused_by_name(url, body, field, message):
    content = json.dumps({"model": "tiny", **body})
    response = _post(url, content=content)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == field and message in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "messages", [[], "hi", [{"role": "tool", "content": "x"}], [{"role": "user"}]]
)
def test_messages_that_are_none_are_refused(url, messages):
    body = {"model": "tiny", "messages": messages}
    response = _post(url, "/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages"


def test_bodies_that_are_none_are_refused(url):
    for content in (b"", b"{", b"[1]", b"[" * 10_000, b"\xff"):
        assert _post(url, content=content).status_code == 400
    plain = _post(url, content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    assert _post(url, json={"model": "other", "prompt": "x"}).status_code == 404
    assert _post(url, "/v1/nowhere", json={}).status_code == 404
    assert _post(url, json={"model": "tiny", "prompt": "ok"}).status_code == 200


def test_without_the_key_nothing_is_told(url, api):
    wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="open sesam", max_retries=0)
    for call in (
        wrong.models.list,
        lambda: wrong.completions.create(model="tiny", prompt="x"),
    ):
        with pytest.raises(openai.AuthenticationError):
            call()
    assert httpx2.get(f"{url}/statistics").status_code == 401
    assert httpx2.get(f"{url}/health").json() == {"status": "ok"}
    assert [model.id for model in api.models.list()] == ["tiny"]


def test_a_body_is_read_no_further_than_allowed(url):
    body = {"model": "tiny", "prompt": "x" * 30_000}
    response = _post(url, json=body)
    assert response.status_code == 413
    assert "20000 bytes" in response.json()["error"]["message"]

    def endless():  # without a length
        for _ in range(10_000):
            yield b"x" * 1000

    try:
        assert _post(url, content=endless()).status_code == 413
    except httpx2.TransportError:
        pass  # hung up on


def test_a_body_that_does_not_come_is_not_waited_for(url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n"
            b"content-type: application/json\r\nauthorization: Bearer "
            + _KEY.encode()
            + b"\r\n\r\n{"
        )
        assert b" 408 " in line.recv(1000).split(b"\r\n")[0]


def _hold(running):
    """Keeps the scheduler from working until the event is set."""
    held, go = threading.Event(), threading.Event()

    def wait():
        held.set()
        go.wait(20)

    running._put(wait)
    held.wait(60)
    return go


def _figures(running):
    return running.statistics()["tiny"]


def test_a_full_queue_says_so(url, running):
    go = _hold(running)
    with futures.ThreadPoolExecutor(12) as pool:
        body = {"model": "tiny", "prompt": "x", "max_tokens": 2}
        asked = [pool.submit(_post, url, json=body) for _ in range(12)]
        while sum(one.done() for one in asked) < 4:
            time.sleep(0.01)
        go.set()
    statuses = sorted(one.result().status_code for one in asked)
    assert statuses == [200] * 8 + [429] * 4
    # All or nothing of a body's prompts.
    before = _figures(running)
    many = _post(url, json={"model": "tiny", "prompt": ["x"] * 9, "max_tokens": 2})
    assert many.status_code == 429
    assert _figures(running)["requests_running"] == 0
    assert _figures(running)["requests_done"] <= before["requests_done"] + 8


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_is_no_longer_worked_for(url, running, stream):
    before = _figures(running)["requests_cancelled"]
    go = _hold(running)
    body = {"model": "tiny", "prompt": "x", "n": 16, "max_tokens": 32, "stream": stream}
    with pytest.raises(httpx2.ReadTimeout):
        with httpx2.stream(
            "POST",
            f"{url}/v1/completions",
            json=body,
            headers={"authorization": f"Bearer {_KEY}"},
            timeout=0.5,
        ) as response:
            for _ in response.iter_bytes():
                pass
    time.sleep(0.3)  # for the server to notice
    go.set()
    figures = _figures(running)
    assert figures["requests_cancelled"] == before + 1
    assert figures["requests_running"] == figures["requests_waiting"] == 0


def test_a_deadline_is_an_error_of_its_own(url, running):
    for stream in (False, True):
        go = _hold(running)
        body = {"model": "tiny", "prompt": "x", "deadline_seconds": 0.05}
        threading.Timer(0.3, go.set).start()
        response = _post(url, json=body | {"stream": stream})
        if stream:  # its status had been sent
            assert '"code": "deadline"' in response.text
            assert "[DONE]" not in response.text
        else:
            assert response.status_code == 504
            assert response.json()["error"]["code"] == "deadline"


def test_statistics_tell_of_each_model(url):
    response = httpx2.get(
        f"{url}/statistics", headers={"authorization": f"Bearer {_KEY}"}
    )
    figures = response.json()["tiny"]
    assert figures["requests_done"] > 0 and figures["pages"] == 96


def test_without_a_key_only_this_machine_is_heard(running, words, pieces, compile):
    with pytest.raises(ValueError, match="no key"):
        server.listen("0.0.0.0", 0, keyed=False)
    with pytest.raises(ValueError, match="port 99999 is not in 0..65535"):
        server.listen("127.0.0.1", 99999, keyed=False)
    background, url = _serve(running, words, pieces, compile, "")
    try:
        body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
        assert _post(url, json=body).status_code == 200
        # A web page whose name was made to point here.
        evil = _post(url, json=body, headers={"host": "evil.example"})
        assert evil.status_code == 400
    finally:
        background.close()


@pytest.fixture
def far(url):
    made = remote.Remote(url, "tiny", key=_KEY, connections=4, seconds=30.0, retries=6)
    yield made
    made.close()


def test_a_remote_client_gives_the_same_bits(far, direct):
    prompts = [[5, 6, 7], [9] * 40, [100]]
    settings = dict(
        group_size=3,
        seeds=np.arange(9, dtype=np.uint32) * 1000,
        sampling=Sampling(max_new_tokens=20, temperature=0.8, top_k=50, stop_ids=(9,)),
    )
    told = {}
    got = far.generate(prompts, **settings, ready=told.__setitem__)
    assert got == direct.generate(prompts, **settings)
    assert [told[i] for i in range(9)] == got
    scores = far.score(prompts * 5, [5, 60])  # more than the queue has room for
    np.testing.assert_array_equal(scores, direct.score(prompts * 5, [5, 60]))
    request = Request(prompt=(5, 6, 7), prompt_logprobs=True, candidates=(8,))
    assert [part.scores for _, part in far.serve([request])] == [
        part.scores for _, part in direct.serve([request])
    ]


def test_what_the_other_side_cannot_do_is_found_before_work_starts(far, url, words):
    far.check(_offer(words))
    for name, value, message in (
        ("max_prompt_tokens", 161, "its max_prompt_tokens is 160, 161 are needed"),
        ("max_new_tokens", 33, "its max_new_tokens is 32, 33 are"),
        ("candidates", 9, "its candidates is 8, 9 are"),
        ("seconds", 60.5, "its seconds is 60.0, 60.5 are"),
        ("vocabulary", "another", "its tokenizer has another vocabulary"),
    ):
        with pytest.raises(ValueError, match=f"'tiny' at {url}/v1: {message}"):
            far.check(_offer(words, **{name: value}))
    fields = dict(key=_KEY, connections=1, seconds=5.0, retries=0)
    with pytest.raises(ValueError, match=r"has no 'huge' but \['tiny'\]"):
        remote.Remote(url, "huge", **fields).check(_offer(words))


def test_processes_ask_for_their_shares_and_all_hear_everything(
    far, direct, monkeypatch
):
    prompts, own, told = [[i] * 9 for i in range(1, 6)], threading.local(), {}
    met = threading.Barrier(2, timeout=30.0)

    def join(done, count):
        told[own.process] = done
        met.wait()
        joined = [None] * count
        for process in range(2):
            joined[process::2] = told[process]
        return joined

    monkeypatch.setattr(remote.hosts, "share", lambda items: items[own.process :: 2])
    monkeypatch.setattr(remote.hosts, "join", join)

    def work(process):
        own.process = process
        return remote.Shared(far).score(prompts, [5, 60])

    expected = direct.score(prompts, [5, 60])
    with futures.ThreadPoolExecutor(2) as pool:
        for got in pool.map(work, range(2)):
            np.testing.assert_array_equal(got, expected)
    assert [len(told[process]) for process in range(2)] == [3, 2]


def test_remote_errors_name_the_place(far, url):
    with pytest.raises(ValueError, match=rf"prompt 1: {url}.*400.*161 tokens"):
        far.score([[5], [5] * 161], [7])
    nobody = socket.create_server(("127.0.0.1", 0))
    port = nobody.getsockname()[1]
    nobody.close()
    gone = remote.Remote(
        f"http://127.0.0.1:{port}",
        "tiny",
        key="",
        connections=1,
        seconds=5.0,
        retries=1,
    )
    with pytest.raises(remote.RemoteError, match=f"127.0.0.1:{port}.*ConnectError"):
        gone.score([[5]], [7])
    wrong = remote.Remote(url, "tiny", key="no", connections=1, seconds=5.0, retries=1)
    with pytest.raises(remote.RemoteError, match="401: the key"):
        wrong.score([[5]], [7])
