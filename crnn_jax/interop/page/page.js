// The page: reads the images that the user drops or chooses, in the browser, and shows the texts.
"use strict";

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** The model. The runtime gets its binaries here, since a page from a disk cannot fetch them. */
const session = (async () => {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = bytes(RUNTIME_WASM).buffer;
  ort.env.wasm.wasmPaths = {
    mjs: URL.createObjectURL(new Blob([bytes(RUNTIME_MJS)], { type: "text/javascript" })),
  };
  return ort.InferenceSession.create(bytes(MODEL));
})();

async function read(file) {
  refuseAnimation(new Uint8Array(await file.arrayBuffer()), READER);
  // The pixels of the file, upright, without color management.
  const image = await createImageBitmap(file, {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const canvas = make("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const { pixels, left, right } = toPixels(data, image.width, image.height, READER);
  const { width, height } = READER.input.size;
  const shape = [1, width, height, pixels.length / (width * height)];
  const run = { images: new ort.Tensor("uint8", pixels, shape) };
  const { logits } = await (await session).run(run);
  const found = explain(logits.data, READER);
  for (const character of found.characters)
    for (const side of ["left", "right"])
      character[side] = left + character[side] * (right - left);
  return { canvas, ...found };
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function show(file, { canvas, text, confidence, characters }) {
  const image = make("div", { className: "image" }, canvas);
  const list = make("ol", {});
  for (const { symbol, probability, left, right } of characters) {
    const span = make("span", { title: percent(probability) }, symbol);
    span.style.left = percent(left);
    span.style.width = percent(right - left);
    image.append(span);
    list.append(make("li", {}, make("b", {}, symbol), ` ${percent(probability)}`));
  }
  const caption = make("figcaption", {}, make("b", { className: "text" }, text || "nothing"));
  caption.append(make("span", { className: "confidence" }, percent(confidence)), file.name, list);
  return make("figure", {}, image, caption);
}

const results = document.getElementById("results");

async function readAll(files) {
  for (const file of files) {
    let entry;
    try {
      entry = show(file, await read(file));
    } catch (error) {
      const why = error.message || error;
      entry = make("p", { className: "error" }, `${file.name}: cannot be read (${why})`);
    }
    results.append(entry);
  }
}

const zone = document.getElementById("zone"), input = document.getElementById("files");
input.addEventListener("change", () => readAll([...input.files]));
for (const name of ["dragover", "drop"])
  document.addEventListener(name, (event) => event.preventDefault());
for (const name of ["dragover", "dragleave", "drop"])
  zone.addEventListener(name, () => zone.classList.toggle("over", name === "dragover"));
zone.addEventListener("drop", (event) => readAll([...event.dataTransfer.files]));
document.getElementById("about").textContent =
  `Reads ${READER.alphabet.length} symbols: ${READER.alphabet.join("")}. ` +
  `Digest of the model: ${READER.params_sha256.slice(0, 12)}.`;
session.catch((error) => {
  const why = error.message || error;
  results.append(make("p", { className: "error" }, `The model cannot be loaded: ${why}`));
});
