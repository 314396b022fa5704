import csv
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crnn_jax import ctc, dataset, flat_start, train
from crnn_jax import model as model_lib
from crnn_jax.errors import RunError, TrainingError
from crnn_jax.task import Task, prepare
from tests.quiet import QUIET


class Interrupted(BaseException):
    """Stands for a kill: nothing may catch it."""


def _metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, captchas):
    """A run of four epochs: its config, directory and result."""
    from crnn_jax import config as config_lib
    from experiments import tiny

    values = tiny.get_config()
    values.data.dir = str(captchas)
    values.log.every_steps = 3
    config = config_lib.from_config_dict(values)
    workdir = tmp_path_factory.mktemp("run")
    return config, workdir, train.train_and_evaluate(config, workdir)


def test_a_run_leaves_its_record(finished, captchas):
    _, workdir, _ = finished
    assert {p.name for p in workdir.iterdir()} == {
        "config.json",
        "environment.json",
        "params.txt",
        "augmented.png",
        "metrics.jsonl",
        "readings.csv",
        "errors.csv",
        "result.json",
        "checkpoints",
    }
    stored = json.loads((workdir / "result.json").read_text())
    assert {
        "exact_match", "cer", "num_examples", "best_epoch", "epochs_run", "val_loss", "seconds",
        "seed", "params_sha256", "data_name", "fingerprint", "num_train", "num_val",
    } <= stored.keys()  # fmt: skip
    assert stored["data_name"] == captchas.name
    assert (stored["num_train"], stored["num_val"], stored["num_examples"]) == (36, 4, 4)
    assert stored["epochs_run"] == 4
    environment = json.loads((workdir / "environment.json").read_text())
    assert environment["data"]["alphabet"] == "7abc"
    assert environment["data"]["fingerprint"] == stored["fingerprint"]
    with (workdir / "errors.csv").open() as file:
        misread = list(csv.DictReader(file))
    assert len(misread) == 4 - stored["num_exact"]
    assert all(row["truth"] != row["reading"] for row in misread)


def test_metrics_hold_every_epoch_and_every_third_step(finished):
    # 36 images in batches of 8: five steps an epoch, twenty in all.
    _, workdir, result = finished
    lines = _metrics(workdir)
    epochs = [line for line in lines if "val_loss" in line]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 5), (2, 10), (3, 15), (4, 20)]
    steps = [line["step"] for line in lines if "step_loss" in line]
    assert steps == [3, 6, 9, 12, 15, 18]
    assert result.val_loss == min(line["val_loss"] for line in epochs)
    assert result.best_epoch == min(epochs, key=lambda line: line["val_loss"])["epoch"]


def test_a_finished_run_says_so_and_trains_no_more(finished, capsys):
    config, workdir, result = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    before.pop(workdir / "config.json")
    assert train.train_and_evaluate(config, workdir) == result
    assert "is finished" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    finished, tmp_path, monkeypatch, capsys
):
    config, workdir, result = finished
    save = train.save

    def save_twice_then_stop(checkpoints, epoch, *rest):
        save(checkpoints, epoch, *rest)
        if epoch == 2:
            raise Interrupted

    monkeypatch.setattr(train, "save", save_twice_then_stop)
    with pytest.raises(Interrupted):
        train.train_and_evaluate(config, tmp_path)
    monkeypatch.setattr(train, "save", save)
    resumed = train.train_and_evaluate(config, tmp_path)
    assert "going on after epoch 2" in capsys.readouterr().out
    assert resumed.params_sha256 == result.params_sha256
    assert resumed.val_loss == result.val_loss

    def without_time(lines):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    assert without_time(_metrics(tmp_path)) == without_time(_metrics(workdir))


def test_the_step_compiles_once_though_the_last_batch_is_short(tiny_config, tmp_path, monkeypatch):
    steps = []
    jitted_step = train.jitted_step

    def spy(*arguments):
        steps.append(jitted_step(*arguments))
        return steps[-1]

    monkeypatch.setattr(train, "jitted_step", spy)
    config = tiny_config(train__epochs=2, train__batch_size=8)  # 36 = 4 x 8 + 4
    train.train_and_evaluate(config, tmp_path)
    assert [step._cache_size() for step in steps] == [1]


def test_batch_size_sets_the_updates_and_each_example_is_seen_once_an_epoch(tiny_config):
    for batch_size, updates in ((8, 5), (36, 1), (100, 1)):
        task = prepare(tiny_config(train__batch_size=batch_size))
        assert task.steps_per_epoch == updates
        order = dataset.epoch_order(task.split.train, 0, 1)
        batches = list(dataset.batches(order, batch_size))
        assert len(batches) == updates
        seen = np.concatenate([indices[mask] for indices, mask in batches])
        assert sorted(seen) == sorted(task.split.train)


def test_padding_of_a_short_batch_changes_nothing(tiny_config):
    """Three examples and a mask: the loss is their mean, whatever fills the rest."""
    config = tiny_config(QUIET, flat_start__until=0.0)
    task = prepare(config)
    step = train.jitted_step(task, config)
    mask = np.array([True] * 3 + [False] * 5)
    results = []
    for filler in (0, 7):
        indices = np.array([4, 5, 6] + [filler] * 5, np.int32)
        state = train.init_state(task, config)
        results.append(step(state, task.images, task.labels, indices, mask, jax.random.key(0)))
    params = train.init_state(task, config).params
    logits = model_lib.apply(task.model, params, task.images[jnp.array([4, 5, 6])])
    expected = ctc.ctc_loss(logits, task.labels[jnp.array([4, 5, 6])]).mean()
    np.testing.assert_allclose([loss for _, loss in results], [expected] * 2, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        results[0][0].params,
        results[1][0].params,
    )


def test_a_step_is_the_optimizer_s_update_of_the_mean_loss(tiny_config):
    config = tiny_config(
        QUIET,
        flat_start__until=0.0,
        optimizer__momentum=0.0,
        optimizer__nesterov=False,
        optimizer__clip_norm=0.0,
        optimizer__warmup_steps=0,
        optimizer__schedule="constant",
        optimizer__learning_rate=0.01,
    )
    task = prepare(config)
    state = train.init_state(task, config)
    start = jax.tree.map(np.asarray, state.params)
    indices = np.arange(8, dtype=np.int32)

    def loss(params):
        logits = model_lib.apply(task.model, params, task.images[indices])
        return ctc.ctc_loss(logits, task.labels[indices]).mean()

    grads = jax.jit(jax.grad(loss))(start)
    step = train.jitted_step(task, config)
    state, _ = step(state, task.images, task.labels, indices, np.ones(8, bool), jax.random.key(0))
    assert int(state.step) == 1
    jax.tree.map(
        lambda new, old, grad: np.testing.assert_allclose(new, old - 0.01 * grad, atol=1e-6),
        state.params,
        start,
        grads,
    )


def test_streams_are_independent(tiny_config):
    """Dropout off leaves initial weights, order and split; another seed changes the first two."""
    with_dropout, without, other = (
        tiny_config(),
        tiny_config(model__dropout=0.0, model__lstm_dropout=0.0),
        tiny_config(seed=1),
    )
    tasks = [prepare(c) for c in (with_dropout, without, other)]
    shas = [
        train.params_sha256(train.init_state(task, c).params)
        for task, c in zip(tasks, (with_dropout, without, other), strict=True)
    ]
    assert shas[0] == shas[1] != shas[2]
    for task in tasks[1:]:
        np.testing.assert_array_equal(task.split.val, tasks[0].split.val)
    keys = {
        tuple(jax.random.key_data(train.stream(jax.random.key(s), n)).tolist())
        for s in (0, 1)
        for n in "ab"
    }
    assert len(keys) == 4


def test_patience_ends_a_run(tiny_config, tmp_path, monkeypatch):
    losses = iter([1.0, 2.0, 3.0, 0.5])
    evaluate = Task.evaluate

    def worse_and_worse(*arguments):
        return evaluate(*arguments)._replace(loss=next(losses))

    monkeypatch.setattr(Task, "evaluate", worse_and_worse)
    config = tiny_config(train__epochs=9, train__patience=2)
    result = train.train_and_evaluate(config, tmp_path)
    assert (result.best_epoch, result.epochs_run) == (1, 3)


def test_stop_after_ends_a_run_and_leaves_its_schedule(finished, tiny_config, tmp_path):
    _, workdir, _ = finished
    config = tiny_config(log__every_steps=3, train__stop_after=2)
    result = train.train_and_evaluate(config, tmp_path)
    assert result.epochs_run == 2
    first, whole = (
        [line["val_loss"] for line in _metrics(path) if "val_loss" in line]
        for path in (tmp_path, workdir)
    )
    assert first == whole[:2]
    assert train.train_and_evaluate(config, tmp_path) == result


def test_last_weights_are_those_of_the_last_epoch(tiny_config, tmp_path, monkeypatch):
    losses = iter([1.0, 2.0, 3.0])
    evaluate, scored = Task.evaluate, []

    def worse_and_worse(task, params):
        scored.append(train.params_sha256(params))
        return evaluate(task, params)._replace(loss=next(losses, 4.0))

    monkeypatch.setattr(Task, "evaluate", worse_and_worse)
    config = tiny_config(train__epochs=3, train__weights="last", train__patience=1)
    result = train.train_and_evaluate(config, tmp_path)
    assert (result.best_epoch, result.epochs_run) == (3, 3)
    assert result.params_sha256 == scored[2] != scored[0]


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(ctc, "ctc_loss", lambda logits, labels: jnp.full(len(logits), math.nan))
    with pytest.raises(TrainingError, match=r"step 2\b.*learning_rate"):
        train.train_and_evaluate(tiny_config(log__every_steps=2), tmp_path)


def test_a_data_set_that_changed_is_refused(tiny_config, tmp_path, captchas):
    import shutil

    folder = tmp_path / "set"
    shutil.copytree(captchas, folder)
    config = tiny_config(data__dir=str(folder), train__epochs=1)
    train.train_and_evaluate(config, tmp_path / "run")
    victim = sorted(folder.iterdir())[0]
    shutil.copy(sorted(folder.iterdir())[1], victim)  # another picture under an old name
    with pytest.raises(RunError, match="fingerprint"):
        train.train_and_evaluate(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match=r"the data set changed"):
        train.train_and_evaluate(config, tmp_path / "run")


def test_a_checkpoint_of_another_alphabet_is_refused(tiny_config, tmp_path):
    config = tiny_config(data__alphabet="7abc", train__epochs=1)
    train.train_and_evaluate(config, tmp_path)
    (tmp_path / "result.json").unlink()
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"7abc"', '"cba7"'))
    with pytest.raises(RunError, match=r"alphabet '7abc'.*'cba7'"):
        train.train_and_evaluate(tiny_config(data__alphabet="cba7", train__epochs=1), tmp_path)


def test_the_reader_learns_to_read(tiny_config, tmp_path):
    """The whole of it on a set that is easily read: nothing less than all words, unseen ones."""
    config = tiny_config(
        QUIET,
        flat_start__max_steps=30,
        train__epochs=60,
        train__patience=0,
    )
    result = train.train_and_evaluate(config, tmp_path)
    assert result.exact_match == 1.0


def test_the_objective_is_shared_by_the_guide_and_ctc(tiny_config):
    """With plain SGD the share of each can be read off the update."""
    config = tiny_config(
        QUIET,
        flat_start__trim=0.2,
        optimizer__momentum=0.0,
        optimizer__nesterov=False,
        optimizer__clip_norm=0.0,
        optimizer__warmup_steps=0,
        optimizer__schedule="constant",
    )
    task = prepare(config)
    fresh = train.init_state(task, config)
    params = jax.tree.map(np.asarray, fresh.params)
    indices = np.arange(8, dtype=np.int32)

    def losses(params):
        logits = model_lib.apply(task.model, params, task.images[indices])
        labels = task.labels[indices]
        guide = flat_start.loss(logits, labels, task.images[indices], config.flat_start.trim)
        return ctc.ctc_loss(logits, labels).mean(), guide.mean()

    ctc_grads, guide_grads = jax.jit(jax.jacrev(losses))(params)
    step = train.jitted_step(task, config)
    rate, num_steps = config.optimizer.learning_rate, 16
    for share in (1.0, 0.25, 0.0):
        state = jax.tree.map(jnp.array, fresh)
        state = state._replace(guide=flat_start.Guide(jnp.float32(1), jnp.float32(share)))
        state, _ = step(
            state, task.images, task.labels, indices, np.ones(8, bool), jax.random.key(0)
        )
        expected = jax.tree.map(
            lambda p, a, b, w=share: p - rate * ((1 - w) * a + w * num_steps * b),
            params,
            ctc_grads,
            guide_grads,
        )
        assert optax.tree.norm(jax.tree.map(jnp.subtract, state.params, expected)) < 1e-4


def test_the_guide_is_over_by_max_steps_and_by_a_third_of_the_run(tiny_config):
    # Four epochs of five steps: it falls from the seventh step on, number 6, at the latest.
    for max_steps, last in ((3, 3), (500, 6)):
        config = tiny_config(flat_start__max_steps=max_steps, flat_start__fade_steps=1)
        task = prepare(config)
        step = train.jitted_step(task, config)
        state, shares = train.init_state(task, config), []
        for _ in range(9):
            state, _ = step(
                state, task.images, task.labels, np.arange(8, dtype=np.int32), np.ones(8, bool),
                jax.random.key(0),
            )  # fmt: skip
            shares.append(float(state.guide.share))
        assert shares == ([1.0] * last + [0.0] * 9)[:9]


def test_nothing_is_dropped_out_before_the_guide_is_gone(tiny_config):
    """Steps of different runs' keys agree until then."""
    config = tiny_config(
        QUIET,
        flat_start__max_steps=4,
        flat_start__fade_steps=1,
        model__dropout=0.2,
    )
    task = prepare(config)
    step = train.jitted_step(task, config)
    losses = []
    for seed in (0, 1):
        state = train.init_state(task, config)
        losses.append([])
        for _ in range(6):
            state, loss = step(
                state, task.images, task.labels, np.arange(8, dtype=np.int32), np.ones(8, bool),
                jax.random.key(seed),
            )  # fmt: skip
            losses[-1].append(float(loss))
    assert losses[0][:5] == losses[1][:5]
    assert losses[0][5] != losses[1][5]


def test_the_average_by_hand(tiny_config):
    """Decays 1/25, 2/26 and then the config's 0.1, which is less than 3/27."""
    config = tiny_config(train__average_decay=0.1)
    task = prepare(config)
    step = train.jitted_step(task, config)
    state = train.init_state(task, config)
    expected = np.asarray(state.params["dense2"]["kernel"])
    for decay in (1 / 25, 2 / 26, 0.1):
        state, _ = step(
            state, task.images, task.labels, np.arange(8, dtype=np.int32), np.ones(8, bool),
            jax.random.key(0),
        )  # fmt: skip
        expected = decay * expected + (1 - decay) * np.asarray(state.params["dense2"]["kernel"])
    np.testing.assert_allclose(state.average["dense2"]["kernel"], expected, rtol=1e-5)


@pytest.mark.parametrize(("standardise", "moments"), [(True, "the set's"), (False, (0.0, 255.0))])
def test_the_model_standardises_with_the_training_part(tiny_config, standardise, moments):
    task = prepare(tiny_config(data__standardise=standardise))
    if standardise:
        pixels = task.data.images[task.split.train].astype(np.float64)
        moments = (pixels.mean(), pixels.std())
    np.testing.assert_allclose((task.model.mean[0], task.model.deviation[0]), moments)


def test_colour_trains_with_three_channels(tiny_config, tmp_path):
    result = train.train_and_evaluate(
        tiny_config(data__channels=3, train__epochs=1, flat_start__until=0.0), tmp_path
    )
    assert result.epochs_run == 1
    assert "(3, 3, 3, 4)" in (tmp_path / "params.txt").read_text()


def test_a_finished_run_says_so_without_its_data(tiny_config, tmp_path, captchas, capsys):
    import shutil

    folder = tmp_path / "set"
    shutil.copytree(captchas, folder)
    config = tiny_config(data__dir=str(folder), train__epochs=1)
    result = train.train_and_evaluate(config, tmp_path / "run")
    shutil.rmtree(folder)
    assert train.train_and_evaluate(config, tmp_path / "run") == result
    assert "is finished" in capsys.readouterr().out
