"""Recognizes label files by their names."""

from __future__ import annotations

from pathlib import PurePath

from crnn_jax.data import part_names
from crnn_jax.data.image_io import UNSUPPORTED_SUFFIXES

# Words that only label files have in their names; also in the names of their folders.
_CERTAIN = frozenset([
    "label", "labels", "annotation", "annotations", "ann", "anno", "gt", "groundtruth",
    "transcription", "transcriptions",
])  # fmt: skip
# All words in the names of label files.
_OF_LABELS = _CERTAIN | {
    *part_names.PARTS, *(f"{part}set" for part in part_names.PARTS), "truth", "text", "texts",
    "word", "words", "metadata", "captcha", "captchas", "answer", "answers", "solutions",
}  # fmt: skip
# Words in the names of files about images or a model.
_OF_RESULTS = frozenset([
    "result", "results", "stats", "statistics", "scores", "prediction", "predictions", "predicted",
    "pred", "preds", "ocr", "output", "outputs", "quality", "log", "history",
])  # fmt: skip
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_PROGRAMS = frozenset([
    ".py", ".pyc", ".ipynb", ".sh", ".bat", ".ps1", ".md", ".rst", ".html", ".htm", ".css", ".js",
    ".ts", ".php", ".java", ".c", ".cpp", ".h", ".go", ".rs", ".log", ".pdf", ".ttf",
    ".otf", ".wav", ".mp3", ".mp4", ".pt", ".pth", ".onnx", ".ckpt", ".safetensors", ".tflite",
    ".pb", ".keras",
])  # fmt: skip
_ARCHIVES = frozenset([".zip", ".tar", ".tgz", ".7z", ".rar"])  # often of the files beside them
_SETTINGS = frozenset([".toml", ".cfg", ".ini"])
PACKED = _ARCHIVES | frozenset(_COMPRESSED)
_PROGRESS = "filestate.txt"  # of PPOCRLabel: which images have been labeled
_OF_DOCUMENTS = frozenset(["readme", "license", "licence", "copying", "changelog", "requirements"])


def sounds_like_labels(path: str) -> bool:
    """Whether a file is named like a label file."""
    words = part_names.words(PurePath(path).stem)
    return bool(words & _OF_LABELS or part_names.of_file(path)) and not words & _OF_RESULTS


def may_have_labels(name: str) -> bool:
    """Whether a file of any format has the name of a label file, or is in a folder of labels.

    Args:
      name: the name of the file relative to the data folder.
    """
    path = PurePath(name)
    suffix = suffix_of(name)
    if is_document(name) or (path.suffix.lower() in _COMPRESSED and suffix == ".tar"):
        return False
    words = part_names.words(path.name.removesuffix(path.suffix))
    of_folders = {word for folder in path.parts[:-1] for word in part_names.words(folder)}
    if suffix in _ARCHIVES | _SETTINGS:
        return bool(words & _CERTAIN)
    return bool(words & _OF_LABELS or of_folders & _CERTAIN)


def is_certain(name: str) -> bool:
    """Whether a file or a folder above it has a name that only labels have, and none of results."""
    path = PurePath(name)
    words = {word for part in (*path.parts[:-1], path.stem) for word in part_names.words(part)}
    return bool(words & _CERTAIN) and not words & _OF_RESULTS


def is_document(name: str) -> bool:
    """Whether a file is a program, a model, an image, or a text about the data."""
    if is_progress(name) or suffix_of(name) in _PROGRAMS | UNSUPPORTED_SUFFIXES:
        return True
    return PurePath(name).name.lower().partition(".")[0] in _OF_DOCUMENTS


def is_progress(path: str) -> bool:
    """Whether a file says which images have been labeled."""
    return PurePath(path).name.lower() == _PROGRESS


def suffix_of(name: str) -> str:
    """Returns the extension of a file in lower case; that of labels.csv.gz is .csv."""
    path = PurePath(name)
    if path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower()


def is_submission(name: str) -> bool:
    """Whether a file is a submission to Kaggle by its name, such as sampleSubmission.csv."""
    return "submission" in PurePath(name).stem.lower()
