"""What the mini policy reads before GRPO: prompts with recipes for them."""

from collections.abc import Callable, Sequence
import dataclasses
import functools

import numpy as np

from datachef_jax.finetune import packing
from datachef_jax.recipes import grammar
from datachef_jax.tasks import augment
from datachef_jax.tasks.mini import kinds
from datachef_jax.tasks.mini import names
from datachef_jax.tasks.mini import rename
from datachef_jax.text import prompts
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.types import Task


def tokenize(
    prompt: Sequence[dict[str, str]],
    completion: str,
    tokenizer: ChatTokenizer,
    *,
    max_tokens: int,
) -> packing.TokenExample:
    """Tokenizes a prompt with its completion, which is what is to be learned.

    Raises:
      ValueError: If it is longer than `max_tokens`.
    """
    messages = [*prompt, {"role": "assistant", "content": completion}]
    tokens, mask = tokenizer.chat_with_mask(messages)
    end = len(mask) - mask[::-1].index(True)  # what follows the end token is no use
    if end > max_tokens:
        raise ValueError(f"demonstration of {end} tokens, more than {max_tokens}")
    return packing.TokenExample(tuple(tokens[:end]), tuple(mask[:end]))


def spans(
    tokenizer: ChatTokenizer,
    *,
    count: int,
    shortest: int,
    longest: int,
    separator: str,
    seed: int,
) -> list[packing.TokenExample]:
    """Returns names in random order and spans of them, to be copied.

    Pure copying comes first, because a tiny model learns it last of all from recipes,
    and it must begin with few names: a model that never saw but long lists did not
    find out in a thousand steps that there is something to copy.

    Args:
      tokenizer: Of the policy.
      count: How many.
      shortest: Fewest names in a list.
      longest: Most names in a list.
      separator: Stands after each name; at most one token.
      seed: Fixes them all.

    Returns:
      Lists, each followed by as many spans of two or more of its names, of which all
      but the first name is to be learned.
    """
    rng = np.random.default_rng(seed)
    pool = [
        tokenizer.encode(name) + tokenizer.encode(separator) for name in names.quoted()
    ]
    width = len(pool[0])
    examples = []
    for _ in range(count):
        length = int(rng.integers(shortest, longest + 1))
        listed = [pool[i] for i in rng.choice(len(pool), size=length, replace=False)]
        ids = [token for name in listed for token in name]
        mask = [False] * len(ids)
        for _ in range(length):
            first = int(rng.integers(length - 1))
            span = listed[first : int(rng.integers(first + 2, length + 1))]
            ids += [token for name in span for token in name]
            learned = [True] + [False] * (width - 1)  # the name, not the separator
            mask += [False] * width + learned * (len(span) - 1)
        examples.append(packing.TokenExample(tuple(ids), tuple(mask)))
    return examples


def lists(
    tokenizer: ChatTokenizer, *, count: int, max_sources: int, seed: int
) -> list[packing.TokenExample]:
    """Returns lists of sources with their remarks and columns, to be copied.

    An example lists sources with remark and columns as prompts do, then says + or - of
    each and repeats the remark as thinking does, then names the former as plans do,
    then repeats them with their columns as scripts do; all but the first part is to be
    learned.

    Args:
      tokenizer: Of the policy.
      count: How many.
      max_sources: Most sources in a list; the fewest are two.
      seed: Fixes them all.
    """
    rng = np.random.default_rng(seed)
    known = [kind.remark for kind in kinds.KINDS.values()]
    examples = []
    for _ in range(count):
        listed = int(rng.integers(2, max_sources + 1))
        stems = rng.choice(names.SOURCES, size=listed, replace=False)
        remarks, entries = [], []
        for stem in stems:
            columns = [rng.choice(names.QUESTIONS)]
            columns += [rng.choice(names.ANSWERS)] if rng.random() < 0.8 else []
            columns += [rng.choice(names.QUALITIES)] if rng.random() < 0.2 else []
            quoted = "".join(f', "{column}"' for column in columns)
            remarks.append(f"{rng.choice(known)}\n")
            entries.append((f'"{names.OWNER}/{stem}"', f"{quoted}\n"))
        some = int(rng.integers(1, listed + 1))
        chosen = sorted(rng.choice(listed, size=some, replace=False))
        marked = "".join(
            f"{'+' if i in chosen else '-'}{entries[i][0]} {remarks[i]}"
            for i in range(listed)
        )
        shown = "".join(r + a + b for r, (a, b) in zip(remarks, entries, strict=True))
        ids = tokenizer.encode(f"{shown}\n")
        learned = tokenizer.encode(f"{marked}\n")
        planned = "".join(f"{entries[i][0]}\n" for i in chosen)
        learned += tokenizer.encode(f"{planned}\n")
        learned += tokenizer.encode("".join("".join(entries[i]) for i in chosen))
        mask = (False,) * len(ids) + (True,) * len(learned)
        examples.append(packing.TokenExample((*ids, *learned), mask))
    return examples


def random_recipes(
    tasks: Sequence[Task],
    tokenizer: ChatTokenizer,
    *,
    style: prompts.PromptStyle,
    count: int,
    min_sources: int,
    max_sources: int,
    topics_share: float,
    max_tokens: int,
    seed: int,
) -> list[packing.TokenExample]:
    """Returns random recipes of every degree of care, with all names drawn anew.

    They teach the format and to copy names from the prompt, not which choices pay.

    Args:
      tasks: Tasks whose sources the recipes use.
      tokenizer: Of the policy.
      style: Of the prompts.
      count: How many.
      min_sources: Fewest sources in a prompt.
      max_sources: Most sources in a prompt.
      topics_share: Share of the prompts that are retold about other topics.
      max_tokens: Of prompt and recipe together.
      seed: Fixes them all.
    """
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        task = tasks[rng.integers(len(tasks))]
        task = augment.subset(task, rng, smallest=min_sources, largest=max_sources)
        task = augment.exchange_rows(task, rng)
        recipe = grammar.sample(task, rng, care=float(rng.random()))
        replace = rename.renamer(rng, topics=bool(rng.random() < topics_share))
        prompt = _renamed(prompts.policy_messages(task, style), replace)
        completion = replace(grammar.write(task, recipe))
        examples.append(tokenize(prompt, completion, tokenizer, max_tokens=max_tokens))
    return examples


def made_up_questions(
    task: Task, rng: np.random.Generator, tokenizer: ChatTokenizer, *, shown_chars: int
) -> Task:
    """Returns the task with other questions in its example rows, which mean nothing.

    Retold about another topic, a task's rows still had its own questions. A policy that
    has seen no others copies names badly beside the words of a new task's questions.

    Args:
      task: A mini task: the first column of its sources has the question, and its
        cards begin with the topic.
      rng: Randomness.
      tokenizer: Its tokens make the questions, so that each has been seen.
      shown_chars: What a prompt shows of a question; it ends with a whole token.
    """
    words = _words(tokenizer)
    lengths = np.char.str_len(words)
    starts: dict[str, str] = {}
    sources = []
    for source in task.sources:
        topic = source.card.partition(". ")[0]
        start = starts.setdefault(topic, str(rng.choice(words[lengths < shown_chars])))
        ends = words[lengths == shown_chars - len(start)]
        rows = tuple(
            row | {source.columns[0]: f"{start}{rng.choice(ends)} and so on"}
            for row in source.examples
        )
        sources.append(dataclasses.replace(source, examples=rows))
    return dataclasses.replace(task, sources=tuple(sources))


@functools.cache
def _words(tokenizer: ChatTokenizer) -> np.ndarray:
    """Returns the tokens that a cell of a row may hold."""
    tokens = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    plain = [t for t in tokens if t and t.isascii() and t.isprintable()]
    return np.array([t for t in plain if not set(t) & set('"\\')])  # JSON's escapes


def _renamed(
    messages: Sequence[dict[str, str]], replace: Callable[[str], str]
) -> list[dict[str, str]]:
    return [{**message, "content": replace(message["content"])} for message in messages]
