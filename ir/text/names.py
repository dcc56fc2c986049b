"""How names become unique: by the first number behind them that is free."""

from collections import Counter
from collections.abc import Container, Iterable


class Names:
    """Names that are taken.
    ``taken``: from the start.
    ``separator``: stands between a name and its number."""

    def __init__(self, taken: Iterable[str] = (), separator: str = ".") -> None:
        self._taken = set(taken)
        self._separator = separator
        self._numbers: Counter[str] = Counter()

    def take(self, name: str, others: Container[str | None] = ()) -> str:
        """``name``, or with a number if it is taken, or one of others; what is returned is taken from now on."""
        unique = name
        while unique in self._taken or unique in others:
            self._numbers[name] += 1
            unique = f"{name}{self._separator}{self._numbers[name]}"
        self._taken.add(unique)
        return unique
