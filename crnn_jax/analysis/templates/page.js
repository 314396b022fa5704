// Sorts tables, filters misread images, and shows and hides the lines of charts.
"use strict";

const isEmpty = (key) => key === "" || key === "-";
const isNumber = (key) => key.trim() !== "" && Number.isFinite(Number(key));

/** The order of rows by their keys, as indices. Equal rows keep their order; empty keys are last.
 *
 * If all keys are numbers, they are compared as numbers, and as texts otherwise.
 */
function sortedOrder(keys, descending) {
  const numeric = keys.every((key) => isEmpty(key) || isNumber(key));
  const compare = numeric ? (a, b) => Number(a) - Number(b)
    : (a, b) => a.localeCompare(b, "en", { numeric: true });
  return keys.map((_, n) => n).sort((m, n) => {
    const a = keys[m], b = keys[n];
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b) || m - n;
    return (descending ? compare(b, a) : compare(a, b)) || m - n;
  });
}

/** Whether a misread image passes the filter.
 *
 * item: { confidence: percent as shown, pairs: numbers of its confused pairs, separated by spaces }
 * filter: { least, most: percent, pair: a number of a pair, or "" for any }
 */
function passes(item, filter) {
  const confidence = Number(item.confidence);
  return confidence >= filter.least && confidence <= filter.most
    && (filter.pair === "" || item.pairs.split(" ").includes(filter.pair));
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows];
      const keys = rows.map((row) => {
        const cell = row.cells[column];
        return cell.dataset.value ?? cell.textContent.trim();
      });
      body.append(...sortedOrder(keys, descending).map((n) => rows[n]));
    });
  });
}

function makeFilter(form) {
  const items = [...document.querySelectorAll("[data-confidence]")];
  const rows = items.filter((item) => item.tagName === "TR");
  const { least, most, pair } = form.elements;
  // An empty or unfinished number is no limit.
  const limit = (input, otherwise) => (input.value === "" ? otherwise : input.valueAsNumber);
  const apply = () => {
    const filter = { least: limit(least, 0), most: limit(most, 100), pair: pair.value };
    for (const item of items) item.hidden = !passes(item.dataset, filter);
    const count = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = `${count} of ${rows.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply)); // after the fields are reset
  form.hidden = false;
  apply();
}

function makeLegend(legend) {
  const series = [...legend.closest("section").querySelectorAll("[data-series]")];
  const boxes = [...legend.querySelectorAll("input")];
  const apply = () => {
    for (const box of boxes)
      for (const one of series)
        if (one.dataset.series === box.value) one.toggleAttribute("hidden", !box.checked);
  };
  legend.addEventListener("change", apply);
  for (const button of legend.querySelectorAll("button")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = button.value === "all";
      apply();
    });
  }
  for (const box of boxes) box.hidden = box.disabled = false;
  apply(); // the browser may have kept the boxes of an earlier visit
}

/** Makes an area focusable only while it scrolls. */
function makeReachable(area) {
  const update = () => {
    const scrolls = area.scrollWidth > area.clientWidth || area.scrollHeight > area.clientHeight;
    if (scrolls) area.tabIndex = 0;
    else area.removeAttribute("tabindex");
  };
  new ResizeObserver(update).observe(area);
}

if (typeof document !== "undefined") {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("form.filter").forEach(makeFilter);
  document.querySelectorAll("fieldset.legend").forEach(makeLegend);
  document.querySelectorAll(".scroll").forEach(makeReachable);
}
