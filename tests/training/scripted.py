"""A training run small enough for tests: real model, engine and update.

Only the recipe's world is scripted. A "recipe" is the sampled text itself, its dataset
one row per ASCII letter in it, and its score the share of letters among its characters.

    python tests/training/scripted.py WORKDIR STEPS

runs it on its own, for tests that kill it.
"""

import functools
import pathlib
import string
import sys

from flax import nnx
import grain
import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from datachef_jax import types  # noqa: E402
from datachef_jax.rl import advantages  # noqa: E402
from datachef_jax.rl import logprobs  # noqa: E402
from datachef_jax.rl import rewards  # noqa: E402
from datachef_jax.rl import update  # noqa: E402
from datachef_jax.recipes.turns import Turns  # noqa: E402
from datachef_jax.training import alarm  # noqa: E402
from datachef_jax.training import conversation  # noqa: E402
from datachef_jax.training import loop  # noqa: E402
from datachef_jax.training import optimizer  # noqa: E402
from datachef_jax.training import state  # noqa: E402
from datachef_jax.training import step  # noqa: E402
from datachef_jax.training import unfinished  # noqa: E402
from datachef_jax.training import writing  # noqa: E402
from tests import blank  # noqa: E402
from tests import engines  # noqa: E402
from tests import objectives  # noqa: E402
from tests import tiny  # noqa: E402

GROUP, BUCKET, NEW = 8, 16, 6
EVERY_STEPS = 2
TOKENIZER = tiny.byte_tokenizer()
ONE_ANSWER = Turns(apart=False, retries=0, error_chars=9, scripts_request="")
policy = functools.cache(functools.partial(tiny.model, 0))


def tasks() -> grain.DatasetIterator:
    """Returns an endless stream of two of five tasks at a time."""
    data = grain.MapDataset.source([blank.task(f"task {name}") for name in "abcde"])
    stream = data.shuffle(seed=1).repeat().batch(2, batch_fn=list)
    return iter(stream.to_iter_dataset())


def execute(asked, texts, seeds):
    """Turns every letter into a row; a text without any has failed."""
    del asked, seeds
    ended = []
    for text in texts:
        rows = tuple({"dialogs": [], "source": x} for x in text if _letter(x))
        ended.append(
            types.Execution(
                kind="ok" if rows else "runtime_error",
                log=f"{len(rows)} rows",
                dataset=types.Dataset(rows=rows),
                calls=(("keep", len(text), len(rows)),),
                wall_seconds=float(len(text)),
            )
        )
    return ended


def verify(asked, executions, seeds):
    """Scores the share of letters; one dataset in sixteen gets lost on our side."""
    del asked
    verdicts = []
    for execution, seed in zip(executions, seeds, strict=True):
        rows = len(execution.dataset.rows)
        graded = tuple(
            types.GradedRow(index=i, gate="", grade="E", score=1.0) for i in range(rows)
        )
        if seed % 16 == 0:
            verdict = types.Verdict(outcome="unscored", note="lost")
        elif execution.kind != "ok":
            verdict = types.Verdict(outcome="empty", note=execution.kind)
        else:
            share = rows / NEW
            verdict = types.Verdict(
                outcome="scored", score=share, judge_score=share, rows=graded
            )
        verdicts.append(verdict)
    return verdicts


@functools.cache
def parts(new=NEW):
    """Returns the optimizer and the stages, compiled once for all tests.

    Args:
      new: Most tokens after a prompt.
    """
    graphdef, params = policy()
    client = engines.clients(
        graphdef,
        params,
        end_id=TOKENIZER.end_id,
        max_prompt=max(48, BUCKET + new),
        max_new_tokens=max(12, new),
    )
    adamw = optimizer.adamw(
        0.02, warmup_steps=1, b1=0.9, b2=0.99, weight_decay=0.0, max_grad_norm=1.0
    )
    score = functools.partial(
        logprobs.completion_logprobs, graphdef, max_new_tokens=new, temperature=1.0
    )
    objective = objectives.grpo(new, kl_weight=0.01)
    apply = update.make(score, objective, adamw, micro_batch=8, updates_per_step=1)
    scored = update.scorer(score, micro_batch=8)
    stages = step.Stages(
        prompt=lambda asked: TOKENIZER.encode(asked.name + ":"),
        sample=lambda params, version, *asked: writing.sample(
            client(params, version=version), *asked, temperature=1.0
        ),
        conversation=conversation.Conversation(
            ONE_ANSWER, TOKENIZER, max_new_tokens=new
        ),
        decode=TOKENIZER.decode,
        execute=execute,
        verify=verify,
        reward=functools.partial(
            rewards.rewards,
            worth=rewards.mean,
            lambda_empty=0.5,
            lambda_format=0.25,
            lambda_unverified=0.0,
            lambda_overlong=0.0,
            overlong_tokens=0,
            max_new_tokens=new,
        ),
        reference=lambda _, batch: batch._replace(ref_logprobs=scored(params, batch)),
        penalty=lambda batch: jnp.zeros(batch.tokens.shape[0]),
        advantage=functools.partial(
            advantages.group_relative, divide_by_std=True, delta=1e-4
        ),
        update=functools.partial(state.advance, update=apply, frozen=nnx.State({})),
    )
    return adamw, stages


def start() -> state.TrainState:
    """Returns the state before the first step, in memory of its own."""
    params = jax.tree.map(jnp.copy, policy()[1])
    made = state.create(params, parts()[0])
    # Put somewhere explicitly, as restored arrays are: else a resumed run, which
    # shares the compiled programs of a fresh one here, would compile them again.
    params, opt_state = jax.device_put((made.params, made.opt_state), jax.devices()[0])
    return made._replace(params=params, opt_state=opt_state)


def train_step(stages: step.Stages):
    """Returns the step function of the run."""
    return functools.partial(
        step.train_step,
        stages=stages,
        seed=5,
        group_size=GROUP,
        max_rounds=1,
        row_tokens=BUCKET + NEW,
        pad_id=TOKENIZER.pad_id,
    )


def quietly(folder):
    """Returns what a step needs in a run that nobody stops or has stopped before."""
    (folder / "unfinished.json").unlink(missing_ok=True)
    return lambda: None, unfinished.Unfinished(folder / "unfinished.json")


ALARM = alarm.AlarmSettings(window=8, min_rise=5.0, significance=0.05)


def run(workdir, *, steps: int, stages: step.Stages | None = None):
    """Runs the loop, from the latest checkpoint in `workdir` if there is one."""
    return loop.run(
        start(),
        tasks=tasks(),
        step=train_step(stages or parts()[1]),
        steps=steps,
        workdir=workdir,
        checkpoints=workdir / "checkpoints",
        every_steps=EVERY_STEPS,
        keep=2,
        hacking=functools.partial(alarm.hacking, settings=ALARM),
    )


def _letter(character: str) -> bool:
    return character in string.ascii_letters


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)  # as in conftest.py
    run(pathlib.Path(sys.argv[1]), steps=int(sys.argv[2]))
