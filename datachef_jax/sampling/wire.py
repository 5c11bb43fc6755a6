"""Between the host's requests and the device's arrays, both ways."""

from collections.abc import Sequence
from collections.abc import Set
import dataclasses
import hashlib

from jaxtyping import UInt32
import numpy as np

from datachef_jax.sampling import state as states
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.sampling.request import Scores
from datachef_jax.sampling.state import Sizes
from datachef_jax.types import Completion

PRIORITIES = range(32)
ORDERS = 2**26  # requests that are told apart within one priority
RUNNING = "running"  # how a completion has ended that has not
_REASONS = {states.ENDED: "end", states.LIMIT: "length"}
_GREEDY = Sampling(max_new_tokens=1, temperature=0.0)  # of requests without completions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A prompt as the device gets it: some completions of a request, or its scores.

    Attributes:
      number: Of the request.
      request: The request.
      hashes: Of its prompt's whole pages.
      grammar: Its grammar's slot.
      samples: Which of its completions.
      scores: Whether its scores are wanted, too.
      order: Smaller goes first.
    """

    number: int
    request: Request
    hashes: UInt32[np.ndarray, "pages 2"]
    grammar: int
    samples: tuple[int, ...]
    scores: bool
    order: int


def check(request: Request, sizes: Sizes, vocab_size: int) -> None:
    """Makes sure that an engine can serve a request.

    Raises:
      ValueError: If not; the message says why.
    """
    length = len(request.prompt)
    if not 1 <= length <= sizes.max_prompt:
        raise ValueError(f"the prompt has {length} tokens, not 1 to {sizes.max_prompt}")
    _require_ids(request.prompt, vocab_size, "the prompt")
    if not request.seeds and not request.scored:
        raise ValueError("neither completions nor scores are asked for")
    check_priority(request.priority)
    if len(request.candidates) > sizes.candidates:
        raise ValueError(
            f"{len(request.candidates)} candidates, at most {sizes.candidates}"
        )
    _require_ids(request.candidates, vocab_size, "candidates")
    pages = -(-length // sizes.page_size)
    if pages > sizes.pages:
        raise ValueError(f"the prompt needs {pages} pages, there are {sizes.pages}")
    if not request.seeds:
        return
    if not sizes.rows:
        raise ValueError("completions are asked for, the engine has rows for none")
    sampling = request.sampling
    if sampling is None:
        raise ValueError("seeds without sampling")
    if not 0 <= min(request.seeds) <= max(request.seeds) < 2**32:
        raise ValueError(f"seeds {request.seeds} are not all in 0..{2**32 - 1}")
    if not 1 <= sampling.max_new_tokens <= sizes.max_new_tokens:
        raise ValueError(
            f"max_new_tokens {sampling.max_new_tokens} is not in "
            f"1..{sizes.max_new_tokens}"
        )
    if len(sampling.stop_ids) > sizes.stop_ids:
        raise ValueError(f"{len(sampling.stop_ids)} stop_ids, at most {sizes.stop_ids}")
    _require_ids(sampling.stop_ids, vocab_size, "stop_ids")
    pages = -(-(length + sampling.max_new_tokens) // sizes.page_size)
    pages += len(request.seeds) > 1  # the copy of the prompt's last one
    if pages > sizes.pages:
        raise ValueError(f"needs {pages} pages, there are {sizes.pages}")


def check_priority(priority: int) -> None:
    """Raises a ValueError if the order of requests has no room for a priority."""
    if priority not in PRIORITIES:
        raise ValueError(f"priority {priority} is not in 0..{len(PRIORITIES) - 1}")


def _require_ids(ids: Sequence[int], vocab_size: int, what: str) -> None:
    if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
        raise ValueError(f"{what} has tokens outside 0..{vocab_size - 1}")


def hashes(
    prompt: Sequence[int], page_size: int, *, salt: bytes
) -> UInt32[np.ndarray, "pages 2"]:
    """Returns a hash of all tokens up to the end of each whole page, as two words."""
    tokens = np.asarray(prompt, np.int32)
    words = np.zeros((len(prompt) // page_size, 2), np.uint32)
    digest = salt
    for i in range(len(words)):
        page = tokens[i * page_size : (i + 1) * page_size]
        digest = hashlib.blake2b(digest + page.tobytes(), digest_size=16).digest()
        words[i] = np.frombuffer(digest[:8], np.uint32)
    words[(words == 0).all(-1)] = 1  # 0, 0 says that nothing is known
    return words


def fill(
    prompts: states.Prompts, i: int, name: int, line: Line, *, unwanted: Set[int]
) -> None:
    """Writes all that the device wants to know of a line.

    Args:
      prompts: Zeros of NumPy, which are changed.
      i: Where in them.
      name: By which the device is to call the line.
      line: The line.
      unwanted: Those of its completions that were cancelled while it waited.
    """
    request = line.request
    sampling = request.sampling or _GREEDY
    prompts.stage[i] = states.WAITING
    prompts.request[i], prompts.order[i] = name, line.order
    prompts.tokens[i, : len(request.prompt)] = request.prompt
    prompts.length[i] = len(request.prompt)
    prompts.hashes[i, : len(line.hashes)] = line.hashes
    seeds = [request.seeds[sample] for sample in line.samples]
    prompts.seeds[i, : len(seeds)] = seeds
    prompts.wanted[i] = len(seeds)
    prompts.unwanted[i, : len(seeds)] = [x in unwanted for x in line.samples]
    drawing, settings = prompts.drawing, prompts.drawing.settings
    settings.temperature[i] = sampling.temperature
    settings.top_k[i], settings.top_p[i] = sampling.top_k, sampling.top_p
    settings.min_p[i] = sampling.min_p
    drawing.limit[i] = sampling.max_new_tokens
    drawing.grammar[i] = line.grammar
    drawing.initial[i] = sampling.grammar.initial if sampling.grammar else 0
    drawing.stop_ids[i] = -1
    drawing.stop_ids[i, : len(sampling.stop_ids)] = sampling.stop_ids
    prompts.candidates[i, : len(request.candidates)] = request.candidates
    prompts.scores[i] = line.scores
    prompts.tell[i] = line.scores and request.prompt_logprobs


def completion(
    host: states.Done | states.Rows, i: int, length: int, *, versions: Sequence[int]
) -> Completion:
    """Reads the tokens of a line that is done, or of a row that is running.

    Args:
      host: Lines or rows.
      i: Which one.
      length: Its tokens so far.
      versions: Of the weights, by epoch from 1.
    """
    span = slice(0, length)
    return Completion(
        tokens=tuple(host.tokens[i, span].tolist()),
        logprobs=tuple(host.logprobs[i, span].tolist()),
        raw_logprobs=tuple(host.raw_logprobs[i, span].tolist()),
        versions=tuple(versions[epoch - 1] for epoch in host.versions[i, span]),
        ended=_REASONS.get(int(host.ended[i]), RUNNING),
    )


def scores(host: states.Done, i: int, request: Request) -> Scores:
    """Reads the scores of a line that is done."""
    prompt = host.prompt_logprobs[i, 1 : len(request.prompt)]
    return Scores(
        candidates=tuple(host.scores[i, : len(request.candidates)].tolist()),
        prompt=tuple(prompt.tolist()) if request.prompt_logprobs else (),
    )
