"""Tests for experiments/serve.py: the command of the README, and what it refuses."""

import json
import pathlib
import re
import signal

import openai
import pytest

from configs import serve as config_file
from datachef_jax.text import tokenizer
from experiments import checks
from experiments import run

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = f"--config={_ROOT / 'configs' / 'serve.py'}"


def _end(process):
    """Ends a server as a machine that goes away does."""
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return stdout


@pytest.mark.slow
def test_it_serves_until_it_is_told_to_stop(start_run, tmp_path):
    key = tmp_path / "key"
    key.write_text("a secret\n")
    workdir = tmp_path / "run"
    process = start_run(
        _CONFIG,
        f"--workdir={workdir}",
        "--config.serve.port=0",
        "--config.engine.max_prompt=128",
        "--config.engine.max_new_tokens=64",
        f"--config.serve.key_file={key}",
        cwd=tmp_path,
    )
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        (url,) = re.findall(r"at (http://127\.0\.0\.1:[0-9]+/v1);", lines[1])
        assert lines[2].startswith(f"curl {url}/completions")
        api = openai.OpenAI(base_url=url, api_key="a secret", max_retries=0)
        prompt = "What is 2 + 3?"
        answer = api.completions.create(
            model="mini-judge", prompt=prompt, temperature=0, max_tokens=8
        )
        assert 0 < answer.usage.completion_tokens <= 8
        words = tokenizer.ChatTokenizer.load(_ROOT / config_file.get_config().tokenizer)
        assert answer.usage.prompt_tokens == len(words.encode(prompt))
        chat = api.chat.completions.create(
            model="mini-judge",
            messages=[{"role": "user", "content": prompt}],
            response_format={"type": "json_object"},
            temperature=0,
            max_tokens=64,
        )
        assert chat.choices[0].message.content.startswith("{")
    finally:
        stdout = _end(process)
    assert "Told to stop" in stdout
    figures = json.loads((workdir / "statistics.json").read_text())
    assert figures["mini-judge"]["requests_done"] == 3  # and the warming up
    assert "a secret" not in (workdir / "config.json").read_text()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"serve.host": "0.0.0.0"}, "config.serve=.*0.0.0.0 can be called from else"),
        ({"serve.key_variable": "NOT_SET"}, "key_variable='NOT_SET': holds no key"),
        ({"serve.key_file": "not/there"}, "config.serve.key_file='not/there': .*No su"),
        ({"policy.checkpoint": "none"}, "config.policy.checkpoint='none'"),
        ({"limits.requests": 0}, "config.limits.requests=0: must be at least 1"),
    ],
)
def test_what_cannot_be_served_is_refused(fields, message, tmp_path):
    config = config_file.get_config()
    config.serve.port = 0
    config.mesh.data = -1
    config.update_from_flattened_dict(fields)
    with pytest.raises(checks.UserError, match=message):
        run._run(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
