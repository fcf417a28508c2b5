"""Tokenizer for the grammars of PostgREST's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.sandbox.postgrest.errors import parse_error

if TYPE_CHECKING:
    from bridge.sandbox.postgrest.errors import PostgrestError


class Scanner:
    """A text and the current position in it. `label` names the parameter in error messages."""

    def __init__(self, text: str, label: str) -> None:
        self.text = text
        self.position = 0
        self._label = label

    @property
    def done(self) -> bool:
        return self.position >= len(self.text)

    @property
    def next(self) -> str:
        """The next character, empty at the end."""
        return self.text[self.position : self.position + 1]

    def accept(self, word: str) -> bool:
        """Advance past `word`; return False if the text does not continue with it."""
        if not self.text.startswith(word, self.position):
            return False
        self.position += len(word)
        return True

    def expect(self, word: str) -> None:
        """Advance past `word`. Raises `PostgrestError` if the text does not continue with it."""
        if not self.accept(word):
            raise self.error(f'expecting "{word}"')

    def until(self, stops: str) -> str:
        """Advance to one of the characters `stops`, or to the end; return the text passed."""
        start = self.position
        while not self.done and self.next not in stops:
            self.position += 1
        return self.text[start : self.position]

    def quoted(self) -> str | None:
        """Advance past a double-quoted value with backslash escapes and return it; None if there is
        none at this position.
        """
        start = self.position
        if not self.accept('"'):
            return None
        out: list[str] = []
        while not self.done:
            if self.accept('"'):
                return "".join(out)
            self.accept("\\")
            out.append(self.next)
            self.position += 1
        self.position = start
        return None

    def column_name(self) -> str:
        """Advance past a column name: quoted, or of letters, digits, `_`, `$`, `-` and inner
        spaces. Raises `PostgrestError` if there is none.
        """
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        start = self.position
        while not self.done and (self.next.isalnum() or self.next in "_$ -"):
            if self.text.startswith("->", self.position):
                raise self.error("expecting a plain column: the sandbox reads no JSON paths")
            self.position += 1
        name = self.text[start : self.position].strip()
        if not name:
            raise self.error("expecting field name (* or [a..z0..9_$])")
        return name

    def error(self, expected: str) -> PostgrestError:
        """Return the parse error at this position."""
        found = f'"{self.next}"' if not self.done else "end of input"
        return parse_error(
            self._label, self.text, self.position + 1, f"unexpected {found} {expected}"
        )
