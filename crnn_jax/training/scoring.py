"""The end of a run: the scores of its parts, and its result."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.data import resolve, sources
from crnn_jax.errors import DataError, RunError, one_line
from crnn_jax.inference import held_out
from crnn_jax.models import crnn
from crnn_jax.runs import continuing, reader_file
from crnn_jax.runs.result import Answer, Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training import run_logging, self_training
from crnn_jax.training.run import Run


def score(run: Run) -> Result:
    """Reads the validation part with the best parameters, and writes the result."""
    if not len(run.context.scored):  # a resumed run without labels that had already ended
        self_training.stored(run, run.epoch)
    epoch = run.stopping.best_epoch
    best = run.checkpoints.restore(epoch, {"params": run.ema})["params"]
    context = run.context
    temperature, typical = context.calibrate(best)
    evaluation = context.evaluate(best, temperature)
    if not run.stopping.left_plateau:
        known = context.split.train[context.split.train < len(context.data.images)]
        known = known[: context.config.train.eval_batch_size]
        train_loss = context.evaluate(run.ema, indices=known).loss if len(known) else None
        run_logging.warn_of_plateau(run, evaluation.loss, train_loss)
    run.dir.write_csv("readings.csv", Answer._fields, evaluation.answers)
    run.dir.write_csv("errors.csv", Answer._fields, evaluation.misreads)
    result = Result(
        **evaluation.summary(),
        best_epoch=epoch,
        epochs_run=run.epoch,
        seconds=round(run.seconds, 2),
        seed=run.config.seed,
        params_sha256=crnn.params_sha256(best),
        data_name=context.data.name,
        fingerprint=context.data.fingerprint,
        num_train=len(context.split.train),
        num_val=len(context.split.val),
        temperature=temperature,
        typicality=list(typical) if typical else None,
    )
    if len(context.split.test):
        write_test(run, best, temperature)
    reader_file.write(run.dir, best, run.checkpoints.meta(epoch), run.config)
    run.dir.write_json("result.json", dataclasses.asdict(result))
    return result


def write_test(run: Run, params: Any, temperature: float) -> None:
    """Reads the test part, for the first time, and writes `test.json` and `test_readings.csv`."""
    context = run.context
    answers = context.evaluate(params, temperature, context.split.test).answers
    # The labels as they are in the folder, before data.case and data.merge.
    truths = [context.data.labels[i] for i in context.split.test]
    files, _, readings, *_ = zip(*answers, strict=True)
    scores = held_out.score(context.data.name, context.data.fingerprint, files, truths, readings)
    run.dir.write_csv("test_readings.csv", Answer._fields, answers)
    run.dir.write_json(held_out.TEST_FILE, scores)


def finished(run: RunDir, config: Config) -> Result:
    """Returns the result of a finished run.

    The data need not exist any more, but if they do they must be the same. Without them, what the
    config leaves to the data is not compared.

    Raises:
      RunError: the run has a different config or different data.
    """
    with contextlib.suppress(DataError):
        config = resolve.resolve(config)
    run.check_same(config, unresolved=True)
    result = run.result()
    assert result is not None
    found = sources.expected_fingerprint(config.data, config_lib.num_steps(config))
    if found not in (None, result.fingerprint):
        raise RunError(
            f"{run.workdir} is a finished run on other data: {one_line(result.data_name)}, "
            f"fingerprint {result.fingerprint[:12]}; choose another --workdir. "
            f"{continuing.advice(run.workdir, config)}".rstrip()
        )
    print(f"{run.workdir} is finished; nothing is left to do")
    return result
