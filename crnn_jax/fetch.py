"""The default data set from where the Keras example has it: downloaded, checked, unpacked.

Nothing else in this package talks to anyone's site, and this only when it is asked to.
"""

from __future__ import annotations

import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

from crnn_jax import dataset
from crnn_jax import picture as picture_lib
from crnn_jax.errors import DataError

URL = "https://github.com/AakashKumarNain/CaptchaCracker/raw/master/captcha_images_v2.zip"
COUNT, SIZE, LENGTH, SYMBOLS = 1040, (200, 50), 5, "2345678bcdefgmnpwxy"
TRIES = 5
TIMEOUT = 30.0  # seconds without a byte
MOST = 64 << 20  # bytes of the archive, and of what is in it: six times what the set has
_BLOCK = 1 << 16


class _Refused(Exception):
    """An answer that will not change when it is asked for again."""


def fetch(url: str, folder: str | os.PathLike[str], pause: float = 1.0) -> bool:
    """Puts the set of `url`, a zip of pictures, into a new `folder`; False if that is there.

    A download that is cut off goes on where it stopped, `TRIES` times, `pause` seconds longer
    each; what it had got stays beside the folder for the next command. The folder appears when
    all its pictures have been checked, or not at all.

    Raises:
      DataError: in one sentence, what could not be had or what is wrong with it.
    """
    folder = Path(folder)
    if folder.exists():
        return False
    archive = folder.with_name(f"{folder.name}.zip.partial")
    unpacked = folder.with_name(f"{folder.name}.partial")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        download(url, archive, pause)
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        try:
            unpack(archive, unpacked)
            check(unpacked)
        except DataError:
            archive.unlink()  # it is of no use: the next command shall not find it
            shutil.rmtree(unpacked)
            raise
        unpacked.rename(folder)
        archive.unlink()
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
    return True


def download(url: str, path: Path, pause: float) -> None:
    """Downloads `url` to `path`, behind what is there of it. DataError when no try succeeds."""
    why: object = ""
    for attempt in range(TRIES):
        time.sleep(attempt * pause)
        try:
            _receive(url, path)
            return
        except _Refused as error:
            why = error
            break
        except urllib.error.HTTPError as error:
            why = f"the server says {error.code} {error.reason}"
            if error.code == 416:  # what is there is not the beginning of the file
                path.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                break
        except urllib.error.URLError as error:
            why = error.reason
        except OSError as error:  # a connection that broke or went silent
            why = error
    raise DataError(f"{url} could not be downloaded: {why}")


def _receive(url: str, path: Path) -> None:
    """One try: the rest of the file, behind the bytes that are there."""
    if not url.startswith(("http://", "https://")):
        raise _Refused("only http and https are fetched")
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length and length.isdigit() else None
        with path.open("ab" if goes_on else "wb") as file:
            while block := answer.read(_BLOCK):
                have += len(block)
                if have > MOST:
                    path.unlink()
                    raise _Refused(f"it has more than {MOST >> 20} MiB")
                file.write(block)
    if whole is not None and have != whole:
        raise OSError(f"the connection ended after {have} of {whole} bytes")


def unpack(archive: Path, folder: Path) -> None:
    """The pictures of a zip into `folder`, each under its bare name. DataError for a bad zip."""
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [e for e in file.infolist() if _is_picture(e)]
            if sum(entry.file_size for entry in entries) > MOST:
                raise DataError(f"the archive unpacks to more than {MOST >> 20} MiB")
            names = [PurePosixPath(entry.filename).name for entry in entries]
            if len(set(names)) < len(names):
                raise DataError("the archive has two pictures of one name")
            for entry, name in zip(entries, names, strict=True):
                with file.open(entry) as source:
                    # A size that the directory of the archive belies is found by the CRC.
                    content = source.read(entry.file_size + 1)
                (folder / name).write_bytes(content)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"what was downloaded is not a sound zip archive: {error}") from error


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    """Whether it is to be unpacked. DataError for a path that leads out, or a link."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise DataError(f"the archive has a path that leads out of its folder: {entry.filename}")
    if entry.external_attr >> 16 & 0o170000 == 0o120000:
        raise DataError(f"the archive has a link: {entry.filename}")
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not entry.is_dir() and not hidden and path.suffix.lower() == ".png"


def check(folder: Path) -> None:
    """DataError unless the folder holds what the set is known to hold."""
    files = sorted(folder.iterdir())
    if len(files) != COUNT:
        raise DataError(f"the archive holds {len(files)} pictures, not {COUNT}")
    for file in files:
        label = dataset.label_of(file.name)
        if len(label) != LENGTH or not set(label) <= set(SYMBOLS):
            raise DataError(f"{file.name} is not named by {LENGTH} of the symbols {SYMBOLS}")
        try:
            size = picture_lib.open_image(file).size
        except DataError as error:
            raise DataError(f"{file.name}: {error}") from error
        if size != SIZE:
            raise DataError(f"{file.name} is of {size[0]}x{size[1]} pixels, not 200x50")
