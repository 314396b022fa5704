"""A labeling session: opens a folder, serves the page, and stops on Ctrl-C."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from crnn_jax import config as config_lib
from crnn_jax.config.data_keys import auto_widths
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, RunError, one_line
from crnn_jax.inference import hub, recognizer, shipped
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.labeling import server, store
from crnn_jax.labeling.adapting import Adapter
from crnn_jax.labeling.reading import ReadingThread
from crnn_jax.labeling.server import Desk
from crnn_jax.labeling.session import Session
from crnn_jax.models import crnn
from crnn_jax.runtime import lock, signals

STATE = ".crnn-jax"  # subfolder of the image folder, for everything but labels.csv


def run(
    folder: Path,
    reader: str,
    adapt_every: int = 25,
    port: int = 0,
    announce: Callable[[str], None] = print,
    frame: str | None = None,
) -> str:
    """Labels the images of a folder until a signal comes, and returns a report for the user.

    A second signal ends the process at once.

    Args:
      folder: the images. The labels are saved in its labels.csv.
      reader: a run directory or the name of a reader.
      adapt_every: labels between two adaptations; 0 for none.
      port: the port of the server; 0 for any.
      announce: called with the URL of the page when it can be opened.
      frame: what to read from animations; None for data.frame of the reader.

    Raises:
      ConfigError: a package of the extra is missing, or the port cannot be used.
      DataError: the folder or its labels cannot be used.
      RunError: the reader cannot be used, another process labels the folder, or it cannot be
        written.
      Interrupted: a signal was received before the page could be opened.
    """
    server.check_installed()
    from crnn_jax.labeling import endpoints

    changes = {} if frame is None else {"data.frame": frame}
    with (
        # Before the reader is loaded, which takes seconds.
        contextlib.closing(server.listen(port)) as listening,
        signals.SignalWatcher(second_ends=True) as watcher,
        opened(folder, reader, adapt_every, changes) as desk,
    ):
        token = secrets.token_urlsafe(16)
        port = listening.getsockname()[1]
        application = endpoints.application(desk, token, port)
        engine = server.engine(application, lambda: watcher.number is not None)
        if watcher.number:
            raise watcher.stop("before the first label")
        desk.reading.start()
        announce(f"http://{server.HOST}:{port}/#{token}")
        engine.run(sockets=[listening])
        return _report(desk)


@contextlib.contextmanager
def opened(
    folder: Path,
    run: str,
    adapt_every: int,
    changes: Mapping[str, Any] | None = None,
) -> Iterator[Desk]:
    """Locks and opens a folder for labeling. Stops threads and processes on exit.

    Args:
      folder: the images.
      run: a run directory or the name of a reader.
      adapt_every: labels between two adaptations; 0 for none.
      changes: changed settings of the adaptation, by dotted key; data.frame is also for the reader.

    Raises:
      RunError: another process labels the folder, the reader cannot be used, or the folder cannot
        be written.
      DataError: the folder or its labels cannot be used.
    """
    _check(folder)
    state = folder / STATE
    if lock.is_held(state):
        raise RunError(f"{one_line(str(folder))} is being labeled by another process; end it first")
    with lock.hold(state):
        store.writable(folder)
        tree = _listed(folder)
        if hub.is_address(run):  # every adaptation starts from the same commit
            run = hub.pinned(run)
        base = recognizer.load(run)
        adapter = Adapter(base, run, folder, state, adapt_every, changes or {})
        # With a digest, because an estimate is for one reader, and a run can be trained again.
        digest = "" if shipped.is_name(run) else f" ({crnn.params_sha256(base.params)[:8]})"
        name, current = adapter.restored() or (run + digest, base)
        session = Session(tree, state, name, num_steps(base))
        desk = Desk(session, ReadingThread(session, current, adapter), adapter)
        try:
            yield desk
        finally:
            desk.reading.stop(_say_waiting)
            adapter.stop()


def _say_waiting() -> None:
    print(
        "all labels are saved; waiting for the images in progress, which takes minutes while the "
        "reader is being compiled (a second Ctrl-C ends at once)",
        file=sys.stderr,
    )


def _check(folder: Path) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{one_line(str(folder))} {what}; give a folder of images")


def _listed(folder: Path) -> Tree:
    try:
        return Tree(folder)
    except OSError as error:
        raise DataError(
            f"{one_line(str(folder))} cannot be read: {error.strerror or error}"
        ) from error


def num_steps(reader: Recognizer) -> int:
    """Returns the time steps of the widest input of a reader, and of those adapted from it."""
    config = reader.config
    if reader.width_by_image:
        config = config_lib.with_width(config, auto_widths(config.data.height)[-1])
    return config_lib.num_steps(config)


def _report(desk: Desk) -> str:
    progress, adapter = desk.session.progress(), desk.adapter
    found = [
        f"{progress['labeled']} of {progress['images']} images have a label in "
        f"{one_line(str(desk.session.folder / 'labels.csv'))}; the same command continues"
    ]
    if adapter.newest is not None:
        found.append(f"the adapted reader is {one_line(str(adapter.newest))}")
    if bad := desk.session.pool.bad:
        number, reason = min(bad.items())
        which = "1 image cannot be opened:"
        if len(bad) > 1:
            which = f"{len(bad)} images cannot be opened, such as"
        found.append(f"{which} {one_line(desk.session.files[number])}: {one_line(reason)}")
    return "\n".join(found)
