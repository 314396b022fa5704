"""Which characters are shown with a guess."""

from crnn_jax.labeling.guesses import Character, Guesses
from crnn_jax.labeling.pool import Pool


def _of_one(text: str) -> tuple[Pool, Guesses]:
    """One image, which the first reader reads as `text`."""
    pool = Pool(1)
    pool.put(0, text, 0.5, 0)
    return pool, Guesses(pool)


def test_characters_of_another_text_are_not_shown() -> None:
    _, guesses = _of_one("a")
    guesses.keep(0, "first")
    guesses.put_characters(0, "b", [Character("b", 0.75)])
    assert guesses.characters(0) == []
    guesses.put_characters(0, "a", [Character("a", 0.5)])
    assert guesses.characters(0) == [("a", 0.5)]


def test_a_new_reader_explains_its_own_guesses() -> None:
    """Also if it reads the same text: its probabilities are others."""
    pool, guesses = _of_one("a")
    guesses.put_characters(0, "a", [Character("a", 0.5)])  # before the image is shown
    pool.renew()
    guesses.renew()
    pool.put(0, "a", 0.75, 1)
    guesses.keep(0, "second")
    assert guesses.characters(0) == []
    assert guesses.unexplained([0], "second") == [0]
