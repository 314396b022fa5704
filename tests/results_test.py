"""Every folder of results/ says what its records are, and how they were made."""

from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[1] / "results"
FOLDERS = [*sorted(path for path in RESULTS.iterdir() if path.is_dir()), RESULTS / "speed" / "gpu"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_of_results_names_its_records_and_their_command(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert "python " in text or "benchmarks/" in text
    for record in folder.iterdir():
        if record.suffix in {".json", ".txt", ".md"} and record.name != "README.md":
            assert record.name in text, record
