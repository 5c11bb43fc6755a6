"""Content that no training set should hold: directions for doing serious harm.

Phrases alone: an act, then within a few words what it is done with. That finds plain
directions and misses whatever is put another way; a model that knows better belongs
in the judge. "How to kill a process" and "bomb calorimeter" are not found.
"""

import re

_MAKE = (
    r"(?:mak|build|construct|assembl|synthesi[sz]|cook|prepar|produc|manufactur)\w{0,4}"
)
_WEAPON = (
    r"(?:pipe|nail|fertilizer|dirty|car|home-?made) bombs?|explosive devices?"
    r"|molotov cocktails?|napalm|nerve (?:agents?|gas)|sarin|ricin|mustard gas"
    r"|chemical weapons?|biological weapons?|ghost guns?"
)
_DRUG = r"(?:meth(?:amphetamine)?|crystal meth|fentanyl|heroin|crack cocaine)"
_BETWEEN = r"\W+(?:[\w'-]+\W+){0,4}?"
_PATTERNS = re.compile(
    rf"\b{_MAKE}{_BETWEEN}(?:{_WEAPON}|{_DRUG})\b"
    rf"|\b(?:kill|hang|cut|harm|hurt)\W+(?:yourself|myself)\b"
    rf"|\b(?:commit|painless|ways? of|methods? (?:of|for))\W+suicide\b"
    rf"|\b(?:sexual|nude|naked|explicit){_BETWEEN}(?:child(?:ren)?|minors?|toddlers?)\b"
    rf"|\b(?:write|build|deploy|spread){_BETWEEN}(?:ransomware|keyloggers?|botnets?)\b",
    re.IGNORECASE,
)


def found(text: str) -> bool:
    """Returns whether a text holds any of it."""
    return _PATTERNS.search(text) is not None
