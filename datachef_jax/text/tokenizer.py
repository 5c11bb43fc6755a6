"""Tokenizers: any Hugging Face one, and the byte-level BPE of the mini world."""

from collections.abc import Iterable
from collections.abc import Sequence
import functools
import hashlib
import json
import pathlib

import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers
from tokenizers import trainers
import transformers

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# GPT-2's names of the 256 bytes: printable ones are themselves, the others follow.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + i): byte for i, byte in enumerate(sorted({*range(256)} - {*_PRINTABLE}))
}


class ChatTokenizer:
    """A Hugging Face tokenizer whose chats are ChatML, as Qwen3's are.

    Attributes:
      end_id: Ends an assistant's turn; generation stops at it.
      pad_id: Fills up batches; never attended to.
      vocab_size: Ids are below this.
    """

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase):
        """Wraps a tokenizer.

        Raises:
          ValueError: If it has no ChatML tokens.
        """
        self._tokenizer = tokenizer
        ids = {t: tokenizer.convert_tokens_to_ids(t) for t in (PAD, START, END)}
        missing = [token for token, i in ids.items() if i is None]
        if missing:
            raise ValueError(f"tokenizer {tokenizer.name_or_path} lacks {missing}")
        self.pad_id: int = ids[PAD]
        self.end_id: int = ids[END]
        self.vocab_size: int = len(tokenizer)
        # What stands around every message: few texts, again and again.
        self._markup = functools.lru_cache(maxsize=64)(self.encode)

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "ChatTokenizer":
        """Loads a tokenizer folder.

        Raises:
          ValueError: If there is no tokenizer in it.
        """
        if not (pathlib.Path(folder) / "tokenizer.json").exists():
            raise ValueError(f"no tokenizer.json in {folder}")
        return cls(transformers.AutoTokenizer.from_pretrained(str(folder)))

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text; markers like <|im_end|> in it are plain text."""
        # Half a surrogate pair, which JSON can hold, is no text: it becomes "?".
        text = text.encode("utf-8", "replace").decode("utf-8")
        return self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    @property
    def vocabulary(self) -> str:
        """Returns a digest of what each id means: where it is equal, ids are, too."""
        tokens = json.dumps(sorted(self._tokenizer.get_vocab().items()))
        return hashlib.sha256(tokens.encode()).hexdigest()

    def pieces(self) -> list[bytes | None]:
        """Returns the bytes that each token adds to a text, None for special tokens.

        A token may be a part of a character. Tokens that were added to the vocabulary
        but are not special, like Qwen3's <think>, are the text that they look like.

        Raises:
          ValueError: If the tokenizer is not byte-level BPE.
        """
        core = self._tokenizer.backend_tokenizer
        if not isinstance(core.decoder, decoders.ByteLevel):
            raise ValueError(f"{core.decoder} is not the decoder of byte-level BPE")
        added = core.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special}
        special |= set(self._tokenizer.all_special_ids)
        pieces: list[bytes | None] = [None] * self.vocab_size
        for token, i in core.get_vocab(with_added_tokens=True).items():
            if i not in special:
                known = all(symbol in _BYTE_OF for symbol in token)
                pieces[i] = (
                    bytes(_BYTE_OF[symbol] for symbol in token)
                    if known
                    else token.encode()
                )
        return pieces

    def chat_with_mask(
        self, messages: Sequence[dict[str, str]]
    ) -> tuple[list[int], list[bool]]:
        """Returns a chat's ids, and which of them an assistant must learn to write.

        The text of a message cannot forge a turn: markers in it are plain text. The
        assistant's end token is to be learned, the line break after it is not.
        """
        start, end = [self._tokenizer.convert_tokens_to_ids(START)], [self.end_id]
        ids: list[int] = []
        mask: list[bool] = []
        for message in messages:
            head = [*start, *self._markup(f"{message['role']}\n")]
            body = self.encode(message["content"]) + end
            tail = self._markup("\n")
            ids += head + body + tail
            learned = message["role"] == "assistant"
            mask += [False] * len(head) + [learned] * len(body) + [False] * len(tail)
        return ids, mask

    def chat(
        self, messages: Sequence[dict[str, str]], *, generation_prompt: bool
    ) -> list[int]:
        """Returns a chat's ids, ending where an assistant begins if asked to."""
        ids, _ = self.chat_with_mask(messages)
        if generation_prompt:
            ids += [self._tokenizer.convert_tokens_to_ids(START)]
            ids += self._markup("assistant\n")
        return ids


def train(
    texts: Iterable[str],
    *,
    names: Sequence[str],
    vocab_size: int,
    folder: pathlib.Path,
) -> ChatTokenizer:
    """Trains the mini tokenizer and saves it as a Hugging Face folder.

    Byte-level BPE with three kinds of borders that no token crosses: a name to be
    copied (`"question"`, `"mini/amber"`) stands alone, so that it is the same token
    wherever a prompt or a script writes it; so does a digit with the space before
    it; a line or a sentence ends. All between may merge freely, across words too,
    which makes the boilerplate of scripts a few tokens long.

    Args:
      texts: What to train on.
      names: Strings that stand alone.
      vocab_size: Bytes, merges and the three special tokens together.
      folder: Where tokenizer.json and its configuration go.
    """
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex("|".join(names)), "isolated"),
            pre_tokenizers.Split(tokenizers.Regex(r" ?[0-9]"), "isolated"),
            pre_tokenizers.Split(
                tokenizers.Regex(r"\n|\. |\) "), "merged_with_previous"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=END
    )
    wrapped.chat_template = _CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    return ChatTokenizer(wrapped)
