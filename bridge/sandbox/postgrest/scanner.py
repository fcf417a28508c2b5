"""Taking PostgREST's little languages apart, one word at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.sandbox.postgrest.errors import unparsable

if TYPE_CHECKING:
    from bridge.sandbox.postgrest.errors import PostgrestError


class Scanner:
    """A place in a text, and what may be taken from it there."""

    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self.at = 0
        self._what = what

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    @property
    def next(self) -> str:
        """The next character, empty at the end."""
        return self.text[self.at : self.at + 1]

    def take(self, word: str) -> bool:
        if not self.text.startswith(word, self.at):
            return False
        self.at += len(word)
        return True

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise self.fault(f'expecting "{word}"')

    def until(self, stops: str) -> str:
        start = self.at
        while not self.done and self.next not in stops:
            self.at += 1
        return self.text[start : self.at]

    def quoted(self) -> str | None:
        """A value in double quotes with backslash escapes, or None if there is none here."""
        start = self.at
        if not self.take('"'):
            return None
        out: list[str] = []
        while not self.done:
            if self.take('"'):
                return "".join(out)
            self.take("\\")
            out.append(self.next)
            self.at += 1
        self.at = start
        return None

    def name(self) -> str:
        """A column's name, quoted or made of letters, digits, `_`, `$`, `-` and inner spaces."""
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        start = self.at
        while not self.done and (self.next.isalnum() or self.next in "_$ -"):
            if self.text.startswith("->", self.at):
                raise self.fault("expecting a plain column: the sandbox reads no JSON paths")
            self.at += 1
        name = self.text[start : self.at].strip()
        if not name:
            raise self.fault("expecting field name (* or [a..z0..9_$])")
        return name

    def fault(self, expected: str) -> PostgrestError:
        found = f'"{self.next}"' if not self.done else "end of input"
        return unparsable(self._what, self.text, self.at + 1, f"unexpected {found} {expected}")
