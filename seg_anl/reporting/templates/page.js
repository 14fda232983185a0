"use strict";
// Sorting, toggling lines in the legend, values under the pointer, light and dark mode. The page works without scripts.

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numbers = head.dataset.kind === "number";
    const descending = head.ariaSort ? head.ariaSort === "ascending" : numbers;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.v ?? "";
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return (descending ? -1 : 1) * (numbers ? x - y : x.localeCompare(y, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows);
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
  for (const chart of block.querySelectorAll("[data-scale]")) addTooltip(chart, name);
}

// Show the values of all lines at one epoch, chosen with the pointer or the arrow keys.
function addTooltip(chart, legend) {
  const [left, right, first, last, bottom, top, low, high] = chart.dataset.scale.split(" ").map(Number);
  const across = (epoch) => left + ((epoch - first) / (last - first)) * (right - left);
  const width = () => chart.querySelector("svg").viewBox.baseVal.width;
  let epoch = null, cursor = null, tip = null;
  const hide = () => { cursor?.remove(); tip?.remove(); cursor = tip = epoch = null; };
  const show = (wanted) => {
    epoch = Math.min(last, Math.max(first, wanted));
    const lines = [];
    for (const group of chart.querySelectorAll("g.line:not([hidden])")) {
      group.points ??= [...group.querySelector("path").getAttribute("d").matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map((pair) => [+pair[1], +pair[2]]);
      const near = group.points.reduce((a, b) => Math.abs(b[0] - across(epoch)) < Math.abs(a[0] - across(epoch)) ? b : a);
      lines.push([low + ((bottom - near[1]) / (bottom - top)) * (high - low), legend(group.dataset.series)]);
    }
    if (!tip) {
      cursor = chart.appendChild(document.createElement("div"));
      cursor.className = "cursor";
      tip = chart.appendChild(document.createElement("div"));
      tip.className = "tip";
    }
    const head = document.createElement("b");
    head.textContent = `epoch ${epoch}`;
    tip.replaceChildren(head, ...lines.sort((a, b) => b[0] - a[0]).map(([value, button]) => {
      const line = document.createElement("div");
      line.append(button.querySelector(".swatch").cloneNode(), `${value.toFixed(1)}  ${button.textContent}`);
      return line;
    }));
    const share = across(epoch) / width();
    cursor.style.left = `${share * 100}%`;
    tip.style.left = share > 0.5 ? "auto" : `calc(${share * 100}% + .75rem)`;
    tip.style.right = share > 0.5 ? `calc(${(1 - share) * 100}% + .75rem)` : "auto";
  };
  chart.style.position = "relative";
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width();
    show(Math.round(first + ((x - left) / (right - left)) * (last - first)));
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show((epoch ?? (step > 0 ? first - 1 : last + 1)) + step);
  });
}

const theme = document.querySelector("#theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const chosen = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = chosen === "dark" ? "light" : "dark";
});
