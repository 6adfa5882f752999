"""The keys of a rule, read one by one: what is wrong is said in one line, with the value and what to write instead."""

from collections.abc import Collection
from typing import Any


class BadRuleError(ValueError):
    """A rule says something that cannot be done; the text says what and what to write instead."""


class Fields:
    """A table of JSON or TOML, from which each known key is taken once; `finish` refuses those left over.

    Every method raises BadRuleError for a value of the wrong type or outside its bounds.
    """

    def __init__(self, source: Any, what: str = "key") -> None:
        if not isinstance(source, dict):
            raise BadRuleError(f"a rule is a JSON object, not {type(source).__name__}.")
        self._left = dict(source)
        self._what = what
        self._known: list[str] = []

    def has(self, name: str) -> bool:
        """Tell whether the key is still there and not null."""
        return self._left.get(name) is not None

    def take(self, name: str) -> Any:
        """The value as it came; None when it is missing."""
        self._known.append(name)
        return self._left.pop(name, None)

    def seconds(self, name: str, default: float | None = None, least: float = 0.0) -> float | None:
        value = self.take(name)
        return default if value is None else _number(name, value, least, None)

    def number(self, name: str, default: float, least: float = 0.0, most: float | None = None) -> float:
        value = self.take(name)
        return default if value is None else _number(name, value, least, most)

    def whole(self, name: str, default: int | None = None, least: int = 0, most: int | None = None) -> int | None:
        value = self.take(name)
        return default if value is None else _whole(name, value, least, most)

    def wholes(self, name: str, least: int, most: int) -> tuple[int, ...] | None:
        """A whole number or a list of them."""
        value = self.take(name)
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        if not listed:
            raise BadRuleError(f"{name} is empty. Give at least one number.")
        return tuple(_whole(name, one, least, most) for one in listed)

    def span(self, name: str, default: tuple[float, float] | None = None) -> tuple[float, float] | None:
        """A number, or the least and the most of what is drawn."""
        value = self.take(name)
        if value is None:
            return default
        ends = value if isinstance(value, list) else [value, value]
        if len(ends) != 2:
            raise BadRuleError(f"{name} is {value!r}. Give one number, or [least, most].")
        least, most = (_number(name, end, 0.0, None) for end in ends)
        if least > most:
            raise BadRuleError(f"{name} is {value!r}. Give the smaller end first.")
        return least, most

    def flag(self, name: str, default: bool) -> bool:
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadRuleError(f"{name} is {value!r}. Use true or false.")
        return value

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        value = self.take(name)
        if value is None:
            value = default
        if not isinstance(value, str) or value not in choices:
            raise BadRuleError(f"{name} is {value!r}. Use {_either(choices)}.")
        return value

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise BadRuleError(f"{name} is {value!r}. Give a text.")
        return value

    def identifier(self, name: str, lower: bool = False) -> str | None:
        """A text or a whole number; numbers are their text, as they are to Telegram."""
        value = self.take(name)
        return None if value is None else _identifier(name, value, lower)

    def identifiers(self, name: str, lower: bool = False) -> frozenset[str] | None:
        """One or a list of them."""
        value = self.take(name)
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        if not listed:
            raise BadRuleError(f"{name} is empty. Give at least one.")
        return frozenset(_identifier(name, one, lower) for one in listed)

    def table(self, name: str) -> dict[str, Any]:
        value = self.take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadRuleError(f"{name} is {value!r}. Give a JSON object.")
        return value

    def finish(self) -> None:
        """Refuse keys that nothing has taken."""
        if self._left:
            unknown = min(self._left)
            raise BadRuleError(f"unknown {self._what} {unknown!r}. Use some of: {', '.join(sorted(self._known))}.")


def _number(name: str, value: Any, least: float, most: float | None) -> float:
    # NaN, which Python's JSON lets through, fits no bound.
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= least or value == float("inf"):
        raise BadRuleError(f"{name} is {value!r}. Give a number, {_bounds(least, most)}.")
    if most is not None and value > most:
        raise BadRuleError(f"{name} is {value!r}. Give a number, {_bounds(least, most)}.")
    return float(value)


def _whole(name: str, value: Any, least: int, most: int | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise BadRuleError(f"{name} is {value!r}. Give a whole number, {_bounds(least, most)}.")
    return value


def _identifier(name: str, value: Any, lower: bool) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise BadRuleError(f"{name} is {value!r}. Give a text or a number.")
    return str(value).lower() if lower else str(value)


def _bounds(least: float, most: float | None) -> str:
    return f"{least:g} or more" if most is None else f"from {least:g} to {most:g}"


def _either(choices: Collection[str]) -> str:
    listed = [f'"{choice}"' for choice in choices]
    return " or ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]
