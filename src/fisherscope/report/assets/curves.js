"use strict";
// Curves: a metric or a measure against epochs, a line a setting; pinned ones in colour, the rest faint.
function curves(data, root) {
  const series = [
    ...data.metrics.map((m) => ({ name: m.name, label: m.label, scale: m.scale })),
    ...data.measures.map((m) => ({ name: m.name, label: m.label, scale: 1 })),
    ...(data.steps || []).map((m) => ({ ...m, scale: 1, steps: true }))].filter((s) => s.name);
  if (!series.length) { root.replaceChildren("Nothing has been recorded yet."); return; }
  const state = { series: series[Math.min(view.series, series.length - 1)] };
  const svg = element("svg:svg", { class: "chart", role: "img", "aria-label": "Curves against epochs" });
  const select = element("select", { "aria-label": "what to draw" },
    ...series.map((s, k) => element("option", { value: k }, s.label)));
  select.value = String(series.indexOf(state.series));
  const chips = element("div", { class: "chips" });
  let points = [];

  function draw() {
    const box = size(svg), { name, label, scale: times } = state.series;
    const own = state.series.steps; // along its own measured steps, not the epochs that all share
    const drawn = data.settings.filter((s) => (own ? s.steps[name] : s.lines[name]));
    const along = (s) => (own ? s.steps[name][0] : data.epochs);
    const line = (s) => (own ? s.steps[name][1] : s.lines[name]).map((v) => (v === null ? null : v * times));
    const steady = drawn.filter((s) => s.state !== "diverged");
    const x = scale([0, 1, ...drawn.flatMap(along)], box.left, box.right, { log: false });
    const y = scale((steady.length ? steady : drawn).flatMap(line), box.bottom, box.top);
    frame(svg, x, y, box, ["epoch", label]);
    points = [];
    const order = (s) => (s.name === view.hovered ? 2 : view.pinned.includes(s.name) ? 1 : 0);
    for (const s of [...drawn].sort((a, b) => order(a) - order(b))) {
      const corners = line(s).map((v, k) => (v === null ? null : { x: x(along(s)[k]), y: y(v), setting: s, at: along(s)[k], v }))
        .filter((p) => p && p.y >= box.top - 1);
      if (!corners.length) continue;
      points.push(...corners);
      const at = view.pinned.indexOf(s.name);
      const kind = s.name === view.hovered ? " hovered" : at >= 0 ? ` p${at % 7}` : "";
      svg.append(element("svg:polyline", { class: "curve" + kind, "data-setting": s.name,
        points: corners.map((p) => `${p.x.toFixed(1)},${p.y.toFixed(1)}`).join(" ") }));
      if (corners.length === 1)
        svg.append(element("svg:circle", { class: "curve dot" + kind, cx: corners[0].x, cy: corners[0].y, r: 3 }));
    }
    chips.replaceChildren(...view.pinned.map((setting, k) => {
      const chip = element("button", { type: "button", class: `chip p${k % 7}`, title: "remove" }, `${setting} ✕`);
      chip.addEventListener("click", () => pin(setting));
      return chip;
    }), element("span", {}, view.pinned.length ? "" : "click a mark, a line or a row to keep it in colour"));
  }

  function show(event) {
    const point = nearest(points, event, svg, 24);
    hover(point ? point.setting.name : null);
    tip(point ? [point.setting.name, ["epoch", number(point.at)], [state.series.label, number(point.v)]] : null, event);
    return point;
  }

  select.addEventListener("change", () => { view.series = +select.value; state.series = series[view.series]; draw(); });
  svg.addEventListener("pointermove", show);
  svg.addEventListener("click", (event) => { const point = show(event); if (point) pin(point.setting.name); });
  svg.addEventListener("pointerleave", (event) => { hover(null); tip(null, event); });
  root.replaceChildren(element("div", { class: "controls" }, select), svg, chips);
  view.listeners.push(draw);
  redrawOnResize(root, draw);
}

// Stands in where no run has logged a metric yet.
const UNKNOWN = { name: "", label: "no metric yet", scale: 1, smaller: true, finals: {}, best: [], levels: [], bands: [] };

// The best fixed settings and the best schedules, to begin with.
function first_pins(data) {
  const best = data.metrics[0]?.best ?? [], finals = data.metrics[0]?.finals ?? {};
  const sign = data.metrics[0]?.smaller ? 1 : -1;
  const moving = data.settings.filter((s) => !s.fixed && s.name in finals)
    .sort((a, b) => sign * (finals[a.name] - finals[b.name])).slice(0, 2).map((s) => s.name);
  const running = data.settings.filter((s) => s.state === "running").slice(0, 7).map((s) => s.name);
  return running.length ? running : [...best.slice(0, 3), ...moving];
}

function start(data) {
  view.listeners = [];
  if (!data.metrics.length) data.metrics = [UNKNOWN];
  for (const observer of view.observers.splice(0)) observer.disconnect();
  view.pinned = view.pinned.length ? view.pinned : first_pins(data);
  const plane = document.getElementById("plane"), lines = document.getElementById("curves");
  if (plane) landscape(data, plane);
  if (lines) curves(data, lines);
  for (const row of document.querySelectorAll("tr[data-setting]")) {
    row.addEventListener("mouseenter", () => hover(row.dataset.setting));
    row.addEventListener("mouseleave", () => hover(null));
    row.addEventListener("click", () => pin(row.dataset.setting));
  }
}

addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
