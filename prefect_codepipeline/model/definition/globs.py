"""Globs: Java's `glob:` language over whole names of branches, tags and files, for trigger filters and artifacts.

A pattern is compiled to an automaton that reads each character of a name once. Unlike a regular expression with several
stars, it cannot become slow for any pattern or name. All comparisons are case sensitive.

https://docs.aws.amazon.com/codepipeline/latest/userguide/syntax-glob.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

# The known steps of a glob are cleared above this number; they only save time.
_MOST_STEPS = 10_000
_Test = Callable[[str], bool]


class GlobError(ValueError):
    """A pattern is not a valid glob; the message says why."""


@dataclass(frozen=True, eq=False)
class _Position:
    """The states that the start of a name may lead to, and the known steps from there, by character."""

    states: frozenset[int]
    after: dict[str, _Position] = field(default_factory=dict)


@dataclass
class Glob:
    """A compiled pattern. Created by `compile_glob`.

    A state moves to its successor by a character that passes its test. Steps in `free` need no character. Steps in
    `at_start` need no character either, but only apply at the start of a path component, where `**/` may match nothing.
    """

    text: str
    tests: list[tuple[_Test, int] | None] = field(default_factory=lambda: [None])
    free: dict[int, list[int]] = field(default_factory=dict)
    at_start: dict[int, list[int]] = field(default_factory=dict)
    _known: dict[frozenset[int], _Position] = field(default_factory=dict)
    _start: _Position | None = None
    _steps: int = 0

    def matches(self, name: str) -> bool:
        """Whether the pattern matches the whole name."""
        if self._start is None:
            self._start = _Position(self._closed({0}, at_start=True))
        position = self._start
        for character in name:
            position = position.after.get(character) or self._step(position, character)
        return len(self.tests) - 1 in position.states

    def _step(self, before: _Position, character: str) -> _Position:
        if self._steps >= _MOST_STEPS:
            self._known, self._start, self._steps = {}, None, 0
            before = _Position(before.states)
        self._steps += 1
        arcs = (self.tests[state] for state in before.states)
        taken = {arc[1] for arc in arcs if arc and arc[0](character)}
        states = self._closed(taken, at_start=character == "/")
        before.after[character] = position = self._known.setdefault(states, _Position(states))
        return position

    def _closed(self, states: set[int], at_start: bool) -> frozenset[int]:
        found, waiting = set(states), list(states)
        while waiting:
            state = waiting.pop()
            after = self.free.get(state, []) + (self.at_start.get(state, []) if at_start else [])
            waiting += [each for each in after if each not in found]
            found.update(after)
        return frozenset(found)

    def new_state(self) -> int:
        self.tests.append(None)
        return len(self.tests) - 1

    def take(self, test: _Test) -> None:
        """Append a step: one character that passes the test."""
        state = len(self.tests) - 1
        self.tests[state] = (test, self.new_state())

    def repeat(self, test: _Test) -> None:
        """Append a loop: zero or more characters that pass the test."""
        before = len(self.tests) - 1
        loop = self.new_state()
        after = self.new_state()
        self.tests[loop] = (test, loop)
        self.free[before] = [*self.free.get(before, []), loop]
        self.free[loop] = [after]

    def folders(self, anywhere: bool) -> None:
        """Append `**/`: any characters up to a slash, or nothing: `anywhere`, or at the start of a path component."""
        before = len(self.tests) - 1
        self.repeat(_any)
        self.take("/".__eq__)
        skips = self.free if anywhere else self.at_start
        skips.setdefault(before, []).append(len(self.tests) - 1)


@lru_cache(maxsize=4096)
def compile_glob(text: str, *, no_folder_anywhere: bool = False) -> Glob:
    """Compile a pattern.

    Args:
        text: the pattern.
        no_folder_anywhere: whether `a**/b` matches `ab`, as in artifacts. By default `**/` matches nothing only at the
            start of a path component, as in the filters of triggers.

    Raises:
        GlobError: brackets or braces are not closed or nested, a range is reversed, or a backslash is the last character.
    """
    return _Reader(text, no_folder_anywhere).read()


class _Reader:
    """Parses one pattern from left to right; `_begin` is the state before the alternatives of open braces."""

    def __init__(self, text: str, no_folder_anywhere: bool) -> None:
        self._text = text
        self._no_folder_anywhere = no_folder_anywhere
        self._at = 0
        self._glob = Glob(text)
        self._begin: int | None = None
        self._ends: list[int] = []

    def read(self) -> Glob:
        while self._at < len(self._text):
            self._read_one()
        if self._begin is not None:
            raise GlobError("a brace is not closed")
        return self._glob

    def _read_one(self) -> None:
        glob = self._glob
        if self._skip("**/"):
            glob.folders(self._no_folder_anywhere)
        elif self._skip("**"):
            glob.repeat(_any)
        elif self._skip("*"):
            glob.repeat(_not_slash)
        elif self._skip("?"):
            glob.take(_not_slash)
        elif self._skip("["):
            glob.take(self._read_brackets())
        elif self._skip("{"):
            self._open()
        elif self._begin is not None and self._skip(","):
            self._next_alternative(self._begin)
        elif self._begin is not None and self._skip("}"):
            self._close()
        else:
            glob.take(self._read_literal().__eq__)

    def _skip(self, token: str) -> bool:
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _read_literal(self) -> str:
        if self._skip("\\") and self._at == len(self._text):
            raise GlobError("nothing follows the backslash at the end: it has nothing to escape")
        self._at += 1
        return self._text[self._at - 1]

    def _open(self) -> None:
        if self._begin is not None:
            raise GlobError("braces cannot be nested")
        self._begin, self._ends = len(self._glob.tests) - 1, []
        self._next_alternative(self._begin, is_first=True)

    def _next_alternative(self, begin: int, is_first: bool = False) -> None:
        if not is_first:
            self._ends.append(len(self._glob.tests) - 1)
        entry = self._glob.new_state()
        self._glob.free.setdefault(begin, []).append(entry)

    def _close(self) -> None:
        self._ends.append(len(self._glob.tests) - 1)
        after = self._glob.new_state()
        for end in self._ends:
            self._glob.free.setdefault(end, []).append(after)
        self._begin = None

    def _read_brackets(self) -> _Test:
        is_negated = self._skip("!")
        end = self._text.find("]", self._at)
        members, self._at = self._text[self._at : end], end + 1
        if end < 0 or not members:
            raise GlobError("a bracket is not closed" if end < 0 else "brackets are empty")
        if "/" in members:
            raise GlobError("brackets contain a slash, which they never match")
        ranges = list(_ranges(members))
        return lambda character: (
            character != "/" and any(low <= character <= high for low, high in ranges) is not is_negated
        )


def _ranges(members: str) -> list[tuple[str, str]]:
    """The first and last character of each range; `-` in the first or last place is a literal character."""
    found, at = [], 0
    while at < len(members):
        low = high = members[at]
        if low == "-" and 0 < at < len(members) - 1:
            raise GlobError("a range has no first character")
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            high = members[at + 2]
            at += 2
        if high < low:
            raise GlobError(f"bad character range {low}-{high}: it is in reverse order")
        found.append((low, high))
        at += 1
    return found


def _any(_: str) -> bool:
    return True


def _not_slash(character: str) -> bool:
    return character != "/"
