"""The flags of one object of the Accelerator API: setting them, reading them, printing them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from tilewright.errors import warn

from .errors import AcceleratorError, FlagWarning
from .flag import Flag, Value
from .flag_table import BY_NAME, DEBUG_LETTERS, FLAGS, OPTION_LETTERS, FlagValues

_LETTERS = {"debug": DEBUG_LETTERS, "options": OPTION_LETTERS}


class Flags(FlagValues):
    """The flags of an object, each an attribute of its name: ``flags.blockingmode``, ``flags.nclusters``.

    Flags that have no effect here take their values all the same, and say so once with a `FlagWarning` when they are
    set to another one than the default.

    Original: an unknown flag ended in ``Exception(-1)`` and nothing was said of flags that do nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def set(self, name: str | Mapping[str, object], value: object = "") -> None:
        """``SetFlag``: set one flag, or each of a mapping in its order; values are texts, numbers or truth values.

        Raises:
            AcceleratorError: there is no such flag or letter, or it cannot have this value. Of a mapping, the flags
                before it are set.
        """
        if isinstance(name, Mapping):
            for each, its_value in name.items():
                self.set(each, its_value)
            return
        flag = _find(name)
        parsed = flag.parse(value)
        if flag.name == "reset":
            self.restore_defaults()
        elif flag.name == "help":
            print(self.values_text() if parsed == "print_opt" else help_text())
        else:
            self._set(flag, parsed)

    def restore_defaults(self) -> None:
        """Set every flag back to its default; what has been warned of is not said again."""
        for flag in FLAGS.values():
            setattr(self, flag.name, flag.default)

    def get(self, name: str) -> Value:
        """The value of a flag by its name or an alias.

        Raises:
            AcceleratorError: there is no such flag.
        """
        value = getattr(self, _find(name).name)
        assert isinstance(value, (int, str))
        return value

    def values_text(self) -> str:
        """A line ``name = value`` for each flag."""
        return "\n".join(f"{name} = {_plain(self.get(name))}" for name in FLAGS)

    def _set(self, flag: Flag, value: Value) -> None:
        if flag.name in _LETTERS:
            assert isinstance(value, str)
            self._set_letters(flag, value)
        elif flag.warning and value != flag.default:
            self._warn(flag.name, f"flag {flag.name!r}", flag.warning)
        setattr(self, flag.name, value)

    def _set_letters(self, flag: Flag, letters: str) -> None:
        known = _LETTERS[flag.name]
        unknown = next((letter for letter in letters if letter not in known), None)
        if unknown is not None:
            raise AcceleratorError(
                f"{flag.name!r} has no such letter",
                stage="SetFlag",
                expected=f"letters of {''.join(known)}",
                found=repr(unknown),
            )
        for letter in letters:
            if flag.name == "options":
                self._set(*OPTION_LETTERS[letter])
            elif DEBUG_LETTERS[letter].warning:
                self._warn(f"debug {letter}", f"debug letter {letter!r}", DEBUG_LETTERS[letter].warning)

    def _warn(self, key: str, what: str, why: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warn(f"{what} has no effect here: {why}", FlagWarning)


def _find(name: str) -> Flag:
    flag = BY_NAME.get(name) if isinstance(name, str) else None
    if flag is None:
        close = get_close_matches(str(name), BY_NAME, 1)
        hint = f"Did you mean {close[0]!r}?" if close else "SetFlag('help') prints the flags."
        raise AcceleratorError("there is no such flag", stage="SetFlag", found=f"{name!r:.60}", hint=hint)
    return flag


def _plain(value: Value) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def help_text() -> str:
    """What ``SetFlag('help')`` prints: every flag and letter with what it does."""
    lines = []
    for flag in FLAGS.values():
        names = ", ".join((flag.name, *flag.aliases))
        letters = "".join(f", letter {letter} = {_plain(value)}" for letter, value in flag.letters.items())
        without = f" No effect here: {flag.warning}." if flag.warning else ""
        lines.append(
            f"{names} ({flag.values}; default {_plain(flag.default) or 'none'}{letters}): {flag.help}{without}"
        )
    lines.append("letters of debug:")
    for letter in DEBUG_LETTERS.values():
        without = f" Nothing here: {letter.warning}." if letter.warning else ""
        lines.append(f"  {letter.letter}: {letter.help}{without}")
    return "\n".join(lines)
