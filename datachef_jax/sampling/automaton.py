"""From a regular expression to what each token does to a text that must match it.

outlines-core builds the automaton over bytes. What tokens do follows here, as its own
index over tokens is a dictionary of Python integers, gigabytes for 151,936 tokens.
"""

from collections.abc import Sequence
import dataclasses
import re

from jaxtyping import Bool, Int32
import numpy as np
import outlines_core

_BYTES = 256
_OPEN, _END = 256, 257  # numbers of the other moves that the library is told
# Noncharacters that open and close every text, see `_index`.
_FIRST, _SECOND, _CLOSE = "\U0010fffd", "\U0010fffe", "\U0010ffff"
_ESCAPED_OR_CLASS = re.compile(r"\\[^AzbB]|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """What a text can go on with, wherever it stands.

    Attributes:
      steps: The state after each move from each state, -1 where there is none. Moves
        are bytes, or tokens.
      accepting: States in which the text matches as it is.
      initial: The state of the empty text.
    """

    steps: Int32[np.ndarray, "states moves"]
    accepting: Bool[np.ndarray, " states"]
    initial: int


def over_bytes(pattern: str) -> Automaton:
    r"""Returns the automaton whose moves are the 256 bytes of UTF-8.

    A text matches if all of it does, as with `re.fullmatch`. The syntax is that of
    Rust's `regex` crate: `&&`, `--`, `~~` and `[` have a meaning inside a class, `$` is
    only the very end, and its Unicode may be newer than Python's. Lost are look-around,
    back-references, `\b`, and `^` and `$` other than around the whole, where they say
    what holds anyway; and the noncharacter U+10FFFF where a text could end.

    A pattern needs as much time and memory as its automaton has states. Nothing limits
    them, and `[ab]*a[ab]{30}` has 2 ** 30.

    Raises:
      ValueError: If the pattern is none, or some of it cannot match anything.
    """
    inner = without_anchors(pattern)
    if re.search(r"[$^]|\\[AzbB]", _ESCAPED_OR_CLASS.sub("", inner)):
        raise ValueError(f"regex {pattern!r}: ^, $, \\A, \\z, \\b or \\B within")
    try:
        return _closed(_index(inner))
    except ValueError as error:
        raise ValueError(f"regex {pattern!r}: {error}") from error


def _index(inner: str) -> outlines_core.Index:
    """Returns the library's automaton of an opened and closed text.

    Left to itself the library does not know all ways to go on from where a text
    matches: "a|ab" would never be "ab", nor "[aé]+" be "aé". Hence the close, before
    which nothing matches.

    It also prepares to find a match that begins anywhere, and after "x" each
    repetition of ".{0,30}" doubles the number of states for that. Hence the opening:
    where a text has been opened by half nothing matches as well, which outranks all
    matches that begin later, and they are dropped. As both halves are one move, this
    match is never one to go on from.
    """
    moves = {bytes([letter]): [letter] for letter in range(_BYTES)}
    vocabulary = outlines_core.Vocabulary(
        _END, moves | {(_FIRST + _SECOND).encode(): [_OPEN]}
    )
    outlines_core.Index(f"|{inner}", vocabulary)  # is whole by itself, not "a)|(b"
    return outlines_core.Index(f"{_FIRST}(?:{_SECOND}(?:{inner}){_CLOSE}|)", vocabulary)


def without_anchors(pattern: str) -> str:
    """Returns the pattern without a `^` that opens it and a `$` that closes it."""
    if pattern.startswith("^"):
        pattern = pattern[1:]
    before = pattern[:-1]
    backslashes = len(before) - len(before.rstrip("\\"))
    return before if pattern.endswith("$") and backslashes % 2 == 0 else pattern


def _closed(index: outlines_core.Index) -> Automaton:
    """Returns the automaton that begins opened, and accepts where it can be closed."""
    moves = index.get_transitions()
    numbers = {state: number for number, state in enumerate(moves)}
    steps = np.full((len(moves), _END + 1), -1, np.int32)
    for state, number in numbers.items():
        chosen = moves[state]
        steps[number, list(chosen)] = [numbers[after] for after in chosen.values()]
    closed = np.array([index.is_final_state(state) for state in moves], bool)

    state = np.arange(len(moves))
    for letter in _CLOSE.encode():
        state = np.where(state >= 0, steps[state, letter], -1)
    return Automaton(
        steps=steps[:, :_BYTES],
        accepting=(state >= 0) & closed[state],
        initial=int(steps[numbers[index.get_initial_state()], _OPEN]),
    )


def over_tokens(
    letters: Automaton, pieces: Sequence[bytes | None]
) -> tuple[Automaton, Int32[np.ndarray, " tokens"]]:
    """Returns the automaton whose moves are kinds of tokens.

    Every state can be left for an accepting one by some tokens, or is one itself.

    Args:
      letters: Over bytes.
      pieces: The bytes that each token adds, None (or nothing) for one that must not
        come.

    Returns:
      The automaton, and the kind of each token. Tokens of a kind do the same in every
      state; kind 0 is forbidden in all of them.

    Raises:
      ValueError: If no sequence of these tokens matches.
    """
    functions, of_token = _functions(letters.steps, [piece or b"" for piece in pieces])
    forbidden = np.full_like(functions[:1], -1)
    of_token[[not piece for piece in pieces]] = len(functions)
    used, kinds = np.unique([*of_token, len(functions)], return_inverse=True)
    steps = np.vstack([functions, forbidden])[used].T
    live = _leads(steps, letters.accepting)
    if not live[letters.initial]:
        raise ValueError("no sequence of the tokens of this vocabulary matches")
    steps = np.where((steps >= 0) & live[steps], steps, -1)
    reached = _reached(steps, letters.initial)
    number = np.cumsum(reached, dtype=np.int32) - 1
    steps = np.where(steps >= 0, number[steps], -1)[reached]
    # The forbidden kind is all -1, which sorts first.
    steps, merged = np.unique(steps, axis=1, return_inverse=True)
    automaton = Automaton(
        steps=steps,
        accepting=letters.accepting[reached],
        initial=int(number[letters.initial]),
    )
    return automaton, merged[kinds[:-1]].astype(np.int32)


def _functions(
    steps: Int32[np.ndarray, "states bytes"], pieces: Sequence[bytes]
) -> tuple[Int32[np.ndarray, "functions states"], np.ndarray]:
    """Returns what pieces can do to each state, and which of it each piece does.

    All pieces are read at once, letter by letter. Most of them do the same after few
    letters, so that there are few different things to work out.
    """
    states = len(steps)
    steps = np.vstack([steps, np.full(steps.shape[1], -1, np.int32)])  # for state -1
    text = np.frombuffer(b"".join(pieces), np.uint8)
    lengths = np.array([len(piece) for piece in pieces])
    starts = np.cumsum(lengths) - lengths
    functions = np.arange(states, dtype=np.int32)[None]  # number 0 changes nothing
    known = {functions[0].tobytes(): 0}
    current = np.zeros(len(pieces), np.int64)
    for depth in range(int(lengths.max(initial=0))):
        left = np.flatnonzero(lengths > depth)
        letters = text[starts[left] + depth]
        pairs, places = np.unique(current[left] * _BYTES + letters, return_inverse=True)
        before, letter = np.divmod(pairs, _BYTES)
        after = steps[functions[before], letter[:, None]]
        numbers = np.array(
            [known.setdefault(one.tobytes(), len(known)) for one in after]
        )
        new, first = np.unique(numbers, return_index=True)
        functions = np.vstack([functions, after[first[new >= len(functions)]]])
        current[left] = numbers[places]
    return functions, current


def _leads(
    steps: Int32[np.ndarray, "states moves"], accepting: Bool[np.ndarray, " states"]
) -> Bool[np.ndarray, " states"]:
    """Returns from which states an accepting one can be reached."""
    source, move = np.nonzero(steps >= 0)
    target = steps[source, move]
    order = np.argsort(target)
    into = source[order]
    bounds = np.searchsorted(target[order], np.arange(len(steps) + 1))

    live = accepting.copy()
    new = np.flatnonzero(live)
    while new.size:
        found = [into[bounds[state] : bounds[state + 1]] for state in new]
        before = np.unique(np.concatenate(found))
        new = before[~live[before]]
        live[new] = True
    return live


def _reached(
    steps: Int32[np.ndarray, "states moves"], initial: int
) -> Bool[np.ndarray, " states"]:
    """Returns which states can be reached from the initial one."""
    reached = np.zeros(len(steps), bool)
    new = np.array([initial])
    while new.size:
        reached[new] = True
        after = np.unique(steps[new])
        new = after[(after >= 0) & ~reached[after]]
    return reached
