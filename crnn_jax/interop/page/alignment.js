// Sums and maxima over the paths that spell a text, like crnn_jax/models/alignment.py.
//
// State 2 n is the blank after n characters, state 2 n + 1 is character n. `logP` has T arrays of K
// log-probabilities.
"use strict";

function logAdd(a, b) {
  const top = Math.max(a, b);
  return top === -Infinity ? top : top + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/** The class of each state of a text. */
function classesOf(ids, blank) {
  return [blank, ...ids.flatMap((id) => [id, blank])];
}

/** Whether a state can be entered from two states before. */
function canSkip(classes, s) {
  return s % 2 === 1 && s > 1 && s < classes.length && classes[s] !== classes[s - 2];
}

/** Log-sums over the paths of t steps that end in state s: entry [t][s]. */
function pathsBefore(logP, classes) {
  const rows = [classes.map((_, s) => (s === 0 ? 0 : -Infinity))];
  for (const row of logP) {
    const alpha = rows.at(-1);
    rows.push(classes.map((k, s) => {
      let sum = s > 0 ? logAdd(alpha[s], alpha[s - 1]) : alpha[s];
      if (canSkip(classes, s)) sum = logAdd(sum, alpha[s - 2]);
      return row[k] + sum;
    }));
  }
  return rows;
}

/** Sums over the ways to spend steps t, ..., T - 1 from state s to the end of the text: [t][s]. */
function pathsAfter(logP, classes, plus) {
  const count = classes.length;
  const rows = new Array(logP.length + 1);
  rows[logP.length] = classes.map((_, s) => (s >= count - 2 ? 0 : -Infinity));
  for (let t = logP.length - 1; t >= 0; t--) {
    const arrive = classes.map((k, s) => logP[t][k] + rows[t + 1][s]);
    rows[t] = arrive.map((sum, s) => {
      if (s + 1 < count) sum = plus(sum, arrive[s + 1]);
      return canSkip(classes, s + 2) ? plus(sum, arrive[s + 2]) : sum;
    });
  }
  return rows;
}

/** The log-probability of a text. */
function logProbability(logP, ids, blank) {
  return pathsAfter(logP, classesOf(ids, blank), logAdd)[0][0];
}

/** The index of the character at each step of the best path, -1 at a blank. */
function align(logP, ids, blank) {
  const classes = classesOf(ids, blank);
  const after = pathsAfter(logP, classes, Math.max);
  let state = 0;
  return logP.map((row, t) => {
    const nexts = [state, state + 1, state + 2].filter(
      (s, i) => s < classes.length && (i < 2 || canSkip(classes, s)));
    const values = nexts.map((s) => row[classes[s]] + after[t + 1][s]);
    state = nexts[values.indexOf(Math.max(...values))];
    return state % 2 ? (state - 1) / 2 : -1;
  });
}

/** For each character its probability among all symbols, given the other characters.
 *
 * One pass over the steps for each symbol at each position. The paths before and after it are the
 * same for all symbols, except that a symbol next to itself needs a blank between.
 */
function characterProbabilities(logP, ids, blank) {
  const classes = classesOf(ids, blank);
  const alpha = pathsBefore(logP, classes), beta = pathsAfter(logP, classes, logAdd);
  return ids.map((id, n) => {
    const s = 2 * n + 1, before = ids[n - 1], after = ids[n + 1];
    // Into character n, and out of it: from and to a blank, or also the character beside it.
    const blankIn = logP.map((_, t) => alpha[t][s - 1]);
    const anyIn = blankIn.map((v, t) => (n > 0 ? logAdd(v, alpha[t][s - 2]) : v));
    const blankOut = logP.map((row, t) => row[blank] + beta[t + 1][s + 1]);
    const anyOut = blankOut.map((v, t) =>
      (n + 1 < ids.length ? logAdd(v, logP[t][after] + beta[t + 1][s + 2]) : v));
    const scoreOf = (k) => {
      const into = k === before ? blankIn : anyIn, out = k === after ? blankOut : anyOut;
      let inside = -Infinity, total = -Infinity; // paths that end in the symbol; that have left it
      for (let t = 0; t < logP.length; t++) {
        total = logAdd(total, inside + out[t]);
        inside = logP[t][k] + logAdd(inside, into[t]);
      }
      return n + 1 < ids.length ? total : logAdd(total, inside);
    };
    let sum = -Infinity;
    for (let k = 0; k < logP[0].length; k++) if (k !== blank) sum = logAdd(sum, scoreOf(k));
    return Math.exp(scoreOf(id) - sum);
  });
}
