// Decodes logits to a text with its confidence, like crnn_jax/models (greedy.py, best_path.py).
// `reader` is reader.json.
"use strict";

/** Converts flat logits [T, K] to log-probabilities, T arrays of K, at the reader's temperature. */
function logSoftmax(logits, reader) {
  const { steps, classes } = reader.output;
  return Array.from({ length: steps }, (_, t) => {
    const row = Array.from(logits.slice(t * classes, (t + 1) * classes));
    row.forEach((_, k) => (row[k] /= reader.temperature));
    const top = row[indexOfMax(row)];
    const total = top + Math.log(row.reduce((sum, value) => sum + Math.exp(value - top), 0));
    return row.map((v) => v - total);
  });
}

/** The index of the largest value, the first of equal ones. */
function indexOfMax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Greedy decoding: the best class of each step, with repetitions merged and blanks dropped. */
function greedy(logP, blank) {
  const best = logP.map(indexOfMax);
  return best.filter((k, t) => k !== blank && k !== best[t - 1]);
}

/** The text of the most probable path with `shortest` to `longest` characters.
 *
 * In state (n, k), n characters have begun and the class of the last step is k. A blank follows any
 * class, and a character begins after any class but its own, so the two best classes of each n
 * suffice to go on. Without a path of this form, the text is empty.
 */
function bestPath(logP, blank, shortest, longest) {
  const classes = logP[0].length;
  const none = new Float64Array(classes).fill(-Infinity);
  let scores = Array.from({ length: longest + 1 }, () => none.slice());
  scores[0][blank] = 0;
  const history = [];
  for (const row of logP) {
    const leaders = scores.map(twoBest);
    const begun = scores.map(() => new Uint8Array(classes)); // whether the character begins here
    const next = scores.map((score, n) => score.map((stay, k) => {
      if (k === blank) return row[k] + score[leaders[n][0]];
      if (n === 0) return -Infinity;
      const begin = scores[n - 1][otherThan(k, leaders[n - 1])];
      if (begin > stay) begun[n][k] = 1;
      return row[k] + Math.max(stay, begin);
    }));
    history.push({ leaders, begun });
    scores = next;
  }
  const finals = scores.map((score, n) => (n < shortest ? -Infinity : score[indexOfMax(score)]));
  let n = indexOfMax(finals);
  if (finals[n] === -Infinity) return [];
  let k = indexOfMax(scores[n]);
  const ids = [];
  for (const { leaders, begun } of history.reverse()) {
    if (k === blank) k = leaders[n][0];
    else if (begun[n][k]) {
      ids.unshift(k);
      n--;
      k = otherThan(k, leaders[n]);
    }
  }
  return ids;
}

/** The indices of the two largest values. */
function twoBest(values) {
  let [first, second] = values[1] > values[0] ? [1, 0] : [0, 1];
  for (let i = 2; i < values.length; i++)
    if (values[i] > values[first]) [first, second] = [i, first];
    else if (values[i] > values[second]) second = i;
  return [first, second];
}

function otherThan(k, [first, second]) {
  return k === first ? second : first;
}

/** The ids of the text, of the lengths that the reader knows (data.length). */
function decode(logP, { blank, length, output }) {
  if (!length) return greedy(logP, blank);
  const [shortest, longest = shortest] = length.split("-").map(Number);
  return bestPath(logP, blank, Math.min(shortest, output.steps), Math.min(longest, output.steps));
}

/** Converts logits to a text with its confidence, and position and probability of each character. */
function explain(logits, reader) {
  const { alphabet, blank } = reader;
  const logP = logSoftmax(logits, reader);
  const ids = decode(logP, reader);
  const path = align(logP, ids, blank);
  const probabilities = characterProbabilities(logP, ids, blank);
  const symbols = ids.map((k) => alphabet[k]);
  const typed = () => asTyped(symbols, ids.map((k) => reader.bidi_classes[k]));
  return {
    text: (reader.direction === "rtl" ? typed() : symbols).join(""),
    confidence: Math.exp(logProbability(logP, ids, blank)),
    characters: symbols.map((symbol, n) => ({
      symbol,
      probability: probabilities[n],
      left: path.indexOf(n) / path.length,
      right: (path.lastIndexOf(n) + 1) / path.length,
    })),
  };
}
