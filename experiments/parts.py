"""The parts that experiments share, from the sections of a config; see `build`."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import threading
from typing import Any

import jax
import ml_collections as mlc
import optax

from datachef_jax import types
from datachef_jax.finetune import many
from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.parallel import hosts
from datachef_jax.recipes.turns import Turns
from datachef_jax.serving.client import Client
from datachef_jax.serving.generator import Answer
from datachef_jax.serving.generator import Chat
from datachef_jax.serving.generator import Generator
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.training.conversation import Conversation
from experiments import checkpoints
from experiments import checks
from experiments import elsewhere
from experiments import finetuning
from experiments import models
from experiments import pools
from experiments.engines import Engines
from experiments.engines import Needs
from sandbox import pool as sandbox_pool
from sandbox.aidp import describe
from sandbox.job import Limits


def tokenizer(folder: str, root: pathlib.Path) -> ChatTokenizer:
    """Loads the tokenizer of a folder."""
    with checks.blame("config.tokenizer", folder):
        return ChatTokenizer.load(checkpoints.find(folder, root))


def tasks(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> list[types.Task]:
    """Loads the tasks of the pool."""
    settings = config.pool.to_dict()
    kind = settings.pop("kind")
    for name in ("smallest", "largest", "exchange_ids"):  # how training shows tasks
        settings.pop(name)
    with checks.blame("config.pool", config.pool.to_dict()):
        return pools.load(kind, settings, folder=workdir / "pool", root=root)


def held_out(tasks: Sequence[types.Task], names: Sequence[str]) -> list[types.Task]:
    """Returns the tasks to evaluate on, in the order of the config."""
    found = {task.name: task for task in tasks if task.held_out}
    for name in names:
        checks.require(
            name in found,
            "config.evaluation.tasks",
            name,
            f"is no held-out task; these are {sorted(found)}",
        )
    return [found[name] for name in names]


def check_prompts(
    config: mlc.ConfigDict,
    tasks: Sequence[types.Task],
    tokenizer: ChatTokenizer,
    style: prompts.PromptStyle,
) -> None:
    """Makes sure that every prompt fits: of all sources, whichever rows it shows."""
    limit = config.sampling.max_prompt_tokens

    def tokens(row: Mapping[str, Any]) -> int:
        return len(tokenizer.encode(prompts.show_row(row, style)))

    for task in tasks:
        sources = [
            dataclasses.replace(
                source,
                examples=tuple(sorted(source.examples, key=tokens, reverse=True)),
            )
            for source in task.sources
        ]
        longest = dataclasses.replace(task, sources=tuple(sources))
        length = len(prompt(longest, tokenizer, style))
        checks.require(
            length <= limit,
            "config.sampling.max_prompt_tokens",
            limit,
            f"the prompt of task {task.name} has {length} tokens",
        )


def check_questions(
    config: mlc.ConfigDict, tasks: Sequence[types.Task], tokenizer: ChatTokenizer
) -> None:
    """Makes sure that the model in fine-tuning can be asked every question."""
    limit = config.base.max_prompt_tokens
    for task in tasks:
        for example in task.examples:
            chat = [{"role": "user", "content": example.question}]
            length = len(tokenizer.chat(chat, generation_prompt=True))
            checks.require(
                length <= limit,
                "config.base.max_prompt_tokens",
                limit,
                f"a question of {task.benchmark} has {length} tokens",
            )


def prompt_style(
    *, toolkit: bool, apart: bool = False, **settings: Any
) -> prompts.PromptStyle:
    """Returns the style of the policy's prompts, from the section prompt."""
    described = describe.describe() if toolkit else ""
    return prompts.PromptStyle(toolkit=described, apart=apart, **settings)


def conversation(
    config: mlc.ConfigDict, tokenizer: ChatTokenizer, style: prompts.PromptStyle
) -> Conversation:
    """Builds in how many answers recipes are written, from the section turns."""
    section = config.turns
    with checks.blame("config.turns", section.to_dict()):
        turns = Turns(**section, scripts_request=prompts.scripts_request(style))
        return Conversation(
            turns, tokenizer, max_new_tokens=config.sampling.max_new_tokens
        )


def prompt(
    task: types.Task, tokenizer: ChatTokenizer, style: prompts.PromptStyle
) -> list[int]:
    """Returns the prompt that asks a policy for a recipe, as ids."""
    messages = prompts.policy_messages(task, style)
    return tokenizer.chat(messages, generation_prompt=True)


def engines(
    config: mlc.ConfigDict,
    loaded: Mapping[str, models.Model | None],
    tokenizer: ChatTokenizer,
    root: pathlib.Path,
) -> Engines:
    """Builds the engines of models, and the clients of those that live elsewhere.

    Args:
      config: Its sections sampling, rl, judge, generator, base, engine, serving and
        remote.
      loaded: By what they are for: "policy", "untrained" (who writes recipes, too),
        "judge", "generator" or "base"; None for one that lives elsewhere.
      tokenizer: Of all of them.
      root: What paths in the config are relative to.
    """
    needs = Needs(config)
    wanted, away = {}, {}
    for name, model in loaded.items():
        need = needs.of(name)
        if model is None:
            away[name] = elsewhere.client(config, name, need, tokenizer, root)
        else:
            wanted[name] = (model, need)
    return Engines(config, wanted, elsewhere=away, end_id=tokenizer.end_id)


def sandbox(
    config: mlc.ConfigDict, client: Client, tokenizer: ChatTokenizer
) -> sandbox_pool.Sandbox:
    """Builds the sandbox, whose scripts' calls a model answers.

    In a run of several processes each has a model of its own; see `hosts.own`.
    """
    section = config.generator
    generator = Generator(
        client,
        tokenizer,
        max_prompt_tokens=section.max_prompt_tokens,
        max_new_tokens=section.max_new_tokens,
        temperature=section.temperature,
    )
    one_at_a_time = threading.Lock()

    def answer(batch: Sequence[Chat]) -> list[Answer]:
        if jax.process_count() == 1:  # a scheduler gathers what many threads ask
            return generator.answer(batch)
        with one_at_a_time, hosts.own():
            return generator.answer(batch)

    return make_sandbox(config.sandbox, answer)


def make_sandbox(
    section: mlc.ConfigDict, answer: Callable[[Sequence[Chat]], list[Answer]]
) -> sandbox_pool.Sandbox:
    """Makes a sandbox from its section; row caps are for whoever runs recipes."""
    settings = section.to_dict()
    settings.pop("row_cap", None)
    scratch = settings.pop("scratch")
    names = "workers", "workers_per_supervisor", "importable", "outer", "require"
    made = {name: settings.pop(name) for name in names}
    with checks.blame("config.sandbox", section.to_dict()):
        return sandbox_pool.Sandbox(
            limits=Limits(**settings),
            scratch=pathlib.Path(scratch) if scratch else None,
            answer=answer,
            **made,
        )


def finetuner(
    config: mlc.ConfigDict,
    base: models.Model,
    engines: Engines,
    tokenizer: ChatTokenizer,
    workdir: pathlib.Path,
) -> finetuning.Finetuner:
    """Builds what turns rows into benchmark scores."""
    section, target = config.finetune, config.base
    learned, frozen = base.learned_and_frozen()
    return finetuning.Finetuner(
        training=many.Training(
            graphdef=base.graphdef,
            params=learned,
            frozen=frozen,
            optimizer=finetune_optimizer(config),
            steps=section.steps,
            sync_every=section.sync_every,
        ),
        tokenizer=tokenizer,
        client=functools.partial(engines.with_weights, "base"),
        max_new_tokens=target.max_new_tokens,
        batch_rows=section.batch_rows,
        row_tokens=section.row_tokens,
        targets_per_row=section.targets_per_row,
        max_rows=section.max_rows,
        folder=workdir / "finetunes",
    )


def finetune_optimizer(config: mlc.ConfigDict) -> optax.GradientTransformation:
    """Builds the optimizer of every fine-tune."""
    section = config.finetune
    makers = {"adamw": optimizers.adamw, "muon": optimizers.muon}
    checks.require(
        section.optimizer in makers,
        "config.finetune.optimizer",
        section.optimizer,
        f"must be one of {sorted(makers)}",
    )
    with checks.blame("config.finetune", section.to_dict()):
        return makers[section.optimizer](
            section.learning_rate,
            warmup_steps=section.warmup_steps,
            steps=section.steps,
            b1=section.b1,
            b2=section.b2,
            weight_decay=section.weight_decay,
            max_grad_norm=section.max_grad_norm,
        )
