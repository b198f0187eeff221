"use strict";
// Draws every figure's JSON as SVG at the width there is, again when that changes. No dependencies.

const HEIGHT = 230, LEFT = 50, RIGHT = 12, TOP = 12, BOTTOM = 34;
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

// Round numbers between low and high, about `wanted` of them.
function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const rough = (high - low) / wanted, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * size).find((s) => s >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

// 1, 2 and 5 of every power of ten; only the powers where there are many.
function logTicks(low, high, wanted) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++)
    for (const factor of [1, 2, 5]) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  if (found.length <= wanted) return found;
  const powers = found.filter((value) => Math.abs(Math.log10(value) % 1) < 1e-9);
  return powers.length > 1 ? powers : found.filter((_, index) => index % 2 === 0);
}

function shown(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(3) + "M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(3) + "k";
  return String(+value.toPrecision(3));
}

function scale(axis, low, high, begin, end) {
  const f = axis.log ? Math.log10 : (value) => value;
  const span = f(high) - f(low) || 1;
  return (value) => begin + ((f(value) - f(low)) / span) * (end - begin);
}

function bounds(chart) {
  const xs = [], ys = [];
  for (const series of chart.series) for (const [x, y] of series.points) { xs.push(x); ys.push(y); }
  const least = xs.reduce((a, b) => Math.min(a, b), Infinity), most = xs.reduce((a, b) => Math.max(a, b), -Infinity);
  let top = ys.reduce((a, b) => Math.max(a, b), 0);
  if (chart.limit !== null && chart.limit < 3 * top) top = Math.max(top, chart.limit);
  const isEmpty = !xs.length;
  return {
    xLow: chart.x.min ?? (isEmpty ? 0 : chart.x.log ? least : Math.min(0, least)),
    xHigh: chart.x.max ?? (isEmpty ? 1 : most > least ? most : least + 1),
    yHigh: chart.y.max || top * 1.06 || 1,
  };
}

// What lies left of the plot is cut off, but for the last such point, which the line comes from.
function visible(points, low) {
  const first = points.findIndex(([px]) => px >= low);
  return first > 0 ? [[low, points[first - 1][1]], ...points.slice(first)] : points;
}

function path(series, x, y, limits) {
  const at = visible(series.points, limits.xLow).map(([px, py]) => [x(px), y(py)]);
  if (series.kind !== "step") return "M" + at.map(([px, py]) => px.toFixed(1) + " " + py.toFixed(1)).join("L");
  return at.map(([px, py], i) => (i ? "H" + px.toFixed(1) + "V" : "M" + px.toFixed(1) + " ") + py.toFixed(1)).join("");
}

function colour(index) { return "var(--c" + (index % 7) + ")"; }

function drawFrame(chart, svg, width, limits, x, y) {
  const base = HEIGHT - BOTTOM;
  for (const value of ticks(0, limits.yHigh, 4)) {
    element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }, svg);
    element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, svg, shown(value));
  }
  const wanted = Math.max(3, Math.floor(width / 90));
  const values = (chart.x.log ? logTicks : ticks)(limits.xLow, limits.xHigh, wanted);
  for (const value of values) {
    element("line", { class: "axis", x1: x(value), x2: x(value), y1: base, y2: base + 4 }, svg);
    element("text", { x: x(value), y: base + 15, "text-anchor": "middle" }, svg, shown(value));
  }
  element("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: base, y2: base }, svg);
  element("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, svg, chart.x.unit);
  element("text", { x: 2, y: 9 }, svg, chart.y.unit);
}

function drawSeries(series, index, svg, x, y, limits) {
  if (series.kind === "points") {
    const dots = element("g", { fill: colour(index), "fill-opacity": series.points.length > 60 ? 0.28 : 1 }, svg);
    const radius = series.points.length > 60 ? 1.8 : 3.5;
    for (const [px, py] of series.points) element("circle", { cx: x(px).toFixed(1), cy: y(py).toFixed(1), r: radius }, dots);
  } else if (series.points.length) {
    element("path", { d: path(series, x, y, limits), fill: "none", stroke: colour(index), "stroke-width": 1.8, "stroke-linejoin": "round" }, svg);
  }
}

function drawMarks(chart, svg, width, limits, x, y) {
  if (chart.limit !== null && chart.limit <= limits.yHigh) {
    const at = y(chart.limit);
    element("line", { class: "limit", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }, svg);
    element("text", { class: "mark-text", x: width - RIGHT, y: at - 4, "text-anchor": "end" }, svg, "objective " + shown(chart.limit));
  }
  chart.marks.forEach((mark, index) => {
    if (mark.x < limits.xLow || mark.x > limits.xHigh) return;
    const line = element("line", { class: "mark", x1: x(mark.x), x2: x(mark.x), y1: TOP, y2: HEIGHT - BOTTOM }, svg);
    element("title", {}, line, mark.text);
    const lane = TOP + 9 + (index % 3) * 11;
    element("text", { class: "mark-text", x: x(mark.x) + 3, y: lane }, svg, String(index + 1));
  });
}

// The point of a series that is nearest to x; of a step, the one before it.
function nearest(points, x, isStep) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (points[middle][0] <= x) low = middle; else high = middle - 1;
  }
  const next = points[low + 1];
  return !isStep && next && next[0] - x < x - points[low][0] ? next : points[low];
}

function addTip(chart, box, svg, width, limits, x) {
  const tip = document.createElement("div");
  tip.className = "tip";
  box.appendChild(tip);
  const cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM }, svg);
  const lines = chart.series.filter((series) => series.points.length && (series.kind !== "points" || series.points.length <= 60));
  const hide = () => { tip.style.visibility = cursor.style.visibility = "hidden"; };
  svg.addEventListener("pointermove", (event) => {
    const px = event.clientX - svg.getBoundingClientRect().left;
    if (px < LEFT || px > width - RIGHT || !lines.length) return hide();
    const share = (px - LEFT) / (width - LEFT - RIGHT);
    const at = chart.x.log ? limits.xLow * (limits.xHigh / limits.xLow) ** share : limits.xLow + share * (limits.xHigh - limits.xLow);
    const rows = lines.map((series) => series.name + " " + shown(nearest(series.points, at, series.kind === "step")[1]));
    tip.textContent = "";
    for (const row of [shown(at) + " " + chart.x.unit, ...rows]) tip.appendChild(document.createElement("div")).textContent = row;
    tip.style.visibility = cursor.style.visibility = "visible";
    tip.style.left = (px > width / 2 ? px - tip.offsetWidth - 10 : px + 10) + "px";
    cursor.setAttribute("x1", px);
    cursor.setAttribute("x2", px);
  });
  svg.addEventListener("pointerleave", hide);
}

function addLegend(chart, box) {
  if (chart.series.length < 2) return;
  const legend = document.createElement("div");
  legend.className = "legend";
  chart.series.forEach((series, index) => {
    const entry = legend.appendChild(document.createElement("span"));
    const key = entry.appendChild(document.createElement("i"));
    if (series.kind === "points") key.className = "dot";
    key.style.background = colour(index);
    entry.appendChild(document.createTextNode(series.name));
  });
  box.appendChild(legend);
}

function draw(figure) {
  const chart = JSON.parse(figure.querySelector("script").textContent), box = figure.querySelector(".chart");
  const width = Math.max(240, box.clientWidth), limits = bounds(chart);
  box.textContent = "";
  addLegend(chart, box);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", chart.title);
  box.appendChild(svg);
  const x = scale(chart.x, limits.xLow, limits.xHigh, LEFT, width - RIGHT);
  const y = scale(chart.y, 0, limits.yHigh, HEIGHT - BOTTOM, TOP);
  drawFrame(chart, svg, width, limits, x, y);
  chart.series.forEach((series, index) => drawSeries(series, index, svg, x, y, limits));
  drawMarks(chart, svg, width, limits, x, y);
  addTip(chart, box, svg, width, limits, x);
}

const figures = [...document.querySelectorAll("figure")];
figures.forEach(draw);
let lastWidth = window.innerWidth, timer = 0;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return;
  lastWidth = window.innerWidth;
  clearTimeout(timer);
  timer = setTimeout(() => figures.forEach(draw), 120);
});
window.addEventListener("beforeprint", () => figures.forEach(draw));
