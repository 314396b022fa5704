"""Compares serving on the loopback interface with `predict` on the same images.

    python benchmarks/serving.py RUN FOLDER --cores 0,1 --abuse 5000

A server, a process that reads with `predict`, and the clients in this process share the cores. Each
has the image files of FOLDER in memory, repeated up to --images. In turns, so that a busy machine
affects all equally, `predict` reads them, and --clients clients send them to the server, one image
per request and --each images per request. Then requests of one image are sent at fixed times, at
half of the measured throughput. Their latencies count from these times, so that a slow answer does
not delay the next request. Then --abuse bad requests are sent, with good ones in between, and last,
SIGTERM while requests wait. Writes medians, percentiles, and the requests without an answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import contest
import figures
import numpy as np
import serving_abuse
import serving_load
from serving_load import ROOT, Work

from crnn_jax.serving.settings import Settings

_PERCENTILES = (50, 90, 99, 99.9)
_IDLE_SECONDS = 15.0  # after which the server has returned free memory to the system
_DRAINED = 64  # requests that wait when the server is asked to stop


def main() -> None:
    parser = contest.parser(__doc__, "serving.json")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--images", type=int, default=2000, help="of a turn")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--each", type=int, default=16, help="images of the larger requests")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=30, help="of the requests at fixed times")
    parser.add_argument("--abuse", type=int, default=0, metavar="N", help="bad requests")
    options = parser.parse_args()
    if options.clients * options.each > Settings.max_queue:
        parser.error("--clients times --each must not exceed the images of the server's queue")
    options.load = os.getloadavg()
    contest.pin(options.cores)
    files = serving_load.files_of(options.folder)
    with Predict(options.run, options.folder, options.images) as predict:
        results = measure(options, files, predict)
    figures.write(options.out, vars(options), results)
    abuse = results.get("abuse", {})
    if bad := results["drain"]["lost"] + abuse.get("good requests not answered rightly", 0):
        sys.exit(f"{bad} good requests got a wrong answer or none")


def measure(options: Any, files: list[bytes], predict: Predict) -> dict[str, Any]:
    work = {
        f"served, {each} per request": Work(files, predict.texts, options.images, each)
        for each in (1, options.each)
    }
    series: dict[str, list[float]] = {name: [] for name in ("predict", *work)}
    images = {"predict": options.images, **{name: w.images for name, w in work.items()}}
    with serving_load.served(options.run) as server:
        for number in range(options.rounds + 1):  # the first does not count
            seconds = {"predict": predict.seconds()}
            for name, requests in work.items():
                loop = serving_load.closed_loop(server.port, requests, options.clients)
                seconds[name] = asyncio.run(loop)
            for name, value in seconds.items():
                if number:
                    series[name].append(1000 * value / images[name])
            contest.note(f"round {number} of {options.rounds}")
        rate = 1000 / statistics.median(series["served, 1 per request"]) / 2
        count = max(10, round(rate * options.seconds))
        single = Work(files, predict.texts, count, 1)
        latencies = asyncio.run(serving_load.open_loop(server.port, single, rate))
        found: dict[str, Any] = {
            "milliseconds an image": {
                name: {**row, "values": series[name]}
                for name, row in figures.summary(series, "predict").items()
            },
            "half load": {
                "requests a second": rate,
                "requests": count,
                "milliseconds": {
                    str(p): 1000 * float(np.percentile(latencies, p)) for p in _PERCENTILES
                },
                "milliseconds at most": 1000 * max(latencies),
            },
            "MiB": server.memory(),
        }
        if options.abuse:
            found["abuse"] = asyncio.run(serving_abuse.abuse(server, single, options.abuse))
            time.sleep(_IDLE_SECONDS)
            found["MiB when idle again"] = server.memory()["resident"]
        found["drain"] = asyncio.run(serving_load.drain(server, single, _DRAINED))
    for name, row in found["milliseconds an image"].items():
        rate = 1000 / row["median"]
        print(f"{name:<24} {rate:8.1f} images/s, {row['ratio']:.2f} of predict")
    rest = {key: value for key, value in found.items() if key != "milliseconds an image"}
    print(json.dumps(rest, indent=1))
    return found


class Predict:
    """The process that reads with `predict`."""

    def __init__(self, run: str, folder: str, count: int):
        script = Path(__file__).with_name("serving_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, script, run, folder, str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.texts: list[str] = self._line()["texts"]

    def __enter__(self) -> Predict:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def seconds(self) -> float:
        """Reads all images and returns the time."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        line = self._line()
        assert line["right"], "two readings of an image differ"
        return float(line["seconds"])

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    main()
