"""What to answer to a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def known_as(name: object, known: Iterable[str]) -> str | None:
    """The known name that is meant: capitals, and dashes for underscores, do not matter; None where there is none."""
    known = list(known)
    if name in known:
        return str(name)
    plain = str(name).lower().replace("-", "_")
    return next((other for other in known if other.lower() == plain), None)


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or one that begins so, as a question; or all of them."""
    known = list(known)
    begun = [other for other in known if name and other.startswith(name)]
    near = get_close_matches(name, known, n=1) or begun
    if near:
        return f"did you mean {near[0]}?"
    return f"choose one of {', '.join(known)}" if known else "there is none"
