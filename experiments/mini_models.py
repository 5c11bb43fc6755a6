"""Makes what the repository ships: the mini tokenizer, base, policy and judge.

Each is one programme behind a config in `configs/mini/`; hours and hardware stand
there. Nothing here is part of a run of the method itself.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
from typing import Any

from flax import nnx
import numpy as np

from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.finetune import packing
from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import weights
from datachef_jax.recipes import grammar
from datachef_jax.recipes import parse
from datachef_jax.sampling import sizing
from datachef_jax.sampling.engine import Engine
from datachef_jax.serving.client import Client
from datachef_jax.serving.client import Direct
from datachef_jax.tasks import sources
from datachef_jax.tasks.mini import names
from datachef_jax.tasks.mini import pool
from datachef_jax.tasks.mini import rename
from datachef_jax.text import prompts
from datachef_jax.text import tokenizer as tokenizer_lib
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Task
from datachef_jax.verifier import rubric
from experiments import pools as task_pools
from experiments import supervised
from experiments.corpora import base as base_corpus
from experiments.corpora import judge as judge_corpus
from experiments.corpora import policy as policy_corpus

_NAME_WEIGHT = 400  # so often a name counts, lest it be split for being rare


def _new_model(sizes: Mapping[str, Any], vocab_size: int, seed: int):
    config = qwen3_config.Qwen3Config(
        **sizes, vocab_size=vocab_size, tie_embeddings=True
    )
    compute = qwen3_config.Compute(
        dtype="float32",
        param_dtype="float32",
        remat="none",
        shard_sequence=False,
        unroll=config.num_layers,
    )
    return weights.random(config, compute, seed=seed)


def _questions(tasks: Sequence[Task]) -> list[str]:
    return [example.question for task in tasks for example in task.examples]


def _row_texts(tasks: Sequence[Task], rows_per_source: int) -> list[str]:
    """Returns the cells of raw rows, as judges and targets meet them."""
    texts = []
    for task in tasks:
        for source in task.sources:
            rows = sources.read_rows(source.path, source.format, source.records)
            for row in rows[:rows_per_source]:
                texts += [f"{task.instruction}\nQ: {c}\nA: {c}" for c in row.values()]
    return texts


def make_tokenizer(
    *,
    style: prompts.PromptStyle,
    pool_seed: int,
    benchmark_size: int,
    vocab_size: int,
    recipes: int,
    rows_per_source: int,
    seed: int,
    workdir: pathlib.Path,
) -> dict[str, float]:
    """Trains the tokenizer on prompts and recipes of training tasks and on rows.

    Returns:
      Mean tokens of a prompt, of a recipe and of a row's text.
    """
    tasks = pool.build(workdir / "pool", seed=pool_seed, benchmark_size=benchmark_size)
    rng = np.random.default_rng(seed)
    known = [task for task in tasks if not task.held_out]
    asked, written = [], []
    for index in range(recipes):
        task = known[rng.integers(len(known))]
        recipe = grammar.sample(task, rng, care=float(rng.random()))
        # Every second one about other topics, so that no family's words stand out.
        replace = rename.renamer(rng, topics=bool(index % 2))
        asked.append(replace(prompts.policy_messages(task, style)[0]["content"]))
        written.append(replace(parse.render(recipe)))
    rows = _row_texts(tasks, rows_per_source)
    trained = tokenizer_lib.train(
        asked + written + rows + list(names.quoted()) * _NAME_WEIGHT,
        names=names.quoted(),
        vocab_size=vocab_size,
        folder=workdir / "checkpoint",
    )
    return {
        f"tokens/{kind}": float(np.mean([len(trained.encode(text)) for text in texts]))
        for kind, texts in (("prompt", asked), ("recipe", written), ("row", rows))
    }


def _schedule(
    make: Callable[..., Any], numbers: Mapping[str, Any], stages: Sequence[Mapping]
):
    return make(**numbers, steps=sum(stage["steps"] for stage in stages))


def make_base(
    *,
    tokenizer: ChatTokenizer,
    sizes: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    documents: int,
    stage: Mapping[str, Any],
    pool_seed: int,
    benchmark_size: int,
    seed: int,
    workdir: pathlib.Path,
) -> dict[str, float]:
    """Pretrains the mini base model, which is the target of fine-tuning."""
    tasks = pool.build(workdir / "pool", seed=pool_seed, benchmark_size=benchmark_size)
    examples = functools.partial(
        base_corpus.unlabelled,
        tokenizer,
        count=documents,
        exclude=_questions(tasks),
        seed=seed,
    )
    return supervised.train(
        _new_model(sizes, tokenizer.vocab_size, seed),
        [supervised.Stage(name="base", examples=examples, **stage)],
        optimizer=_schedule(optimizers.muon, optimizer, [stage]),
        seed=seed,
        workdir=workdir,
        evaluate=lambda model: {},
    )


def make_policy(
    *,
    tokenizer: ChatTokenizer,
    sizes: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    style: prompts.PromptStyle,
    pools: int,
    pool_seed: int,
    benchmark_size: int,
    seed: int,
    workdir: pathlib.Path,
) -> dict[str, float]:
    """Teaches the mini policy the recipe format and to copy names from its prompt.

    The stages are a curriculum: pure copying, then the choice of sources from lists,
    then whole recipes.
    """
    known = task_pools.mini_training_tasks(
        pools,
        seed=pool_seed,
        benchmark_size=benchmark_size,
        folder=workdir / "pool",
    )
    makers = {
        "spans": functools.partial(policy_corpus.spans, tokenizer),
        "lists": functools.partial(policy_corpus.lists, tokenizer),
        "recipes": functools.partial(
            policy_corpus.random_recipes, known, tokenizer, style=style
        ),
    }
    built = []
    for index, stage in enumerate(stages):
        (kind,) = makers.keys() & stage.keys()
        built.append(
            supervised.Stage(
                name=f"policy {index + 1}/{len(stages)}",
                examples=functools.partial(
                    makers[kind], seed=seed + index, **stage[kind]
                ),
                steps=stage["steps"],
                **stage["shape"],
            )
        )
    return supervised.train(
        _new_model(sizes, tokenizer.vocab_size, seed),
        built,
        optimizer=optimizers.muon(**optimizer),
        seed=seed,
        workdir=workdir,
        evaluate=lambda model: {},
    )


def _judge_examples(
    tasks: Sequence[Task],
    tokenizer: ChatTokenizer,
    *,
    style: rubric.RubricStyle,
    system_prompt: str,
    rows: int,
    answers: int,
    exclude: Sequence[str],
    seed: int,
) -> list[packing.TokenExample]:
    labelled = judge_corpus.labelled_rows(tasks, count=rows, exclude=exclude, seed=seed)
    return judge_corpus.graded(labelled, tokenizer, style=style) + (
        judge_corpus.answered(
            tokenizer,
            system_prompt=system_prompt,
            count=answers,
            exclude=exclude,
            seed=seed + 1,
        )
    )


def _accuracy(
    client: Client,
    rows: Sequence[judge_corpus.LabelledRow],
    *,
    tokenizer: ChatTokenizer,
    style: rubric.RubricStyle,
) -> dict[str, float]:
    """Returns, by grade, the share of the rows that get the grade they deserve."""
    letters = sorted(rubric.SCORES)
    prompts_of = [
        example.tokens[:-1]  # all but the grade
        for example in judge_corpus.graded(rows, tokenizer, style=style)
    ]
    candidates = [tokenizer.encode(letter)[0] for letter in letters]
    given = client.score(prompts_of, candidates).argmax(-1)
    right = np.array(
        [letters[i] == row.grade for i, row in zip(given, rows, strict=True)]
    )
    grades = np.array([row.grade for row in rows])
    return {f"accuracy/{g}": float(right[grades == g].mean()) for g in letters}


def make_judge(
    *,
    tokenizer: ChatTokenizer,
    sizes: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    held_out_rows: int,
    style: rubric.RubricStyle,
    system_prompt: str,
    pool_seed: int,
    benchmark_size: int,
    seed: int,
    workdir: pathlib.Path,
) -> dict[str, float]:
    """Trains the mini judge, which also answers the recipes' LLM calls."""
    tasks = pool.build(workdir / "pool", seed=pool_seed, benchmark_size=benchmark_size)
    held_out = judge_corpus.labelled_rows(
        tasks, count=held_out_rows, exclude=_questions(tasks), seed=seed + 10**6
    )
    asked = _questions(tasks) + [row.question for row in held_out]
    built = [
        supervised.Stage(
            name=f"judge {index + 1}/{len(stages)}",
            examples=functools.partial(
                _judge_examples,
                tasks,
                tokenizer,
                style=style,
                system_prompt=system_prompt,
                exclude=asked,
                seed=seed + 10 * index,
                **stage["corpus"],
            ),
            steps=stage["steps"],
            **stage["shape"],
        )
        for index, stage in enumerate(stages)
    ]

    return supervised.train(
        _new_model(sizes, tokenizer.vocab_size, seed),
        built,
        optimizer=_schedule(optimizers.muon, optimizer, stages),
        seed=seed,
        workdir=workdir,
        evaluate=functools.partial(
            _grades, rows=held_out, tokenizer=tokenizer, style=style
        ),
    )


def _grades(
    model: nnx.Module,
    rows: Sequence[judge_corpus.LabelledRow],
    *,
    tokenizer: ChatTokenizer,
    style: rubric.RubricStyle,
) -> dict[str, float]:
    """Returns `_accuracy` of a model, on an engine of its own."""
    graphdef, params = nnx.split(model, nnx.Param)
    engine = Engine.sized(
        graphdef,
        params,
        end_id=tokenizer.end_id,
        rows=0,
        group=1,
        max_prompt=256,
        max_new_tokens=0,
        page_size=64,
        read_tokens=256,
        free_bytes=sizing.free_bytes(),
        candidates=len(rubric.SCORES),
    )
    client = Direct(engine, params, version=0)
    return _accuracy(client, rows, tokenizer=tokenizer, style=style)
