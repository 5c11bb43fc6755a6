"""Tests for datachef_jax/benchmarks/evaluate.py."""

from flax import nnx
import pytest

from datachef_jax import types
from datachef_jax.benchmarks import evaluate
from datachef_jax.finetune import optimizer as optimizer_lib
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.scoring import answers
from tests import blank
from tests import engines
from tests import tiny

_EXAMPLES = tuple(
    types.Example(question=question, answer=answer)
    for question, answer in [("1+1", "2"), ("2+1", "3"), ("4+5", "9"), ("3+3", "6")]
)


def _task(examples=_EXAMPLES, *, contract="boxed", metric="math"):
    return blank.task(
        "sums", instruction="Add.", contract=contract, metric=metric, examples=examples
    )


def _evaluate(graphdef, params, tokenizer, task):
    client = engines.client(graphdef, params, end_id=tokenizer.end_id)
    return evaluate.evaluate(client, tokenizer, task, max_new_tokens=12)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.byte_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    """Returns a random model as graphdef and parameters."""
    return nnx.split(tiny.random_model(tokenizer.vocab_size), nnx.Param)


def _taught(model, tokenizer, taught):
    """Returns parameters that know answers by heart: pairs (question, text)."""
    rows = [
        {
            "dialogs": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": text},
            ]
        }
        for question, text in taught
    ]
    sizes = dict(max_tokens=64, max_targets=16)
    examples = packing.tokenize_rows(rows, tokenizer, **sizes)
    optimizer = optimizer_lib.adamw(
        1e-2,
        warmup_steps=5,
        steps=200,
        b1=0.9,
        b2=0.98,
        weight_decay=0.0,
        max_grad_norm=1.0,
    )
    state, _ = sft.fit(
        model[0],
        sft.start(model[1], optimizer),
        packing.batches(examples, rows=4, row_tokens=64, row_targets=16, seed=0),
        steps=200,
        optimizer=optimizer,
        sync_every=50,
        on_step=lambda done, state, loss: None,
    )
    return state.params


def test_a_model_that_learned_three_of_four_answers_scores_three_quarters(
    model, tokenizer
):
    texts = [answers.write(example.answer, "boxed") for example in _EXAMPLES]
    texts[1] = r"\boxed{8}"
    questions = [example.question for example in _EXAMPLES]
    params = _taught(model, tokenizer, list(zip(questions, texts, strict=True)))
    score = _evaluate(model[0], params, tokenizer, _task())
    assert [answer.text for answer in score.answers] == texts
    assert [answer.correct for answer in score.answers] == [True, False, True, True]
    assert score.accuracy == 0.75


def test_a_random_model_knows_nothing(model, tokenizer):
    score = _evaluate(*model, tokenizer, _task())
    assert score.accuracy == 0.0
    assert len(score.answers) == 4
    assert all(answer.extracted is None for answer in score.answers)


def test_a_benchmark_without_questions_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="sums has no examples"):
        _evaluate(*model, tokenizer, _task(examples=()))


@pytest.mark.parametrize(
    "text, contract, metric, extracted, correct",
    [
        (r"so \boxed{2.0}", "boxed", "math", "2.0", True),
        (r"so \boxed{2.0}", "boxed", "exact_match", "2.0", False),
        ("2.0", "boxed", "math", None, False),
        ("", "plain", "exact_match", None, False),
        (" 2\n", "plain", "exact_match", "2", True),
        ('{"answer": 2}', "json", "exact_match", "2", True),
    ],
)
def test_an_answer_is_read_by_contract_and_compared_by_metric(
    text, contract, metric, extracted, correct
):
    got = evaluate.grade(text, "2", _task(contract=contract, metric=metric))
    assert got == evaluate.Answer(text=text, extracted=extracted, correct=correct)
