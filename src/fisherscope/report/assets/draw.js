"use strict";
// What both charts share: SVG elements, scales with readable ticks, numbers, the tip. No library.
const SVG = "http://www.w3.org/2000/svg";
const STEPS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8]];
const view = { hovered: null, pinned: [], stop: 0, series: 0, listeners: [], observers: [] };

function element(name, attributes = {}, ...children) {
  const node = name.startsWith("svg:")
    ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children); // strings become text, never markup
  return node;
}

// Draws again when the width changes.
function redrawOnResize(root, draw) {
  const observer = new ResizeObserver(draw);
  observer.observe(root);
  view.observers.push(observer);
}

function notify() { for (const listener of view.listeners) listener(); }

function hover(name) {
  if (view.hovered === name) return;
  view.hovered = name;
  for (const row of document.querySelectorAll("tr[data-setting]"))
    row.classList.toggle("hovered", row.dataset.setting === name);
  notify();
}

function pin(name) {
  const at = view.pinned.indexOf(name);
  if (at < 0) view.pinned.push(name); else view.pinned.splice(at, 1);
  notify();
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const power = Math.floor(Math.log10(size) + 1e-9), head = +(value / 10 ** power).toPrecision(digits);
    const exponent = String(power).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
    return (head === 1 ? "" : head + "·") + "10" + exponent;
  }
  return String(+value.toPrecision(digits));
}

function logTicks(low, high) {
  let ticks = [];
  for (const steps of STEPS) {
    ticks = [];
    for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++)
      for (const s of steps) {
        const tick = +(s * 10 ** d).toPrecision(3);
        if (tick >= low * 0.999999 && tick <= high * 1.000001) ticks.push(tick);
      }
    if (ticks.length >= 3) break;
  }
  while (ticks.length > 8) ticks = ticks.filter((_, k) => k % 2 === 0);
  return ticks;
}

function linearTicks(low, high) {
  const raw = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= raw * 0.999);
  const ticks = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) ticks.push(+t.toPrecision(6));
  return ticks;
}

// A scale of positive values by their logarithm, of others by themselves; `zero` is drawn at the very end.
function scale(values, from, to, { log = true, pad = 0.05 } = {}) {
  const finite = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v));
  const positive = log ? finite.filter((v) => v > 0) : finite;
  let low = Math.min(...positive), high = Math.max(...positive);
  if (!positive.length) [low, high] = log ? [1, 10] : [0, 1];
  if (log) {
    const room = Math.max((high / low) ** pad, 1.08), floor = low / room;
    const zeros = positive.length < finite.length;
    [low, high] = [zeros ? low / room ** 3 : floor, high * room];
    const map = (v) => from + (to - from) * (Math.log(Math.max(v, low) / low) / Math.log(high / low));
    const ticks = logTicks(zeros ? floor : low, high);
    return Object.assign(map, { low, high, ticks: zeros ? [0, ...ticks] : ticks, log });
  }
  const map = (v) => from + (to - from) * ((v - low) / (high - low || 1));
  return Object.assign(map, { low, high, ticks: linearTicks(low, high), log });
}

function frame(svg, x, y, box, labels) {
  const add = (...made) => svg.append(...made);
  for (const t of x.ticks) {
    add(element("svg:line", { class: "grid", x1: x(t), x2: x(t), y1: box.top, y2: box.bottom }));
    add(element("svg:text", { class: "tick", x: x(t), y: box.bottom + 18, "text-anchor": "middle" }, number(t)));
  }
  for (const t of y.ticks) {
    add(element("svg:line", { class: "grid", x1: box.left, x2: box.right, y1: y(t), y2: y(t) }));
    add(element("svg:text", { class: "tick", x: box.left - 8, y: y(t) + 4, "text-anchor": "end" }, number(t)));
  }
  const middle = (box.left + box.right) / 2, height = (box.top + box.bottom) / 2;
  add(element("svg:text", { class: "label", x: middle, y: box.bottom + 40, "text-anchor": "middle" }, labels[0]));
  const turned = `translate(14 ${height}) rotate(-90)`;
  add(element("svg:text", { class: "label", transform: turned, "text-anchor": "middle" }, labels[1]));
}

function size(svg) {
  const width = Math.max(svg.parentElement.clientWidth, 280);
  const height = Math.round(Math.min(Math.max(width * 0.6, 320), 560));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  return { width, height, left: 58, right: width - 14, top: 12, bottom: height - 52 };
}

// The last value at or before a stop: a run that has stopped stays where it was.
function last(line, stop) {
  for (let k = Math.min(stop, (line || []).length - 1); k >= 0; k--) if (line[k] !== null) return line[k];
  return null;
}

function tip(lines, event) {
  const box = document.getElementById("tip");
  if (!lines) { box.hidden = true; return; }
  box.replaceChildren(element("strong", {}, lines[0]), ...lines.slice(1).map(
    ([name, value]) => element("div", {}, element("span", {}, name), element("span", {}, value))));
  box.hidden = false;
  const { clientX: x, clientY: y } = event, wide = box.offsetWidth, tall = box.offsetHeight;
  box.style.left = Math.max(4, Math.min(x + 16, innerWidth - wide - 8)) + "px";
  box.style.top = Math.max(4, y + 16 + tall > innerHeight ? y - tall - 12 : y + 16) + "px";
}

function about(setting, data, stop) {
  const rows = [setting.name];
  if (setting.fixed) rows.push(["batch size", String(setting.batch)], ["learning rate", String(setting.lr)]);
  rows.push(["state", setting.state + (setting.seeds > 1 ? `, ${setting.seeds} seeds` : ", 1 seed")]);
  for (const metric of data.metrics) {
    const final = metric.finals[setting.name], now = last(setting.lines[metric.name], stop);
    if (final !== undefined) rows.push([`${metric.label}, end`, number(final * metric.scale)]);
    else if (now !== null) rows.push([`${metric.label}, so far`, number(now * metric.scale)]);
  }
  for (const measure of data.measures) {
    const now = last(setting.lines[measure.name], stop);
    if (now !== null) rows.push([measure.label, number(now)]);
  }
  return rows;
}

function nearest(points, event, svg, reach = 30) {
  const at = svg.getBoundingClientRect(), ratio = svg.viewBox.baseVal.width / at.width;
  const x = (event.clientX - at.left) * ratio, y = (event.clientY - at.top) * ratio;
  let best = null, closest = reach;
  for (const point of points) {
    const distance = Math.hypot(point.x - x, point.y - y);
    if (distance < closest) [best, closest] = [point, distance];
  }
  return best;
}

function choice(type, name, text, checked, change) {
  const input = element("input", { type, name });
  input.checked = checked;
  input.addEventListener("change", () => change(input.checked));
  return element("label", { class: type }, input, element("span", {}, text));
}
