// Prepares pixels for the model, like crnn_jax/data/image_io.py. Pure functions of arrays; `reader`
// is reader.json.
"use strict";

/** Converts RGBA of w x h pixels to the model's input: on white, cropped, gray or RGB, resized.
 *
 * Returns { pixels: u8 [W, H, C], left, right }; the last two are the part of the width that they
 * show.
 */
function toPixels(rgba, w, h, reader) {
  const channels = reader.input.channels === "grey" ? 1 : 3;
  const { width, height } = reader.input.size;
  const rgb = onPage(rgba, w, h);
  const crops = reader.input.crop === "to the text";
  const box = crops ? contentBox(rgb, w, h) : { left: 0, top: 0, right: w, bottom: h };
  const shown = { left: box.left / w, right: box.right / w }, stride = w;
  w = box.right - box.left;
  h = box.bottom - box.top;
  const flat = new Uint8Array(w * h * channels); // [h, w, C]
  for (let y = 0, i = 0; y < h; y++)
    for (let x = 0; x < w; x++, i++) {
      const from = 3 * ((box.top + y) * stride + box.left + x);
      const [r, g, b] = rgb.subarray(from, from + 3);
      if (channels === 1) flat[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >>> 16;
      else flat.set([r, g, b], 3 * i);
    }
  let rows = flat;
  if (w !== width) rows = resizeAxis(rows, h, w, channels, width);
  if (h !== height) rows = resizeAxis(rows, 1, h, width * channels, height);
  const pixels = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++)
        pixels[(x * height + y) * channels + c] = rows[(y * width + x) * channels + c];
  return { pixels, ...shown };
}

/** Puts RGBA on a white page: u8 [h, w, 3], as on_page of data/pixel_formats.py does.
 *
 * If most of the ink is as bright as the page, it is visible only in the alpha channel, and is
 * drawn black.
 */
function onPage(rgba, w, h) {
  const rgb = new Uint8Array(w * h * 3); // [h, w, 3]
  let low = 255, high = 0, opaque = 0, visible = 0, shown = 0;
  let left = w, top = h, right = -1, bottom = -1; // of the opaque pixels
  for (let i = 0; i < w * h; i++) {
    const alpha = rgba[4 * i + 3];
    low = Math.min(low, alpha);
    high = Math.max(high, alpha);
    let darkest = 255;
    for (let c = 0; c < 3; c++) {
      const value = Math.round((alpha * rgba[4 * i + c] + (255 - alpha) * 255) / 255);
      rgb[3 * i + c] = value;
      darkest = Math.min(darkest, value);
    }
    const isVisible = 255 - darkest >= 16;
    visible += isVisible;
    if (alpha < 128) continue;
    opaque += 1;
    shown += isVisible;
    left = Math.min(left, i % w);
    right = Math.max(right, i % w);
    top = Math.min(top, Math.floor(i / w));
    bottom = Math.max(bottom, Math.floor(i / w));
  }
  const isClear = 2 * opaque <= w * h;
  const box = (right - left + 1) * (bottom - top + 1);
  const isHidden = 3 * shown < opaque && 4 * opaque < 3 * box;
  if (high - low < 64 || (visible && !(isClear && isHidden))) return rgb;
  for (let i = 0; i < w * h; i++) {
    const alpha = rgba[4 * i + 3];
    rgb.fill(isClear ? 255 - alpha : alpha, 3 * i, 3 * i + 3);
  }
  return rgb;
}

/** The box that holds the text of u8 [h, w, 3], as content_box of data/crop.py finds it. */
function contentBox(rgb, w, h) {
  const paper = [0, 1, 2].map((c) => {
    const border = [];
    for (let x = 0; x < w; x++) border.push(rgb[3 * x + c], rgb[3 * ((h - 1) * w + x) + c]);
    for (let y = 0; y < h; y++) border.push(rgb[3 * y * w + c], rgb[3 * (y * w + w - 1) + c]);
    return border.sort((a, b) => a - b)[border.length >> 1];
  });
  const differs = Array.from({ length: w * h }, (_, i) =>
    Math.max(...paper.map((value, c) => Math.abs(rgb[3 * i + c] - value))));
  const most = differs.reduce((a, b) => Math.max(a, b), 0);
  const ink = differs.map((value) => Number(20 * value > Math.max(20 * 40, 7 * most)));
  const inkAt = (x, y) => (x < 0 || y < 0 || x >= w || y >= h ? 0 : ink[y * w + x]);
  const columns = new Array(w).fill(0), lines = new Array(h).fill(0);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      if (!inkAt(x, y)) continue;
      let around = 0;
      for (let dy = -2; dy <= 2; dy++) for (let dx = -2; dx <= 2; dx++) around += inkAt(x + dx, y + dy);
      columns[x] += around ** 2;
      lines[y] += around ** 2;
    }
  if (ink.reduce((a, b) => a + b, 0) < 20) return { left: 0, top: 0, right: w, bottom: h };
  const [left, right] = ends(columns), [top, bottom] = ends(lines);
  const side = Math.ceil((bottom - top) / 5), above = Math.ceil((bottom - top) / 4);
  return {
    left: Math.max(left - side, 0),
    top: Math.max(top - above, 0),
    right: Math.min(right + side, w),
    bottom: Math.min(bottom + above, h),
  };
}

/** Where 1 % and 99 % of the weights are reached; the end is exclusive. */
function ends(weights) {
  let sum = 0;
  const reached = weights.map((weight) => (sum += weight));
  return [reached.findIndex((v) => 100 * v >= sum), reached.findIndex((v) => 100 * v >= 99 * sum) + 1];
}

/** Resizes the middle axis of u8 [outer, size, inner] with a triangle filter, as Pillow does. */
function resizeAxis(values, outer, size, inner, wanted) {
  const result = new Uint8Array(outer * wanted * inner);
  const scale = size / wanted, support = Math.max(scale, 1);
  for (let i = 0; i < wanted; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - support + 0.5));
    const last = Math.min(size, Math.floor(center + support + 0.5));
    const weights = [];
    for (let j = first; j < last; j++)
      weights.push(Math.max(0, 1 - Math.abs((j - center + 0.5) / support)));
    const sum = weights.reduce((a, b) => a + b, 0);
    for (let o = 0; o < outer; o++)
      for (let n = 0; n < inner; n++) {
        let value = 0.5;
        weights.forEach((weight, k) => {
          value += (weight / sum) * values[(o * size + first + k) * inner + n];
        });
        result[(o * wanted + i) * inner + n] = Math.min(255, Math.floor(value));
      }
  }
  return result;
}
