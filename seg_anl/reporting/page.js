"use strict";
// Sorting, the legend's switches, the values under the pointer, light and dark. The page reads well without any of it.

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const numbers = head.dataset.kind === "number";
      const order = before ? (before === "ascending" ? "descending" : "ascending") : numbers ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.v ?? "";
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numbers ? x - y : x.localeCompare(y, "en", { numeric: true }));
      });
      table.tBodies[0].append(...rows);
    });
  });
}

for (const block of document.querySelectorAll(".curves")) {
  const charts = block.querySelector(".charts");
  for (const button of block.querySelectorAll(".legend button")) {
    const groups = () => charts.querySelectorAll(`g[data-series="${button.dataset.series}"]`);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const group of groups()) group.toggleAttribute("hidden", !shown);
    });
    const light = (on) => {
      charts.classList.toggle("lit", on);
      for (const group of groups()) group.classList.toggle("on", on);
    };
    button.addEventListener("pointerenter", () => light(true));
    button.addEventListener("pointerleave", () => light(false));
  }
}

function points(group) {
  const numbers = group.querySelector(".line").getAttribute("d").match(/-?\d+/g).map(Number);
  let [x, y] = numbers;
  const found = [[x, y]];
  for (let i = 2; i < numbers.length; i += 2) found.push([(x += numbers[i]), (y += numbers[i + 1])]);
  return found;
}

for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg");
  const [left, right, first, last, bottom, top, low, high] = svg.dataset.scale.split(" ").map(Number);
  const across = (epoch) => left + ((epoch - first) / Math.max(last - first, 1)) * (right - left);
  const value = (y) => low + ((bottom - y) / (bottom - top)) * (high - low);
  let epoch = null, cursor = null, tip = null;
  const hide = () => { cursor?.remove(); tip?.remove(); cursor = tip = epoch = null; };
  const show = (wanted) => {
    epoch = Math.min(last, Math.max(first, wanted));
    const lines = [];
    for (const group of svg.querySelectorAll("g[data-series]:not([hidden])")) {
      const near = (group.points ??= points(group)).reduce((a, b) =>
        Math.abs(b[0] - across(epoch)) < Math.abs(a[0] - across(epoch)) ? b : a);
      lines.push([group, value(near[1]), Math.abs(near[0] - across(epoch))]);
    }
    lines.sort((a, b) => b[1] - a[1]);
    if (!tip) {
      tip = document.createElement("div");
      tip.className = "tip";
      chart.append(tip);
      cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
      cursor.setAttribute("class", "cursor");
      svg.prepend(cursor);
    }
    cursor.setAttribute("d", `M${across(epoch)} ${top}V${bottom}`);
    const head = document.createElement("b");
    head.textContent = `epoch ${epoch + 1}`;
    tip.replaceChildren(head, ...lines.map(([group, number]) => {
      const line = document.createElement("div");
      line.className = group.getAttribute("class");
      const text = document.createElement("span");
      text.textContent = `${number.toFixed(1)}  ${group.dataset.name}`;
      line.append(document.createElement("i"), text);
      return line;
    }));
    const share = across(epoch) / svg.viewBox.baseVal.width;
    tip.style.top = "1.8rem";
    tip.style.left = share > 0.5 ? "auto" : `calc(${share * 100}% + .75rem)`;
    tip.style.right = share > 0.5 ? `calc(${(1 - share) * 100}% + .75rem)` : "auto";
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show(Math.round(first + ((x - left) / (right - left)) * (last - first)));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show((epoch ?? (step > 0 ? first - 1 : last + 1)) + step);
  });
}

const theme = document.querySelector("#theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
