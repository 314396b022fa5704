"""Exports a run as a web page that reads images in the browser, from a disk or a web server.

The model is the ONNX export, and onnxruntime-web, which runs it, is copied into the folder. A page
that is opened from a disk can load scripts only, so model and runtime are stored as scripts.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.errors import RunError, brief
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import FORMATS, onnx
from crnn_jax.runtime import files

FILE = FORMATS["web"]
_PAGE = Path(__file__).parent / "page"
_PACKAGE = "onnxruntime-web"
_SCRIPT, _GLUE = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs"
_MOST = 2**28  # maximum bytes of a file of the runtime
_BINARY = "ort-wasm-simd-threaded.wasm"
_LICENSE = """{package} {version}

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def export(
    reader: Recognizer, description: Mapping[str, Any], runtime: str | os.PathLike[str] | None
) -> dict[str, bytes]:
    """Returns the files of the export by name. Needs onnx, and onnxruntime-web from npm.

    Args:
      reader: the model.
      description: the result of `model_spec.describe`.
      runtime: the folder of the npm package; by default node_modules/onnxruntime-web in the
        working directory or one of its parents.

    Raises:
      RunError: the npm package is missing, or the model cannot be exported to ONNX.
    """
    folder = _find_runtime(runtime)
    try:
        script, glue, binary = (
            files.read(folder / "dist" / name, _MOST) for name in (_SCRIPT, _GLUE, _BINARY)
        )
        version = brief(json.loads(files.read(folder / "package.json", _MOST))["version"], 40)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(f"{folder} is not the npm package {_PACKAGE}: {brief(error)}") from error
    model = onnx.export(reader, description)[onnx.FILE]
    pages = {path.name: path.read_bytes() for path in (_PAGE / FILE, *_PAGE.glob("*.js"))}
    described = json.dumps(description)
    return {
        **pages,
        "model.js": f'const READER = {described};\nconst MODEL = "{_base64(model)}";\n'.encode(),
        f"runtime/{_SCRIPT}": script,
        "runtime/binary.js": (
            f'const RUNTIME_MJS = "{_base64(glue)}";\nconst RUNTIME_WASM = "{_base64(binary)}";\n'
        ).encode(),
        "runtime/LICENSE.txt": _LICENSE.format(package=_PACKAGE, version=version).encode(),
    }


def _find_runtime(given: str | os.PathLike[str] | None) -> Path:
    if given is not None:
        return Path(given)
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "node_modules" / _PACKAGE).is_dir():
            return folder / "node_modules" / _PACKAGE
    raise RunError(
        f"the page needs the npm package {_PACKAGE}: npm install {_PACKAGE}, or name its folder "
        "with --runtime"
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
