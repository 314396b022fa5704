"""The guesses of the images that are shown: their texts, and the characters of the texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from crnn_jax.labeling.pool import Pool


class Guess(NamedTuple):
    """The reading of an image that is shown. It does not change while the image is shown."""

    text: str
    confidence: float
    reader: str  # name of the reader


class Character(NamedTuple):
    """A character of a guess, and its probability given the other characters."""

    symbol: str
    probability: float


class Guesses:
    """The guesses of the images that are shown, by number."""

    def __init__(self, pool: Pool):
        self._pool = pool
        self._guesses: dict[int, Guess] = {}
        self._characters: dict[int, tuple[str, list[Character]]] = {}  # with the text

    def __contains__(self, number: int) -> bool:
        return number in self._guesses

    def __getitem__(self, number: int) -> Guess:
        return self._guesses[number]

    def __setitem__(self, number: int, guess: Guess) -> None:
        self._guesses[number] = guess

    def keep(self, number: int, reader: str) -> None:
        """Keeps the reading of an image that is shown from now on, unless it has a guess.

        Args:
          number: the image's number.
          reader: the name of the current reader.
        """
        if number not in self._guesses:
            text, confidence = self._pool.texts[number], self._pool.confidences[number]
            name = reader if self._pool.is_current(number) else ""
            self._guesses[number] = Guess(text, float(confidence), name)

    def drop(self, number: int) -> None:
        """Drops the guess of an image that is not shown any more."""
        self._guesses.pop(number, None)
        self._characters.pop(number, None)

    def renew(self) -> None:
        """Drops the characters of an old reader, except those of images that are shown."""
        self._characters = {n: c for n, c in self._characters.items() if n in self._guesses}

    def characters(self, number: int) -> list[Character]:
        """Returns the characters of a guess; empty if they are not known (yet)."""
        text, found = self._characters.get(number, ("", []))
        return found if text == self._guesses[number].text else []

    def put_characters(self, number: int, text: str, characters: Sequence[Any]) -> None:
        """Stores the characters of a reading of the current reader."""
        found = [Character(c.symbol, c.probability) for c in characters]
        self._characters[number] = text, found

    def unexplained(self, numbers: Iterable[int], reader: str) -> list[int]:
        """Returns those of the images that `reader`, the current one, can still explain."""
        found = []
        for number in numbers:
            guess = self._guesses.get(number)
            is_old = guess is not None and guess.reader != reader
            text = guess.text if guess else self._pool.texts[number]
            if self._pool.is_current(number) and not is_old and number not in self._characters:
                found += [number] if text else []
        return found
