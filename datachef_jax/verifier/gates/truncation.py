"""Answers that stop in the middle of what they began."""


def stops(answer: str) -> bool:
    r"""Returns whether an answer stops in the middle of what it began.

    It ends in dots or a comma, leaves a code fence or the braces of a `\boxed` open,
    or starts like JSON and does not close. "[0, 1)" closes: it is an interval.
    """
    answer = answer.strip()
    _, box, content = answer.rpartition(r"\boxed{")
    like_json = answer[:1] in ("{", "[") and len(answer) > 1
    return (
        answer.endswith(("...", "…", ","))
        or answer.count("```") % 2 == 1
        or (box != "" and not _closes("{" + content, strings=False))
        or (like_json and not _closes(answer, strings=True))
    )


def _closes(text: str, *, strings: bool) -> bool:
    """Returns whether the bracket that a text begins with is closed again.

    Brackets close one another whatever their kind, and count for nothing within
    double quotes, if `strings`.
    """
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
            continue
        quoted = strings and character == '"'
        depth += (character in "{[(") - (character in "}])")
        if depth == 0:
            return True
    return False
