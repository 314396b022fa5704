"""How readings are printed: as text, CSV or JSON, each as soon as it is there.

A row has path, text and confidence, and answered where readings may be left blank.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any


def print_text(rows: Iterator[dict[str, Any]], _: list[str]) -> None:
    for row in rows:
        silent = "" if row.get("answered", True) else "\tunanswered"
        print(f"{row['path']}\t{row['text']}\t{row['confidence']:.4f}{silent}")


def print_csv(rows: Iterator[dict[str, Any]], columns: list[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        row["confidence"] = f"{row['confidence']:.6f}"
        writer.writerow([str(row[c]).lower() if c == "answered" else row[c] for c in columns])


def print_json(rows: Iterator[dict[str, Any]], _: list[str]) -> None:
    separator = "["
    for row in rows:
        print(separator, json.dumps(row), end="")
        separator = ",\n "
    print("[]" if separator == "[" else "]")


PRINTERS = {"text": print_text, "csv": print_csv, "json": print_json}
