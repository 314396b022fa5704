"""The page of a sweep. Positions in its charts are read from the labels of the axes."""

import re
from pathlib import Path

import pytest

from crnn_jax.analysis import charts, learning_curves, sweep_page, sweep_report, sweep_runs
from crnn_jax.analysis.charts import Interval
from crnn_jax.analysis.learning_curves import Epoch
from crnn_jax.cli import main
from crnn_jax.runs.run_dir import RunDir
from tests.analysis import scheme_report_test, sweep_report_test
from tests.helpers.pages import Element, parse, values_at

_leave = sweep_report_test._leave
# Coordinates have one decimal: on the longest axis, 110 points on 240 units, 0.05 are 0.02 points,
# for the position and for both ends of the scale.
PLACE = 0.08


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Base reads 8 and 9 of 10 images; `worse` 5 and 7, with losses 10 and 100 after epoch 1."""
    folder = tmp_path / "sweep <1>"
    _leave(folder, "base", 0, [1, 2], [10, 1], [0, 0.8])
    _leave(folder, "base", 1, [1], [100, 0.1], [0.2, 0.9])
    _leave(folder, "worse", 0, [1, 2, 3, 4, 5], [10], [0.5])
    _leave(folder, "worse", 1, [1, 3, 4], [100], [0.7])
    return folder


def _page(folder: Path) -> Element:
    assert main.main(["report", str(folder)]) == 0
    return parse((folder / "report.html").read_text())


def _charts(page: Element) -> list[Element]:
    return page.all("svg", "chart")


def test_the_page_is_one_file_with_one_script(grid: Path) -> None:
    page = _page(grid)
    assert page.all("h1")[0].text == "sweep <1>"
    (script,) = page.all("script")
    assert "src" not in script.attributes
    links = [a.attributes["href"] for a in page.all("a")]
    assert links == ["#table", "#intervals", "#curves", "#runs"]
    assert not page.all("img")
    assert "url(" not in page.all("style")[0].text


def test_the_table_has_the_numbers_counted_by_hand(grid: Path) -> None:
    table = _page(grid).all("table")[0]
    heads = [head.text for head in table.all("th")]
    base, worse = ([cell.text for cell in row.all("td")] for row in table.all("tr")[1:])
    assert dict(zip(heads[:3], base, strict=False)) == {
        "variant": "base", "runs": "2", "exact match, %": "85.00",
    }  # fmt: skip
    assert worse[heads.index("exact match, %")] == "60.00"
    assert worse[heads.index("difference to base, points")] == "-25.00"
    assert base[heads.index("difference to base, points")] == "-"
    assert base[heads.index("std over seeds, %")] == "7.07"  # of 80 and 90
    # Three of ten images are lost, in one seed or both: p is 2 / 2^3.
    assert (worse[-1], base[-1]) == ("0.250", "-")
    # No run of `worse` reached 95 %, and none of `base`.
    assert base[heads.index("to 95%: median epoch") :][:2] == ["-", "2 never"]


def test_intervals_are_where_the_axis_says(grid: Path) -> None:
    exact, difference, *_ = _charts(_page(grid))
    _, worse = sweep_report.table(sweep_runs.read_grid(grid))
    assert exact.all("text", "axis")[0].text == "exact match, %"
    assert difference.all("text", "axis")[0].text == "difference to base, percentage points"
    for chart, rows in ((exact, 2), (difference, 1)):
        assert len(chart.all("circle", "value")) == len(chart.all("g", "row")) == rows
    places = [circle.number("cx") for circle in exact.all("circle", "value")]
    assert values_at(exact, "x", places) == pytest.approx([85, 60], abs=PLACE)
    # Wilson's intervals of 8.5 and of 6 of 10 images, by hand.
    across = [
        line for row in exact.all("g", "row") for line in row.all("line")
        if line.number("y1") == line.number("y2")
    ]  # fmt: skip
    ends = [(line.number("x1"), line.number("x2")) for line in across]
    assert values_at(exact, "x", list(ends[0])) == pytest.approx([54.12, 96.46], abs=PLACE)
    assert values_at(exact, "x", list(ends[1])) == pytest.approx([31.27, 83.18], abs=PLACE)
    (place,) = (line.number("x1") for line in exact.all("line", "reference"))
    assert values_at(exact, "x", [place]) == pytest.approx([85], abs=PLACE)
    (zero,) = (line.number("x1") for line in difference.all("line", "reference"))
    (value,) = (circle.number("cx") for circle in difference.all("circle", "value"))
    assert values_at(difference, "x", [zero, value]) == pytest.approx([0, -25], abs=PLACE)
    assert worse.difference_low is not None
    title = difference.all("title")[0].text
    assert title.startswith(f"worse: -25.0 [{100 * worse.difference_low:.1f}, ")


def test_low_values_do_not_press_the_others_together() -> None:
    rows = [Interval(f"v{n}", 98 + n, 96 + n, 99 + n, "") for n in range(2)]
    rows += [Interval("partly", 93, 50, 99, ""), Interval("none", 0, 0, 1, "")]

    def drawn(rows: list[Interval]) -> tuple[list[float], list[bool], list[bool], str]:
        (chart,) = parse(charts.forest(rows, "exact match, %", "", 98)).all("svg")
        groups = chart.all("g", "row")
        (title,) = chart.all("text", "axis")
        places = [circle.number("cx") for circle in chart.all("circle")]
        arrows, dots = ([bool(g.all(tag)) for g in groups] for tag in ("path", "circle"))
        return values_at(chart, "x", places), arrows, dots, title.text

    # The better half is from 96 to 100, so the axis shows 92 to 100, and some room.
    shown, arrows, dots, title = drawn(rows)
    assert shown == pytest.approx([98, 99, 93], abs=PLACE)
    assert arrows == [False, False, True, True]
    assert dots == [True, True, True, False]
    assert title == "exact match, % (arrows: below 91.7)"
    # Everything from 70 on is in less than five times that range.
    shown, arrows, dots, title = drawn([*rows[:2], rows[0]._replace(value=75, low=70)])
    assert shown == pytest.approx([98, 99, 75], abs=PLACE)
    assert not any(arrows)
    assert title == "exact match, %"


def test_learning_curves_show_median_and_range(grid: Path) -> None:
    loss, exact = _charts(_page(grid))[2:4]
    assert [t.text for t in loss.all("text", "axis")] == [
        "epoch",
        "validation loss, nats per image",
    ]
    assert [t.text for t in exact.all("text", "axis")] == [
        "epoch", "exact match on the validation part, %",
    ]  # fmt: skip
    base, worse = exact.all("g", "series")
    points = [p.split(",") for p in str(base.all("polyline")[0].attributes["points"]).split()]
    x, y = ([float(point[n]) for point in points] for n in (0, 1))
    assert values_at(exact, "x", x) == pytest.approx([1, 2], abs=0.01)
    assert values_at(exact, "y", y) == pytest.approx([10, 85], abs=PLACE)
    corners = [p.split(",") for p in str(base.all("polygon")[0].attributes["points"]).split()]
    ys = values_at(exact, "y", [float(y) for _, y in corners])
    assert ys == pytest.approx(
        [20, 90, 80, 0], abs=PLACE
    )  # up along the top, back along the low end
    # One epoch: a marker, no line.
    assert len(worse.all("path", "marker")) == 1
    # The legend tells lines apart by dashes and markers, too.
    styles = [sample.all("g")[0].classes[1:] for sample in _page(grid).all("svg", "sample")]
    assert len({tuple(style) for style in styles}) == 2


def test_curves_by_hand_and_thinned() -> None:
    runs = [[Epoch(1, 3.0, 0.0), Epoch(2, 1.0, 0.5)], [Epoch(1, 5.0, 0.25)], [Epoch(1, 4.0, 1.0)]]
    assert learning_curves.over_runs(runs, "val_loss", 9) == [(1, 4, 3, 5), (2, 1, 1, 1)]
    assert learning_curves.over_runs(runs, "exact_match", 9, 100)[0] == (1, 25, 0, 100)
    long = [[Epoch(n, n, 0) for n in range(1, 102)]]
    kept = [point.x for point in learning_curves.over_runs(long, "val_loss", 5)]
    assert kept == [1, 26, 51, 76, 101]


def test_runs_are_linked_with_their_trackers_and_the_failed_are_listed(grid: Path) -> None:
    odd = "50% #1?"
    _leave(grid, odd, 0, [1], [1], [1])
    (grid / odd / "seed0-fold0" / "report.html").touch()
    (grid / odd / "seed0-fold0" / "tensorboard").mkdir()
    (grid / "base" / "seed0-fold0" / "mlflow.db").touch()
    for name in ("dead", "alive"):
        (grid / name / "seed0-fold0").mkdir(parents=True)
        (grid / name / "seed0-fold0" / "config.json").write_text("{")  # is not read
    (grid / "dead" / "seed0-fold0" / "failed.txt").touch()
    page = _page(grid)
    runs, unfinished = page.all("table")[1:]
    links = {
        row.all("td")[0].text: [(a.text, a.attributes["href"]) for a in row.all("a")]
        for row in runs.all("tr")[1:]
    }
    place = "50%25%20%231%3F/seed0-fold0"
    assert links.pop(f"{odd}/seed0-fold0") == [
        ("report", f"{place}/report.html"), ("tensorboard", f"{place}/tensorboard"),
    ]  # fmt: skip
    assert links.pop("base/seed0-fold0") == [("mlflow", "base/seed0-fold0/mlflow.db")]
    assert list(links.values()) == [[]] * 3
    rows = [[cell.text for cell in row.all("td")] for row in unfinished.all("tr")[1:]]
    assert rows == [
        ["alive/seed0-fold0", "not finished", ""],
        ["dead/seed0-fold0", "failed", "failed.txt"],
    ]
    assert "2 runs without a result" in unfinished.all("caption")[0].text


def test_a_page_of_many_long_runs_is_small(grid: Path) -> None:
    (run, *_) = sweep_runs.read_grid(grid)
    epochs = tuple(Epoch(n, 1 + 1 / n, n / 1000) for n in range(1, 1001))
    runs = [
        sweep_runs.Run(**{**vars(run), "variant": f"v{v}", "cell": f"seed{s}-fold0",
                            "epochs": epochs})
        for v in range(150) for s in range(2)
    ]  # fmt: skip
    text = sweep_page.of_variants(grid, runs, sweep_report.table(runs))
    assert len(text) < 2_000_000
    page = parse(text)
    assert len(page.all("table")[1].all("tr")) == 301
    assert len(_charts(page)[0].all("g", "row")) == 150
    # 300 of 2 x 150 lines wait for their check box.
    hidden = ["hidden" in line.attributes for line in page.all("g", "series")]
    assert hidden.count(False) - 150 == 2 * 6  # the samples of the legend are visible
    boxes = page.all("input")
    assert ["checked" in box.attributes for box in boxes] == [True] * 6 + [False] * 144


def test_names_of_strangers_are_text(grid: Path) -> None:
    bad = "<script>alert(1)<|script>\x1b"
    _leave(grid, bad, 0, [1], [1], [1])
    assert main.main(["report", str(grid)]) == 0
    text = (grid / "report.html").read_text()
    assert text.count("<script") == 1
    assert "\x1b" not in text
    parse(text)


def test_the_page_of_schemes(tmp_path: Path) -> None:
    leave = scheme_report_test._leave
    leave(tmp_path, "easy", "50", 0, 20, 10, 14, 15)
    leave(tmp_path, "easy", "all", 0, 20, 20, 20, 20)
    leave(tmp_path, "hard", "50", 0, 40, 4, 4, 8)
    leave(tmp_path, "hard", "50", 1, 40, 8, 8, 8)
    (tmp_path / "hard" / "all" / "seed0-fold0").mkdir(parents=True)
    (tmp_path / "hard" / "all" / "seed0-fold0" / "config.json").touch()
    curve = RunDir(tmp_path / "easy" / "50" / "seed0-fold0")
    for epoch in (1, 2):
        curve.append_metrics({"epoch": epoch, "val_loss": 1.0, "exact_match": 0.5, "seconds": 1.0})
    page = _page(tmp_path)
    rows = [[cell.text for cell in row.all("td")] for row in page.all("table")[0].all("tr")[1:]]
    assert [row[:5] for row in rows] == [
        ["easy", "50", "1", "20", "50.00"],
        ["easy", "all", "1", "20", "100.00"],
        ["hard", "50", "2", "40", "15.00"],
    ]
    labeled, *_ = charts = _charts(page)
    places = [circle.number("cx") for circle in labeled.all("circle", "value")]
    assert values_at(labeled, "x", places) == pytest.approx([50, 100, 15], abs=PLACE)
    # Three forests, three charts by labels with the mean of 50 and 15 %, and two of curves.
    assert len(charts) == 8
    by_labels = charts[3]
    assert [t.text for t in by_labels.all("text", "tick") if "x" in t.classes] == ["50", "all"]
    mean, *schemes = by_labels.all("g", "series")
    assert [line.all("title")[0].text for line in schemes] == ["easy", "hard"]
    assert mean.all("title")[0].text == "mean"
    first = re.match(r"[\d.]+,([\d.]+)", str(mean.all("polyline")[0].attributes["points"]))
    assert first
    assert values_at(by_labels, "y", [float(first[1])]) == pytest.approx([32.5], abs=PLACE)
    assert [line.all("title")[0].text for line in charts[6].all("g", "series")] == ["easy/50"]
    assert "hard/all/seed0-fold0" in page.all("table")[2].text
