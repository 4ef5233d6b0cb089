"use strict";
// Colours are the page's own, so that charts follow it into dark mode and onto paper without being drawn again.
const CONFIG = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
  scale: { zero: false },
  axis: {
    labelColor: "currentColor", titleColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor",
    gridColor: "currentColor", gridOpacity: 0.13, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12,
    labelOverlap: "greedy", labelFlush: false, labelLimit: 140,
  },
  legend: {
    labelColor: "currentColor", titleColor: "currentColor", titleFontWeight: "normal", labelFontSize: 11,
    orient: "bottom", title: null, titleLimit: 300, labelLimit: 140, symbolOpacity: 1, gradientLength: 180,
    layout: { bottom: { anchor: "start", direction: "vertical", margin: 8 } },
  },
  title: { color: "currentColor", anchor: "start", fontSize: 13, fontWeight: "normal" },
};

const charts = [...document.querySelectorAll(".chart")].map((place) => {
  const spec = JSON.parse(place.querySelector("script").textContent);
  const div = place.appendChild(document.createElement("div"));
  const legend = { ...CONFIG.legend, columns: Math.max(1, Math.floor(place.clientWidth / 165)) };
  const options = { mode: "vega-lite", renderer: "svg", actions: false, config: { ...CONFIG, legend } };
  return vegaEmbed(div, spec, options).catch((error) => {
    div.textContent = `This chart cannot be drawn: ${error.message}`;
    console.error(error);
  });
});
window.drawn = Promise.all(charts);

// Numbers by size, whatever stands around them ("< 0.001", "[55.7, 69.6]", "62.8 ± 4.4"), words, what is missing last.
function rank(cell) {
  const text = cell.textContent.trim();
  const number = parseFloat(text.replace(/^[[<≤\s]+/, "").replaceAll(/,(?=\d{3})/g, "").replace("−", "-"));
  return text === "–" ? [2, 0] : Number.isNaN(number) ? [1, text] : [0, number];
}
function sort(head) {
  const body = head.closest("table").tBodies[0];
  const was = head.getAttribute("aria-sort");
  const down = was ? was === "ascending" : head.classList.contains("right");
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map((row) => [...rank(row.cells[head.cellIndex]), row]);
  rows.sort(([a, x], [b, y]) => a - b || (down ? -1 : 1) * (x < y ? -1 : x > y ? 1 : 0));
  body.append(...rows.map(([, , row]) => row));
}
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
