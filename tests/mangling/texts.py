"""Texts changed at random: XML, BART headers, protocols, JSON."""

from __future__ import annotations

import re
from random import Random
from typing import Any

WORDS = ["0", "-1", "1", "7", "999999999", "1e30", "nan", "120.0", "0.5", "abc", "", "4" * 40, "１６"]  # fmt: skip  # noqa: RUF001
VALUES: list[Any] = [None, 0, -1, 3, 1e30, -2.5, "abc", "", [], [1], [[]], {}, True, [1, "a"], 10**12]  # fmt: skip


def edit_text(text: str, rng: Random) -> str:
    """Another number, an element or line gone, doubled or cut off."""
    numbers = list(re.finditer(r"(?<=[>= ])-?\d+(\.\d+)?(?=[<\n ])", text))
    lines = list(re.finditer(r"<(\w+)>[^<]*</\1>|[^\n]+\n", text))
    choice = rng.random()
    if numbers and choice < 0.6:
        found = rng.choice(numbers)
        return text[: found.start()] + rng.choice(WORDS) + text[found.end() :]
    if lines and choice < 0.75:
        found = rng.choice(lines)
        return text[: found.start()] + text[found.end() :]
    if lines and choice < 0.85:
        found = rng.choice(lines)
        return text[: found.end()] + found[0] + text[found.end() :]
    if choice < 0.95:
        place = rng.randrange(len(text) + 1)
        return (
            text[:place]
            + rng.choice(["\0", "<", "&x;", "é", "\ud800", "# ", "\n\n"])
            + text[place:]
        )
    return text[: rng.randrange(len(text) + 1)]


def edit_json(value: Any, rng: Random) -> Any:
    """One entry of a JSON value replaced or removed, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: edit_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        index = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:index] + value[index + 1 :]
        return [*value[:index], edit_json(value[index], rng), *value[index + 1 :]]
    return rng.choice(VALUES)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")
