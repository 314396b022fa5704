"""Readers on a model hub: hf://owner/name, downloaded with huggingface_hub.

Only the description and the weights of a safetensors export are downloaded, and both are checked
against their digests (see `exported`). The client keeps them in its cache: a commit is downloaded
once, and can be read without a network afterwards. Its own variables apply, such as HF_ENDPOINT
(the address of the hub), HF_TOKEN, HF_HUB_CACHE and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from crnn_jax.errors import RunError, brief, quote
from crnn_jax.inference import exported

SCHEME = "hf://"
MAX_BYTES = 2**30  # maximum bytes of a file
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf://({_NAME}/{_NAME})(?:@([A-Za-z0-9._/-]{{1,200}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Address(NamedTuple):
    """A reader on a hub."""

    repository: str  # owner/name
    revision: str | None  # a commit, branch or tag; None for the main branch

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_address(run: str | os.PathLike[str]) -> bool:
    """Whether `run` is the address of a reader on a hub."""
    return isinstance(run, str) and run[: len(SCHEME)].lower() == SCHEME


def parse(address: str) -> Address:
    """Parses hf://owner/name or hf://owner/name@revision. RunError if it has another form."""
    if not (found := _ADDRESS.fullmatch(address)):
        raise RunError(
            f"{quote(address)} is not the address of a reader on a hub; write hf://owner/name, or "
            "hf://owner/name@revision"
        )
    return Address(*found.groups())


def fetch(address: str) -> Path:
    """Downloads a reader, unless the cache has it. Returns the folder of its export.

    If the address does not name a commit, the commit is printed to stderr, so that the same reader
    can be loaded again.

    Raises:
      RunError: the hub cannot be reached, has no such reader, its files are too large, or
        huggingface_hub is not installed.
    """
    wanted = parse(address)
    api = client()
    try:
        _check_files(api, wanted)
        folder = api.snapshot_download(
            wanted.repository,
            revision=wanted.revision,
            allow_patterns=[exported.FILE, exported.WEIGHTS],
        )
    except RunError:
        raise
    except Exception as error:  # the client raises many kinds of errors
        raise failed(wanted, error) from error
    path = Path(folder)
    _check_names(wanted, os.listdir(path))
    commit = path.name
    if _COMMIT.fullmatch(commit) and wanted.revision != commit:
        print(f"{wanted} is at {wanted._replace(revision=commit)}", file=sys.stderr)
    return path


def pinned(address: str) -> str:
    """Downloads a reader, and returns its address with the commit. Raises the errors of `fetch`."""
    commit = fetch(address).name
    return str(parse(address)._replace(revision=commit)) if _COMMIT.fullmatch(commit) else address


def client() -> Any:
    """Returns the client of the hub. RunError if it is not installed."""
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise RunError(f"{error}; install it: pip install 'crnn-jax[hub]'") from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    return huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def failed(address: Address, error: Exception, access: str = "read") -> RunError:
    """Converts an error of the client to one line.

    Args:
      address: the reader.
      error: the error.
      access: what the token must allow: read or write.
    """
    name = type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if name in ("RepositoryNotFoundError", "GatedRepoError"):
        why = "the hub has no such reader, or HF_TOKEN may not see it"
    elif name == "RevisionNotFoundError":
        why = f"it has no revision {address.revision or 'main'}"
    elif name == "LocalEntryNotFoundError":
        why = "the hub cannot be reached, and the cache does not have it"
    elif status in (401, 403):
        owner = address.repository.partition("/")[0]
        why = f"the hub refuses this; set HF_TOKEN to a token with {access} access to {owner}"
    else:
        why = f"{name}: {brief(' '.join(str(error).split()))}"
    return RunError(f"{address}: {why}")


def _check_files(api: Any, wanted: Address) -> None:
    """Checks the list of files before any is downloaded. Does nothing without a connection.

    Raises:
      RunError: a file is missing or too large.
    """
    from huggingface_hub import errors

    try:
        info = api.model_info(wanted.repository, revision=wanted.revision, files_metadata=True)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except Exception:  # offline: only the cache is used
        return
    _check_names(wanted, [sibling.rfilename for sibling in info.siblings or ()])
    for sibling in info.siblings or ():
        is_needed = sibling.rfilename in (exported.FILE, exported.WEIGHTS)
        if is_needed and (sibling.size or 0) > MAX_BYTES:
            raise RunError(
                f"{wanted}: {sibling.rfilename} has {sibling.size} bytes, and at most "
                f"{MAX_BYTES} are downloaded"
            )


def _check_names(wanted: Address, names: Collection[str]) -> None:
    for name in (exported.FILE, exported.WEIGHTS):
        if name not in names:
            raise RunError(
                f"{wanted} has no {name}: it is not a reader of this package "
                "(`crnn-jax push` writes one)"
            )
