"""What completions must match: compiled on the host, applied inside the decoding loop.

A grammar is the complete automaton over tokens, so that the device looks up which
tokens can come next and nobody waits for the host. It says what may be drawn, not
that the end comes in time: a completion that is cut does not match as a whole.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Int16, UInt16
import numpy as np

from datachef_jax.sampling import automaton
from datachef_jax.sampling import json_schema

_MOST_STATES = np.iinfo(np.int16).max
_MOST_CLASSES = np.iinfo(np.uint16).max


@dataclasses.dataclass(frozen=True, eq=False)
class Grammar:
    """An automaton over tokens; two are the same only if they are one object.

    Attributes:
      classes: Of each token. Tokens of a class do the same in every state; class 0 is
        forbidden in all of them.
      next_state: After a token of each class in each state, -1 if it cannot come. The
        end token changes nothing, and can come exactly where the text matches.
      initial: State of an empty completion.
    """

    classes: UInt16[np.ndarray, " vocab"]
    next_state: Int16[np.ndarray, "states classes"]
    initial: int


def compile_regex(
    pattern: str, pieces: Sequence[bytes | None], *, end_id: int
) -> Grammar:
    """Returns the grammar of the texts that match a pattern as a whole.

    Args:
      pattern: In the syntax that `automaton.over_bytes` tells.
      pieces: The bytes that each token adds, None for special tokens, as from
        `ChatTokenizer.pieces`.
      end_id: The token that ends a completion.

    Raises:
      ValueError: If the pattern is none, no completion can match it, or it needs more
        states or classes than 16 bits can number.
    """
    letters = automaton.over_bytes(pattern)
    pieces = [None if i == end_id else piece for i, piece in enumerate(pieces)]
    try:
        tokens, kinds = automaton.over_tokens(letters, pieces)
    except ValueError as error:
        raise ValueError(f"regex {pattern!r}: {error}") from error
    states, end = tokens.steps.shape
    if states > _MOST_STATES or end >= _MOST_CLASSES:
        raise ValueError(
            f"regex {pattern[:200]!r} has {states} states and {end + 1} classes of "
            f"tokens, more than {_MOST_STATES} and {_MOST_CLASSES}"
        )
    stays = np.where(tokens.accepting, np.arange(states), -1)
    kinds[end_id] = end
    return Grammar(
        classes=kinds.astype(np.uint16),
        next_state=np.column_stack([tokens.steps, stays]).astype(np.int16),
        initial=tokens.initial,
    )


def compile_json_schema(
    schema: Mapping[str, Any], pieces: Sequence[bytes | None], *, end_id: int
) -> Grammar:
    """Returns a grammar of JSON texts that the schema admits: not all, but no others.

    Args:
      schema: What `json_schema` says it can be.
      pieces: As for `compile_regex`.
      end_id: The token that ends a completion.

    Raises:
      ValueError: If this is no schema, says something that is not enforced, or is too
        large.
    """
    pattern = json_schema.to_regex(schema)
    return compile_regex(pattern, pieces, end_id=end_id)


class Table(NamedTuple):
    """The grammars in use, on the device, in slots of one size.

    Attributes:
      classes: Of each grammar; tokens beyond its vocabulary are of class 0.
      next_state: Of each grammar. Grammar 0 has one state, in which anything goes.
    """

    classes: UInt16[Array, "grammars vocab"]
    next_state: Int16[Array, "grammars states classes"]


def allowed(
    table: Table, which: Int[Array, " rows"], state: Int[Array, " rows"]
) -> Bool[Array, "rows vocab"]:
    """Returns the tokens that can come next in each row.

    A step in which no row has a grammar does not look anything up.

    Args:
      table: Of grammars.
      which: Each row's grammar, 0 for none.
      state: Where each row stands in it.
    """

    def look_up() -> Bool[Array, "rows vocab"]:
        possible = table.next_state[which, state] >= 0
        return jnp.take_along_axis(possible, table.classes[which], axis=1, mode="clip")

    def anything() -> Bool[Array, "rows vocab"]:
        return jnp.ones((which.shape[0], table.classes.shape[1]), bool)

    return lax.cond((which > 0).any(), look_up, anything)


def advance(
    table: Table,
    which: Int[Array, " rows"],
    state: Int[Array, " rows"],
    tokens: Int[Array, " rows"],
) -> Int[Array, " rows"]:
    """Returns where each row stands after a token.

    A token that cannot come, as in a row that has ended, changes nothing.
    """
    after = table.next_state[which, state, table.classes[which, tokens]]
    return jnp.where(after < 0, state, after)


class Grammars:
    """Gives grammars slots of a table, for as long as requests use them.

    A slot whose grammar nobody uses keeps it until its place is needed; then the one
    that has been without use for longest goes.
    """

    def __init__(self, *, slots: int, states: int, classes: int, vocab_size: int):
        """Makes an empty table of `slots` grammars beside grammar 0.

        Args:
          slots: Grammars that can be in use at a time.
          states: Most states of a grammar.
          classes: Most classes of tokens of a grammar.
          vocab_size: Of the model, which may have more tokens than the tokenizer.
        """
        self._classes = np.zeros((slots + 1, vocab_size), np.uint16)
        self._next_state = np.zeros((slots + 1, states, classes), np.int16)
        self._uses = [0] * (slots + 1)
        # The longest unused first, as far as they are unused.
        self._slots: collections.OrderedDict[Grammar, int] = collections.OrderedDict()
        self._free = list(range(slots, 0, -1))
        self._table: Table | None = None

    @property
    def table(self) -> Table:
        """The table with all that has been acquired."""
        if self._table is None:
            # Of copies: JAX may read, even keep, the memory that it is given.
            self._table = Table(
                classes=jnp.asarray(self._classes.copy()),
                next_state=jnp.asarray(self._next_state.copy()),
            )
        return self._table

    def acquire(self, grammar: Grammar | None) -> int:
        """Returns the slot of a grammar, which it keeps until as often released.

        Raises:
          ValueError: If the grammar does not fit into a slot, or all are in use.
        """
        if grammar is None:
            return 0
        slot = self._slots.get(grammar)
        if slot is None:
            self.check(grammar)
            slot = self._vacate()
            self._slots[grammar] = slot
            self._write(slot, grammar)
        self._uses[slot] += 1
        return slot

    def release(self, slot: int):
        """Takes back one `acquire` of the grammar in this slot."""
        if slot == 0:
            return
        assert self._uses[slot] > 0, f"slot {slot} is not in use"
        self._uses[slot] -= 1
        grammar = next(g for g, taken in self._slots.items() if taken == slot)
        self._slots.move_to_end(grammar)

    def has_room(self, grammar: Grammar | None) -> bool:
        """Says whether the grammar has a slot, or one is free or unused."""
        if grammar is None or grammar in self._slots or self._free:
            return True
        return any(self._uses[slot] == 0 for slot in self._slots.values())

    def check(self, grammar: Grammar):
        """Makes sure that a grammar fits into a slot.

        Raises:
          ValueError: If not.
        """
        if len(self._uses) == 1:
            raise ValueError("there are no slots for grammars")
        (states, classes), vocab = grammar.next_state.shape, grammar.classes.size
        _, most_states, most_classes = self._next_state.shape
        most_vocab = self._classes.shape[1]
        if states > most_states or classes > most_classes or vocab > most_vocab:
            raise ValueError(
                f"a grammar of {states} states, {classes} classes of tokens and {vocab}"
                f" tokens does not fit into {most_states}, {most_classes} and "
                f"{most_vocab}"
            )

    def _vacate(self) -> int:
        if self._free:
            return self._free.pop()
        for grammar, slot in self._slots.items():
            if self._uses[slot] == 0:
                del self._slots[grammar]
                return slot
        raise ValueError(f"all {len(self._slots)} slots hold grammars in use")

    def _write(self, slot: int, grammar: Grammar):
        states, classes = grammar.next_state.shape
        self._classes[slot] = 0
        self._classes[slot, : grammar.classes.size] = grammar.classes
        self._next_state[slot, :states, :classes] = grammar.next_state
        self._table = None
