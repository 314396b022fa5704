"""Opens the page in the default web browser."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>crnn-jax label</title>
<meta http-equiv="refresh" content="0; url={url}">
<a href="{url}">Open the page</a>
"""


@contextlib.contextmanager
def opened(url: str) -> Iterator[None]:
    """Opens a URL that contains a secret; see `webbrowser.open`.

    The browser is given a file that redirects to the URL and that only this user can read. The
    URL itself would be on the command line of the browser, which other users of the machine can
    see. The file exists until the context ends.
    """
    # A browser that is installed as a snap sees neither /tmp nor hidden folders.
    place = Path.home() if shutil.which("snap") else None
    try:
        handle, name = tempfile.mkstemp(".html", "crnn-jax-", place)  # with the mode 0600
    except OSError:  # the user can open the address that is printed
        yield
        return
    try:
        with contextlib.suppress(OSError):  # as above, if the disk is full
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_PAGE.format(url=html.escape(url)))
            webbrowser.open(Path(name).as_uri())
        yield
    finally:
        with contextlib.suppress(OSError):  # it may be gone, with other old temporary files
            os.unlink(name)
