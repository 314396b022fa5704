// The order of right-to-left text, like crnn_jax/bidi.py: Unicode's algorithm (UAX #9) for one
// paragraph from right to left, without embeddings, which labels do not have.
"use strict";

const BRACKETS = {
  "(": ")", "[": "]", "{": "}", "（": "）", "［": "］", "｛": "｝", "「": "」", "『": "』",
  "〈": "〉", "《": "》", "【": "】", "〔": "〕", "⟨": "⟩", "❨": "❩", "⦅": "⦆", "⁅": "⁆",
};

/** Converts symbols in the order of an image to that in which they are typed.
 *
 * `kinds` are their bidirectional classes. The algorithm is its own inverse, except for some texts
 * with an Arabic letter mark in front: see bidi.py.
 */
function asTyped(symbols, kinds) {
  const text = symbols.map((symbol, i) => ({ symbol, kind: kinds[i] }));
  const comesBack = (found) => inImage(found).every(({ symbol }, i) => symbol === symbols[i]);
  const plain = inImage(text);
  let found = plain;
  if (!comesBack(plain)) {
    const mark = { symbol: "\u061c", kind: "AL" };
    const marked = inImage([mark, ...text]).filter((item) => item !== mark);
    if (comesBack(marked)) found = marked;
  }
  return found.map(({ symbol }) => symbol);
}

/** Converts typed symbols, each { symbol, kind }, to their order in an image (rules I2 and L2). */
function inImage(text) {
  const isInner = directions(text).map((kind) => kind !== "R"); // level 2, else 1
  const found = [];
  for (let start = 0, end; start < text.length; start = end) {
    for (end = start + 1; end < text.length && isInner[end] === isInner[start]; ) end++;
    const run = text.slice(start, end);
    found.unshift(...(isInner[start] ? run : run.reverse()));
  }
  return found;
}

/** The direction of each symbol: R, L, or that of a number, EN or AN. */
function directions(text) {
  const kinds = text.map(({ kind }) => kind);
  resolveWeak(kinds);
  resolveBrackets(text, kinds);
  // N1 and N2: what is neutral goes from left to right only between two such symbols.
  const isStrong = (kind) => ["L", "R", "EN", "AN"].includes(kind);
  for (let start = 0, end; start < kinds.length; start = end) {
    for (end = start; end < kinds.length && !isStrong(kinds[end]); ) end++;
    kinds.fill(kinds[start - 1] === "L" && kinds[end] === "L" ? "L" : "R", start, end);
    if (end === start) end++;
  }
  return kinds;
}

/** Rules W1 to W7, in place. The text before the first symbol counts as R. */
function resolveWeak(kinds) {
  const replace = (change) => kinds.forEach((kind, i) => {
    kinds[i] = change(kind, kinds[i - 1] ?? "R", kinds[i + 1] ?? "R");
  });
  replace((kind, before) => (kind === "NSM" ? before : kind)); // W1
  let strong = "R";
  replace((kind) => { // W2
    if (["L", "R", "AL"].includes(kind)) strong = kind;
    return kind === "EN" && strong === "AL" ? "AN" : kind;
  });
  replace((kind) => (kind === "AL" ? "R" : kind)); // W3
  replace((kind, before, after) => { // W4
    const joining = { EN: ["ES", "CS"], AN: ["CS"] }[before] ?? [];
    return before === after && joining.includes(kind) ? before : kind;
  });
  replace((kind, before) => (kind === "ET" && before === "EN" ? "EN" : kind)); // W5, after a number
  kinds.reverse();
  replace((kind, before) => (kind === "ET" && before === "EN" ? "EN" : kind)); // and before one
  kinds.reverse();
  replace((kind) => (["ES", "ET", "CS"].includes(kind) ? "ON" : kind)); // W6
  strong = "R";
  replace((kind) => { // W7
    if (["L", "R"].includes(kind)) strong = kind;
    return kind === "EN" && strong === "L" ? "L" : kind;
  });
}

/** Rule N0, in place: the brackets of a pair get one direction. */
function resolveBrackets(text, kinds) {
  const open = [], pairs = [];
  text.forEach(({ symbol }, i) => {
    if (kinds[i] !== "ON") return;
    if (symbol in BRACKETS) open.push(i);
    const match = open.findLastIndex((start) => BRACKETS[text[start].symbol] === symbol);
    if (match >= 0) pairs.push([open[match], i]);
    if (match >= 0) open.length = match;
  });
  const direction = (kind) => ({ L: "L", R: "R", EN: "R", AN: "R" })[kind];
  for (const [start, end] of pairs.sort(([a], [b]) => a - b)) {
    const inside = kinds.slice(start + 1, end).map(direction);
    if (!inside.includes("R") && !inside.includes("L")) continue;
    const before = kinds.slice(0, start).map(direction).findLast(Boolean) ?? "R";
    const found = inside.includes("R") || before === "R" ? "R" : "L";
    for (const i of [start, end]) {
      kinds[i] = found;
      for (let j = i + 1; text[j]?.kind === "NSM"; j++) kinds[j] = found; // marks on the bracket
    }
  }
}
