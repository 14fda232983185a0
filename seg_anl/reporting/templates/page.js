"use strict";
// Sorting, toggling lines in the legend, values under the pointer, light and dark mode. The page works without scripts.

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const rows = [...table.tBodies[0].rows];
    const text = (row) => row.cells[column].textContent;
    const number = (row) => parseFloat(text(row).replace("\u2212", "-"));
    const isNumeric = column > 0 && rows.some((row) => !isNaN(number(row)));
    const isKnown = (row) => isNumeric ? !isNaN(number(row)) : text(row) !== "";
    const descending = head.ariaSort ? head.ariaSort === "ascending" : isNumeric;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const order = (a, b) => isNumeric ? number(a) - number(b) : text(a).localeCompare(text(b), "en", { numeric: true });
    table.tBodies[0].append(...rows.sort((a, b) => isKnown(b) - isKnown(a) || (isKnown(a) ? (descending ? -1 : 1) * order(a, b) : 0)));
  }));
}

for (const block of document.querySelectorAll(".curves")) {
  const charts = block.querySelector(".charts");
  for (const button of block.querySelectorAll(".legend button")) {
    const groups = charts.querySelectorAll(`g[data-series="${button.dataset.series}"]`);
    button.addEventListener("click", () => {
      const shown = button.ariaPressed !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const group of groups) group.toggleAttribute("hidden", !shown);
    });
    const light = (on) => {
      charts.classList.toggle("lit", on);
      for (const group of groups) group.classList.toggle("on", on);
    };
    button.addEventListener("pointerenter", () => light(true));
    button.addEventListener("pointerleave", () => light(false));
  }
  const name = (series) => block.querySelector(`.legend button[data-series="${series}"]`);
  for (const chart of block.querySelectorAll("[data-values]")) addTooltip(chart, name);
}

// Show the values of all lines at one epoch, chosen with the pointer or the arrow keys.
function addTooltip(chart, legend) {
  const { columns, index, data } = JSON.parse(chart.dataset.values);
  const [first, last] = [index[0], index.at(-1)];
  const [left, right] = [0.085, 0.985];  // of the axes, as in page_charts.py
  const [cursor, tip] = ["cursor", "tip"].map((name) => Object.assign(document.createElement("div"), { className: name, hidden: true }));
  let row = null;
  const show = (wanted) => {
    row = wanted === null ? null : Math.min(index.length - 1, Math.max(0, wanted));
    cursor.hidden = tip.hidden = row === null;
    if (row === null) return;
    const shown = columns.map((series, i) => [data[row][i], series])
      .filter(([value, series]) => value !== null && legend(series).ariaPressed === "true").sort((a, b) => b[0] - a[0]);
    tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: `epoch ${index[row]}` }), ...shown.map(([value, series]) => {
      const line = document.createElement("div");
      line.append(legend(series).querySelector(".swatch").cloneNode(), `${value.toFixed(1)}  ${legend(series).textContent}`);
      return line;
    }));
    const share = left + (right - left) * (index[row] - first) / (last - first || 1);
    cursor.style.left = `${share * 100}%`;
    tip.style.left = share > 0.5 ? "auto" : `calc(${share * 100}% + .75rem)`;
    tip.style.right = share > 0.5 ? `calc(${(1 - share) * 100}% + .75rem)` : "auto";
  };
  chart.append(cursor, tip);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const epoch = first + (((event.clientX - box.left) / box.width - left) / (right - left)) * (last - first);
    show(index.reduce((best, each, i) => Math.abs(each - epoch) < Math.abs(index[best] - epoch) ? i : best, 0));
  });
  for (const left of ["pointerleave", "blur"]) chart.addEventListener(left, () => show(null));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show((row ?? (step > 0 ? -1 : index.length)) + step);
  });
}

const theme = document.querySelector("#theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const chosen = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = chosen === "dark" ? "light" : "dark";
});
