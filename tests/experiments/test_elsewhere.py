"""Tests for experiments/elsewhere.py and keys.py."""

import socket

import pytest

from configs import quickstart
from datachef_jax.serving import asked
from datachef_jax.serving import endpoint
from datachef_jax.serving import lane
from datachef_jax.serving import remote
from datachef_jax.serving import scheduler
from datachef_jax.serving import server
from datachef_jax.serving.offer import Offer
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import checks
from experiments import elsewhere
from experiments import keys
from experiments import models
from experiments.engines import Needs
from tests.experiments.conftest import ROOT

_KEY = "open sesame"


@pytest.fixture(scope="module")
def words():
    return ChatTokenizer.load(ROOT / quickstart.get_config().tokenizer)


@pytest.fixture(scope="module")
def url(words):
    """Returns where a server says that it has a model: it is asked for no more."""
    idle = scheduler.Scheduler(
        slices=lane.Slices(rounds=1, drafted_rounds=1), patience=1.0
    )
    offer = Offer(
        max_prompt_tokens=300,
        max_new_tokens=40,
        candidates=5,
        seconds=600.0,
        vocabulary=words.vocabulary,
    )
    limits = asked.Limits(choices=1, seconds=600.0, max_new_tokens=40)
    reading = asked.Reading(words, dict, limits)  # nobody asks for a grammar
    model = endpoint.Model(reading=reading, pieces=words.pieces(), offer=offer)
    bounds = endpoint.Bounds(body_bytes=100, body_seconds=1.0)
    app = endpoint.Endpoint(idle, {"mini": model}, key=_KEY, bounds=bounds).app
    bound = server.listen("127.0.0.1", 0, keyed=True)
    background = server.Background(server.make(app, connections=8), bound)
    yield server.url(bound)
    background.close()
    idle.close()


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setenv("THERE", f" {_KEY}\n")
    config = quickstart.get_config()
    config.remote.update(key_variable="THERE", seconds=30.0, retries=0)
    return config


def _client(config, section, words):
    need = Needs(config).of(section)
    return elsewhere.client(config, section, need, words, ROOT)


def test_a_url_makes_a_client_and_loads_nothing(config, url, words):
    for section in models.ELSEWHERE:
        config[section].checkpoint = f"{url}/mini"
    assert models.load_each(config, models.ELSEWHERE, words, ROOT) == [None] * 3
    for section in models.ELSEWHERE:
        client = _client(config, section, words)
        assert isinstance(client, remote.Remote)
        client.close()


def test_of_several_processes_each_asks_a_judge_for_its_share(
    config, url, words, monkeypatch
):
    config.judge.checkpoint = config.generator.checkpoint = f"{url}/mini"
    monkeypatch.setattr(elsewhere.jax, "process_count", lambda: 2)
    assert isinstance(_client(config, "judge", words), remote.Shared)
    assert isinstance(_client(config, "generator", words), remote.Remote)


def test_what_learns_here_lives_here(config, words):
    config.policy.checkpoint = "http://127.0.0.1:8000/mini"
    with pytest.raises(checks.UserError, match="config.policy.checkpoint='http:.*fold"):
        models.load_each(config, ["policy"], words, ROOT)


def test_what_cannot_serve_is_refused_by_the_field(config, url, words, monkeypatch):
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    field = "config.judge.checkpoint="
    for checkpoint, message in (
        (f"http://127.0.0.1:{port}/mini", "ConnectError"),
        (f"{url}/maxi", r"has no 'maxi' but \['mini'\]"),
        (f"{url}/", "is no http://<host>:<port>/<name"),
        ("http://mini", "is no http://<host>:<port>/<name"),
        (f"{url}/v1/mini", "404"),
        ("http://host:port/mini", "nvalid port"),
    ):
        config.judge.checkpoint = checkpoint
        with pytest.raises(checks.UserError, match=f"{field}.*{message}"):
            _client(config, "judge", words)
    config.judge.update(checkpoint=f"{url}/mini", max_prompt_tokens=301)
    with pytest.raises(checks.UserError, match=f"{field}.*is 300, 301 are needed"):
        _client(config, "judge", words)
    monkeypatch.setenv("THERE", "not the key")
    with pytest.raises(checks.UserError, match=f"{field}.*401: the key is missing"):
        _client(config, "judge", words)
    config.remote.key_variable = "NOT_SET"
    with pytest.raises(checks.UserError, match="remote.key_variable='NOT_SET': holds"):
        _client(config, "judge", words)


def test_a_key_comes_from_a_variable_or_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_KEY", " secret\n")
    assert keys.read("serve", "SOME_KEY", "", ROOT) == "secret"
    (tmp_path / "key").write_text("another\n")
    assert keys.read("serve", "", "key", tmp_path) == "another"
    assert keys.read("serve", "", "", ROOT) == ""
    monkeypatch.setenv("SOME_KEY", "se\ncret")
    with pytest.raises(checks.UserError, match="not printable"):
        keys.read("serve", "SOME_KEY", "", ROOT)
    with pytest.raises(checks.UserError, match="serve.key_file='key': beside a"):
        keys.read("serve", "SOME_KEY", "key", tmp_path)
