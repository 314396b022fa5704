"""Pushes a run's model to a model hub, as a safetensors export with its card."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from crnn_jax import interop
from crnn_jax.errors import RunError
from crnn_jax.inference import exported, hub
from crnn_jax.inference.hub import Address
from crnn_jax.interop import safetensors


def push(
    run: str | os.PathLike[str], address: str, private: bool = False, message: str = ""
) -> Address:
    """Pushes the model, its description and its card to hf://owner/name in one commit.

    The repository is created if it does not exist, with `private` as a private one. The client's
    variables HF_TOKEN and HF_ENDPOINT apply.

    Returns:
      The address with the new commit.

    Raises:
      RunError: the run has no trained model, the address has another form, the hub refuses, or the
        repository exists and is public, and `private` is set.
    """
    wanted = hub.parse(address)
    api = hub.client()
    with tempfile.TemporaryDirectory() as folder:
        interop.export(run, "safetensors", Path(folder))
        description = json.loads((Path(folder) / exported.FILE).read_text(encoding="utf-8"))
        card = safetensors.card(description, str(wanted))
        (Path(folder) / safetensors.CARD).write_text(card, encoding="utf-8")
        try:
            api.create_repo(wanted.repository, private=private, exist_ok=True)
            if private and not api.model_info(wanted.repository).private:
                raise RunError(
                    f"{wanted} exists already and is public; make it private on the hub, or leave "
                    "out --private"
                )
            done = api.upload_folder(
                repo_id=wanted.repository,
                folder_path=folder,
                revision=wanted.revision,
                commit_message=message or "A reader of crnn-jax",
            )
        except RunError:
            raise
        except Exception as error:  # the client raises many kinds of errors
            raise hub.failed(wanted, error, "write") from error
    return wanted._replace(revision=done.oid)
