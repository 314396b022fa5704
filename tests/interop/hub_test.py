"""Readers on a model hub, with the real client against a hub on the loopback interface."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.cli.main import main
from crnn_jax.errors import RunError
from crnn_jax.inference import hub as hub_lib
from crnn_jax.interop import hub as push_lib
from crnn_jax.labeling import run as labeling
from crnn_jax.models import crnn
from crnn_jax.runs import run_dir
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import resume
from crnn_jax.training.context import prepare
from tests.helpers import model_hub
from tests.helpers.command_line import call
from tests.helpers.model_hub import Hub

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with model_hub.serve() as (found, address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", "secret")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield found


def same(a: crnn_jax.Recognizer, b: crnn_jax.Recognizer) -> bool:
    mine, theirs = crnn.by_name(a.params), crnn.by_name(b.params)
    return mine.keys() == theirs.keys() and all(
        np.array_equal(mine[name], theirs[name]) for name in mine
    )


def test_a_pushed_reader_is_loaded_again(
    trained: Path, captchas: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = "secret"
    pushed = push_lib.push(trained, "hf://me/reader")
    assert set(hub.repositories["me/reader"][-1][1]) == {
        "model.safetensors", "config.json", "reader.json", "README.md"
    }  # fmt: skip
    card = hub.repositories["me/reader"][-1][1]["README.md"].decode()
    assert "```sh\ncrnn-jax predict hf://me/reader image.png\n```" in card
    capsys.readouterr()
    reader, original = crnn_jax.load("hf://me/reader"), crnn_jax.load(trained)
    assert f"hf://me/reader@{pushed.revision}" in capsys.readouterr().err
    assert same(reader, original)
    assert reader.temperature == original.temperature != 1
    assert reader.typical == original.typical
    paths = sorted(captchas.iterdir())[:5]
    assert [r.text for r in reader.predict(paths)] == [r.text for r in original.predict(paths)]


def test_a_commit_stays_what_it_is_and_needs_no_network(
    trained: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = push_lib.push(trained, "hf://me/reader")
    reader = crnn_jax.load(str(first))
    hub.commit("me/reader", {"model.safetensors": b"another"})
    capsys.readouterr()
    assert same(crnn_jax.load(str(first)), reader)
    assert capsys.readouterr().err == ""  # the address already names the commit
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert same(crnn_jax.load(str(first)), reader)
    with pytest.raises(RunError, match=r"hf://me/other: the hub cannot be reached, and the cache"):
        crnn_jax.load("hf://me/other")


def test_the_commands_take_an_address(
    trained: Path, captchas: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained), "hf://me/reader", "--message", "The first"]) == 0
    pushed = capsys.readouterr().out.strip().removeprefix("pushed ")
    assert pushed == f"hf://me/reader@{hub.repositories['me/reader'][-1][0]}"
    assert hub.messages == ["The first"]
    path = str(sorted(captchas.iterdir())[0])
    outputs = []
    for run in (str(trained), pushed):
        assert main(["predict", run, path]) == 0
        assert main(["evaluate", run, "--data", str(captchas)]) == 0
        outputs.append(capsys.readouterr().out.replace(run, "RUN"))
    assert outputs[0].splitlines()[0] == outputs[1].splitlines()[0]  # the reading
    assert "exact match" in outputs[1]


def test_a_repository_is_private_on_request_and_always_has_a_message(
    trained: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, flags in (("open", []), ("closed", ["--private"])):
        assert call(capsys, "push", trained, f"hf://me/{name}", *flags)[0] == 0
    assert hub.is_private == {"me/open": False, "me/closed": True}
    assert hub.messages == ["A reader of crnn-jax"] * 2
    # One that exists keeps its visibility.
    assert call(capsys, "push", trained, "hf://me/closed", "--private")[0] == 0
    status, _, err = call(capsys, "push", trained, "hf://me/open", "--private")
    assert (status, err.count("\n")) == (2, 1)
    assert "hf://me/open exists already and is public" in err
    assert [len(hub.repositories[f"me/{name}"]) for name in ("open", "closed")] == [1, 2]


def test_training_starts_from_an_address(trained: Path, hub: Hub, tmp_path: Path) -> None:
    pushed = str(push_lib.push(trained, "hf://me/reader"))
    reader = crnn_jax.load(trained)
    values = config_lib.with_changes(config_lib.to_dict(reader.config), {"train.init_from": pushed})
    directory = run_dir.RunDir(tmp_path / "run")
    directory.workdir.mkdir()
    with Checkpoints(directory.checkpoints) as checkpoints:
        context = prepare(config_lib.from_dict(values))
        run = resume.resume(directory, context, checkpoints, 0.0, False)
        jax.tree.map(np.testing.assert_array_equal, run.state.params, reader.params)


def test_all_adaptations_of_a_session_start_from_the_same_commit(
    trained: Path, captchas: Path, hub: Hub, tmp_path: Path
) -> None:
    pushed = push_lib.push(trained, "hf://me/reader")
    shutil.copytree(captchas, tmp_path / "images")
    with labeling.opened(tmp_path / "images", "hf://me/reader", 25) as desk:
        hub.commit("me/reader", {"model.safetensors": b"another"})
        assert desk.adapter._config(25).train.init_from == str(pushed)


def test_what_the_hub_does_not_have_is_named(trained: Path, hub: Hub) -> None:
    with pytest.raises(RunError, match="hf://me/reader: the hub has no such reader"):
        crnn_jax.load("hf://me/reader")
    push_lib.push(trained, "hf://me/reader")
    with pytest.raises(RunError, match="hf://me/reader@v2: it has no revision v2"):
        crnn_jax.load("hf://me/reader@v2")
    hub.commit("me/words", {"model.safetensors": b"", "config.json": b"{}"})
    hub.requests.clear()
    with pytest.raises(RunError, match=r"hf://me/words has no reader\.json: it is not a reader of"):
        crnn_jax.load("hf://me/words")
    # The client, which prints messages of its own, is not asked to download anything.
    assert hub.requests == ["GET /api/models/me/words"]


@pytest.mark.parametrize(
    "address", ["hf://reader", "hf://a/b/c", "hf://../b", "hf://a/b@", "hf://a/b c", "HF://a/b"]
)
def test_another_form_of_address_is_refused(address: str) -> None:
    with pytest.raises(RunError, match="is not the address of a reader on a hub; write hf://"):
        crnn_jax.load(address)


def test_changed_files_are_refused(trained: Path, hub: Hub) -> None:
    push_lib.push(trained, "hf://me/reader")
    files = hub.repositories["me/reader"][-1][1]
    weights = bytearray(files["model.safetensors"])
    weights[-1] ^= 1
    hub.commit("me/reader", {"model.safetensors": bytes(weights)})
    with pytest.raises(RunError, match="is damaged or changed"):
        crnn_jax.load("hf://me/reader")
    changed = files["reader.json"].replace(b'"version": "', b'"version": "9')
    hub.commit("me/reader", {**files, "reader.json": changed})
    with pytest.raises(RunError, match="it was changed: its digest differs"):
        crnn_jax.load("hf://me/reader")


def test_a_large_file_is_not_downloaded(
    trained: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_lib.push(trained, "hf://me/reader")
    monkeypatch.setattr(hub_lib, "MAX_BYTES", 1000)
    hub.requests.clear()
    with pytest.raises(RunError, match=r"model.safetensors has \d+ bytes, and at most 1000"):
        crnn_jax.load("hf://me/reader")
    assert not [r for r in hub.requests if "resolve" in r]


def test_a_push_without_the_right_token_is_one_line(trained: Path, hub: Hub) -> None:
    hub.token = "another"
    message = (
        "hf://me/reader: the hub refuses this; set HF_TOKEN to a token with write access to me$"
    )
    with pytest.raises(RunError, match=message) as caught:
        push_lib.push(trained, "hf://me/reader")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert hub.repositories == {}


def test_the_folder_of_an_export_is_a_reader_too(trained: Path, tmp_path: Path) -> None:
    folder = crnn_jax.interop.export(trained, "safetensors", tmp_path).parent
    assert same(crnn_jax.load(folder), crnn_jax.load(trained))
    with pytest.raises(RunError, match="is an export and has no epochs"):
        crnn_jax.load(folder, 1)
