"""The script of the page in Node, with a stub of the document: what the keys send to the server."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import labeling

NODE = shutil.which("node")
PAGE = Path(labeling.__file__).parent / "page" / "index.html"

# The images 0, 1, ... have the guesses g0, g1, ... An image is decoded when `decode[number]` is
# called. `sent` has the requests that change something.
STUB = """
const elements = {}, listeners = {}, sent = [], decode = [];
let current = 0;
const element = () => ({ dataset: {}, value: "", focus() {}, select() {}, append() {},
  setAttribute() {}, replaceChildren() {},
  addEventListener(kind, call) { listeners[kind] = call; } });
const document = { hidden: false, createElement: element,
  getElementById: (id) => (elements[id] ??= element()),
  addEventListener(kind, call) { listeners[kind] = call; } };
const location = { hash: "#token" };
URL.createObjectURL = (number) => number;
URL.revokeObjectURL = () => {};
class Image { decode() { return new Promise((done) => { decode[this.src] = done; }); } }
const state_ = () => ({ folder: "f", image: { number: current, guess: `g${current}`, file: "",
    characters: [] }, next: [current + 1], undo: null, progress: { images: 9, labeled: 0 },
  estimate: { mean: null }, adaptation: {}, problem: "" });
async function fetch(path, options) {
  const [, kind, number] = path.split("/");
  if (kind === "image") return { ok: true, blob: async () => number };
  if (options.method) {
    const values = JSON.parse(options.body);
    sent.push([kind, values.number, values.text ?? null, values.confirmed ?? null]);
    if (values.text === "odd" && !values.confirmed)
      return { status: 409, json: async () => ({ error: "sure?", confirm: true }) };
    current++;
  }
  return { status: 200, json: async () => state_() };
}
"""
TEST = """
const settle = () => new Promise(setImmediate); // all promises of the stub are resolved then
const press = (key, more = {}) => {
  let isDefault = true;
  listeners.keydown({ key, ...more, preventDefault() { isDefault = false; } });
  if (isDefault && key === "Enter") listeners.submit({ preventDefault() {} });
};
(async () => {
  await settle();
  for (const step of STEPS) {
    if (typeof step === "number") decode[step]();
    else if (step.text) elements.text.value = step.text;
    else press(step.key, step);
    await settle();
  }
  console.log(JSON.stringify(sent));
  process.exit();
})();
"""
ENTER, HELD = {"key": "Enter"}, {"key": "Enter", "repeat": True}
SKIP, HELD_SKIP = {**ENTER, "shiftKey": True}, {**HELD, "shiftKey": True}
ODD = {"text": "odd"}


def sent(steps: list[Any], folder: Path) -> Any:
    """The requests after steps: the number of an image that is decoded, a text, or a key."""
    if NODE is None:
        pytest.skip("Node is not installed")
    (script,) = re.findall(r"<script>(.*?)</script>", PAGE.read_text(), re.DOTALL)
    (folder / "page.js").write_text(STUB + script + TEST.replace("STEPS", json.dumps(steps)))
    done = subprocess.run([NODE, folder / "page.js"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # An image that is not on the page yet is neither labeled nor skipped.
        ([ENTER, SKIP, 0, ENTER], [["label", 0, "g0", False]]),
        ([0, ENTER, ENTER, 1, ENTER], [["label", 0, "g0", False], ["label", 1, "g1", False]]),
        # A key that is held makes one entry, also if the next image is there already.
        ([0, 1, ENTER, HELD, HELD], [["label", 0, "g0", False]]),
        ([0, 1, SKIP, HELD_SKIP], [["skip", 0, None, None]]),
        # A question is answered by a second key, not by a held one.
        ([0, ODD, ENTER, HELD], [["label", 0, "odd", False]]),
        ([0, ODD, ENTER, ENTER], [["label", 0, "odd", False], ["label", 0, "odd", True]]),
    ],
)  # fmt: skip
def test_every_entry_is_a_key_for_an_image_on_the_page(
    tmp_path: Path, steps: list[Any], expected: Any
) -> None:
    assert sent(steps, tmp_path) == expected
