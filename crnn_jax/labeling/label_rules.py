"""Which texts are accepted as labels, and which have to be confirmed."""

from __future__ import annotations

from collections.abc import Collection

from crnn_jax.data import label_texts

_FORM_LABELS = 5  # labels that are compared with the next one


class EntryError(Exception):
    """An entry that was not accepted. The message is for the person who labels."""

    def __init__(self, message: str, needs_consent: bool = False):
        super().__init__(message)
        self.needs_consent = needs_consent  # the same entry is accepted if it is confirmed


def check(label: str, others: Collection[str], num_steps: int, is_confirmed: bool) -> None:
    """Checks a label before it is saved.

    Args:
      label: the label, as it is stored.
      others: the labels so far.
      num_steps: time steps of the reader, into which it must fit.
      is_confirmed: accept an unusual length.

    Raises:
      EntryError: it cannot be a label, or it has to be confirmed.
    """
    if not label:
        raise EntryError("Type the text of the image, or skip it if it cannot be read.")
    if label == label_texts.UNREADABLE:
        raise EntryError(f"{label} marks an image that cannot be read; skip it instead.")
    if reason := label_texts.complaint(label, None, num_steps):
        raise EntryError(f"The {reason.removeprefix('its ').partition('; increase')[0]}.")
    if not is_confirmed and (question := _unusual(label, [len(text) for text in others])):
        raise EntryError(question, needs_consent=True)


def _unusual(label: str, lengths: list[int]) -> str:
    """Returns a question if all other labels have other lengths; empty otherwise."""
    if len(lengths) < _FORM_LABELS or min(lengths) <= len(label) <= max(lengths):
        return ""
    few, many = min(lengths), max(lengths)
    span = str(few) if few == many else f"{few} to {many}"
    return (
        f"All {len(lengths)} labels so far have {span} characters, and this one has "
        f"{len(label)}. Press Enter again to keep it."
    )
