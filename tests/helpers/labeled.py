"""A labeling session as a person sees it: what is shown, entered and saved."""

import csv
from pathlib import Path

from crnn_jax.labeling.session import Session

COUNT = 24


def readings(count: int = COUNT) -> dict[str, tuple[str, float]]:
    return {f"{n:02}.png": (f"a{n:02}", n / 100) for n in range(count)}


def shown(session: Session) -> str:
    found = session.current()
    assert found is not None
    return session.files[found.number]


def enter(session: Session, text: str | None = None) -> str:
    """Accepts the guess, or enters another text. Returns the file."""
    found = session.current()
    assert found is not None
    session.label(found.number, session.guess(found.number).text if text is None else text, True)
    return session.files[found.number]


def saved(folder: Path) -> dict[str, str]:
    with (folder / "labels.csv").open(newline="") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}
