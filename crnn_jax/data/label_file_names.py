"""What the names of files say about labels."""

from __future__ import annotations

from pathlib import PurePath

from crnn_jax.data import part_names
from crnn_jax.data.image_io import UNSUPPORTED_SUFFIXES

# Words in the names of files that have labels.
_OF_LABELS = frozenset([
    "label", "labels", "annotation", "annotations", "ann", "anno", "gt", "groundtruth", "truth",
    "train", "val", "test", "text", "texts", "word", "words", "transcription", "transcriptions",
    "metadata", "captcha", "captchas", "answer", "answers", "solutions", "trainset", "valset",
    "testset",
])  # fmt: skip
# Those that only files with labels have, also in the names of folders.
_CERTAIN = frozenset([
    "label", "labels", "annotation", "annotations", "ann", "anno", "gt", "groundtruth",
    "transcription", "transcriptions",
])  # fmt: skip
# Words in the names of files about images or a model.
_OF_RESULTS = frozenset([
    "result", "results", "stats", "statistics", "scores", "prediction", "predictions", "predicted",
    "pred", "preds", "ocr", "output", "outputs", "quality", "log", "history",
])  # fmt: skip
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_PROGRAMS = frozenset([
    ".py", ".pyc", ".ipynb", ".sh", ".bat", ".ps1", ".md", ".rst", ".html", ".htm", ".css", ".js",
    ".ts", ".php", ".java", ".c", ".cpp", ".h", ".go", ".rs", ".toml", ".cfg", ".ini", ".log",
    ".pdf", ".ttf", ".otf", ".wav", ".mp3", ".mp4", ".pt", ".pth", ".onnx", ".ckpt",
    ".safetensors", ".tflite", ".pb", ".keras",
])  # fmt: skip
_ARCHIVES = frozenset([".zip", ".tar", ".tgz", ".7z", ".rar"])  # often of the files beside them
_PROGRESS = "filestate.txt"  # of PPOCRLabel: which images have been labeled
_OF_DOCUMENTS = frozenset(["readme", "license", "licence", "copying", "changelog", "requirements"])


def sounds_like_labels(path: str) -> bool:
    """Whether the name of a file is one of label files."""
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
    if suffix in _ARCHIVES:
        return bool(words & _CERTAIN)
    return bool(words & _OF_LABELS or of_folders & _CERTAIN)


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
    """Whether a file shows the form of an answer to Kaggle, such as sampleSubmission.csv."""
    return "submission" in PurePath(name).stem.lower()
