"""What a served model can do, told by one machine and read by another."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """What requests may want; stands beside the model's name in `/v1/models`.

    Attributes:
      max_prompt_tokens: Longest prompt.
      max_new_tokens: Longest completion.
      candidates: Most tokens that a request may have scored.
      seconds: Longest deadline.
      vocabulary: `ChatTokenizer.vocabulary`: requests hold ids.
    """

    max_prompt_tokens: int
    max_new_tokens: int
    candidates: int
    seconds: float
    vocabulary: str

    def shortcomings(self, wanted: "Offer") -> list[str]:
        """Says where it falls short of what is wanted; [] if nowhere."""
        found = []
        for field in dataclasses.fields(self):
            here, there = getattr(wanted, field.name), getattr(self, field.name)
            if field.name == "vocabulary":
                if here != there:
                    found.append("its tokenizer has another vocabulary")
            elif here > there:
                found.append(f"its {field.name} is {there}, {here} are needed")
        return found
