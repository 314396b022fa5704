// Prepares pixels for the model and decodes its logits, like crnn_jax (image_io.py, greedy.py,
// alignment.py). Pure functions of arrays; `reader` is reader.json.
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
 * If all ink is as bright as the page, it is visible only in the alpha channel, and is drawn black.
 */
function onPage(rgba, w, h) {
  const rgb = new Uint8Array(w * h * 3); // [h, w, 3]
  let low = 255, high = 0, darkest = 255, clear = 0;
  for (let i = 0; i < w * h; i++) {
    const alpha = rgba[4 * i + 3];
    low = Math.min(low, alpha);
    high = Math.max(high, alpha);
    clear += alpha < 128;
    for (let c = 0; c < 3; c++) {
      const value = Math.round((alpha * rgba[4 * i + c] + (255 - alpha) * 255) / 255);
      rgb[3 * i + c] = value;
      darkest = Math.min(darkest, value);
    }
  }
  if (high - low < 64 || 255 - darkest >= 16) return rgb;
  for (let i = 0; i < w * h; i++) {
    const alpha = rgba[4 * i + 3];
    rgb.fill(2 * clear >= w * h ? 255 - alpha : alpha, 3 * i, 3 * i + 3);
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

/** Converts flat logits [T, K] to log-probabilities, T arrays of K, at the reader's temperature. */
function logSoftmax(logits, reader) {
  const { steps, classes } = reader.output;
  return Array.from({ length: steps }, (_, t) => {
    const row = Array.from(logits.slice(t * classes, (t + 1) * classes));
    row.forEach((_, k) => (row[k] /= reader.temperature));
    const total = logSum(row);
    return row.map((v) => v - total);
  });
}

function logSum(values) {
  const top = Math.max(...values);
  if (top === -Infinity) return top;
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

/** Greedy decoding: the best class of each step, with repetitions merged and blanks dropped. */
function greedy(logP, blank) {
  const best = logP.map((row) => row.indexOf(Math.max(...row)));
  return best.filter((k, t) => k !== blank && k !== best[t - 1]);
}

/** The log-probability of all paths that spell `ids` (plus = logSum), or of the best one (max).
 *
 * State 2 n is the blank after n characters, state 2 n + 1 is character n. `path` has the character
 * index of each step, -1 at a blank; it is meaningful with max only.
 */
function walk(logP, ids, blank, plus) {
  const states = 2 * ids.length + 1;
  const classOf = (s) => (s % 2 ? ids[(s - 1) / 2] : blank);
  let alpha = Array.from({ length: states }, (_, s) => (s === 0 ? 0 : -Infinity));
  const from = [];
  for (const row of logP) {
    const back = [];
    alpha = alpha.map((stay, s) => {
      const ways = [stay, s > 0 ? alpha[s - 1] : -Infinity];
      if (s % 2 && s > 1 && classOf(s) !== classOf(s - 2)) ways.push(alpha[s - 2]);
      back.push(s - ways.indexOf(Math.max(...ways)));
      return row[classOf(s)] + plus(ways);
    });
    from.push(back);
  }
  const ends = alpha.slice(-2); // the last character, or the blank after it
  let state = states - ends.length + ends.indexOf(Math.max(...ends));
  const path = [];
  for (let t = logP.length - 1; t >= 0; t--) {
    path[t] = state % 2 ? (state - 1) / 2 : -1;
    state = from[t][state];
  }
  return { logProbability: plus(ends), path };
}

/** Converts the order of an image to that in which right-to-left text is typed, like crnn_jax/bidi.py.
 *
 * Numbers and words from left to right keep their direction; of punctuation inside, only the usual
 * kinds are kept with them.
 */
function asTyped(symbols) {
  const other = "(?![\\p{Script=Hebrew}\\p{Script=Arabic}\\p{Script=Syriac}\\p{Script=Thaana}\\p{Script=Nko}])";
  const letter = `${other}\\p{L}`, digit = "\\p{Nd}";
  const inside = `(?<=${digit})[-+.,:/](?=${digit})|(?<=${letter})[^\\p{L}\\p{Nd}]+(?=${letter})`;
  const run = new RegExp(`(?:${digit}|${letter})(?:(?:${inside})?(?:${digit}|${letter}))*`, "gu");
  // A symbol can be a letter with its marks, which stay behind it. The first code point gives its kind.
  const turned = [...symbols].reverse();
  const first = turned.map((symbol) => [...symbol][0]);
  const starts = []; // of each symbol in the text of first code points
  let length = 0;
  for (const point of first) {
    starts.push(length);
    length += point.length;
  }
  for (const found of first.join("").matchAll(run)) {
    const start = starts.indexOf(found.index), count = [...found[0]].length;
    turned.splice(start, count, ...turned.slice(start, start + count).reverse());
  }
  return turned.join("");
}

/** Converts logits to a text with its confidence, and position and probability of each character. */
function explain(logits, reader) {
  const { alphabet, blank } = reader;
  const logP = logSoftmax(logits, reader);
  const ids = greedy(logP, blank);
  const { path } = walk(logP, ids, blank, (ways) => Math.max(...ways));
  const characters = ids.map((id, n) => {
    // The probability of each symbol, given the other characters.
    const scores = alphabet.map((_, k) =>
      walk(logP, ids.map((other, m) => (m === n ? k : other)), blank, logSum).logProbability);
    return {
      symbol: alphabet[id],
      probability: Math.exp(scores[id] - logSum(scores)),
      left: path.indexOf(n) / path.length,
      right: (path.lastIndexOf(n) + 1) / path.length,
    };
  });
  const symbols = ids.map((k) => alphabet[k]);
  return {
    text: reader.direction === "rtl" ? asTyped(symbols) : symbols.join(""),
    confidence: Math.exp(walk(logP, ids, blank, logSum).logProbability),
    characters,
  };
}
