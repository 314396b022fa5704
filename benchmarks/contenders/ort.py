"""onnxruntime on the ONNX export of the package."""

from __future__ import annotations

import numpy as np
import onnxruntime
import worker


def prepare(job: worker.Job) -> worker.Work:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        job.onnx, options, providers=["CPUExecutionProvider"]
    )  # with full graph optimization, which is the default
    arrays = job.load()

    def read(images: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"images": images})[0]

    pixels = arrays["images"][: job.batch]
    count = sum(a.size for name, a in arrays.items() if "/" in name)  # the source of the export
    logits = read(arrays["images"][: worker.CHECKED])
    return worker.Work(worker.timed(lambda: read(pixels)), count, ("onnxruntime",), logits)


if __name__ == "__main__":
    worker.serve(prepare)
