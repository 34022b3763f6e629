"use strict";
// The landscape: a mark a setting in the plane of two measures, over the surface of a final metric.
function landscape(data, root) {
  const state = { metric: 0, contour: true, travel: false, timer: null };
  const svg = element("svg:svg", { class: "chart", tabindex: "0", role: "img",
    "aria-label": "Settings in the plane of two measures; arrow keys go through them" });
  const until = data.epochs.length - 1;
  view.stop = until;
  clearInterval(view.timer);
  const slider = element("input", { type: "range", min: 0, max: Math.max(until, 0), value: until,
    "aria-label": "epoch", disabled: "" });
  if (until > 0) slider.removeAttribute("disabled");
  const readout = element("output", {}), play = element("button", { type: "button", class: "play" }, "▶ play");
  let points = [];

  const bandOf = (metric, value) => {
    if (value === undefined || metric.levels.length < 2) return null;
    const inner = metric.levels.slice(1, -1);
    const band = inner.filter((level) => value > level).length;
    const share = metric.levels.length > 2 ? band : 0;
    return metric.smaller ? share : metric.levels.length - 2 - share;
  };

  function draw() {
    const box = size(svg), metric = data.metrics[state.metric], { x: X, y: Y } = data.axes;
    const placed = data.settings.filter((s) => s.lines[X.name] && s.lines[Y.name]);
    const steady = placed.filter((s) => s.state !== "diverged");
    const whole = state.travel || view.stop < until;
    const values = (axis) => (steady.length ? steady : placed).flatMap((s) =>
      whole ? s.lines[axis] : [last(s.lines[axis], until)]);
    const x = scale(values(X.name), box.left, box.right), y = scale(values(Y.name), box.bottom, box.top);
    if (state.contour) surface(metric, x, y, box);
    frame(svg, x, y, box, [X.label, Y.label]);
    points = [];
    const clip = element("svg:g", { "clip-path": "url(#plane-box)" });
    svg.append(element("svg:clipPath", { id: "plane-box" }, element("svg:rect", {
      x: box.left, y: box.top - 8, width: box.right - box.left + 12, height: box.bottom - box.top + 8 })), clip);
    for (const s of placed) {
      const at = [last(s.lines[X.name], view.stop), last(s.lines[Y.name], view.stop)];
      if (at[0] === null || at[1] === null) continue;
      if (state.travel || view.hovered === s.name || view.pinned.includes(s.name)) trail(clip, s, x, y);
      points.push({ setting: s, x: x(at[0]), y: y(at[1]) });
    }
    points.sort((a, b) => (a.setting.name === view.hovered) - (b.setting.name === view.hovered));
    for (const point of points) clip.append(mark(point, metric));
    for (const point of points) number_best(clip, point, metric);
    readout.textContent = until >= 0 ? `epoch ${data.epochs[view.stop]} of ${data.epochs[until]}` : "no epoch yet";
    slider.value = view.stop;
    legend(metric);
  }

  function surface(metric, x, y, box) {
    const path = (ring) => "M" + ring.reduce((text, v, k) => text + (k % 2
      ? y(10 ** v).toFixed(1) + (k < ring.length - 1 ? "L" : "") : x(10 ** v).toFixed(1) + ","), "") + "Z";
    if (!metric.bands.length || !data.border.length) return;
    svg.append(element("svg:clipPath", { id: "border" }, element("svg:path", { d: path(data.border) })));
    const group = element("svg:g", { class: "surface", "clip-path": "url(#border)" });
    for (const { band, rings } of metric.bands) {
      const shade = metric.smaller ? band : metric.levels.length - 2 - band;
      group.append(element("svg:path", { class: `band b${shade}`, d: rings.map(path).join("") }));
    }
    const outer = element("svg:clipPath", { id: "surface-box" }, element("svg:rect", {
      x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }));
    svg.append(outer, element("svg:g", { "clip-path": "url(#surface-box)" }, group));
  }

  function trail(group, s, x, y) {
    const corners = [];
    for (let k = 0; k <= view.stop; k++) {
      const u = s.lines[data.axes.x.name][k], v = s.lines[data.axes.y.name][k];
      if (u !== null && v !== null) corners.push(`${x(u).toFixed(1)},${y(v).toFixed(1)}`);
    }
    const at = view.pinned.indexOf(s.name), colour = at >= 0 ? ` p${at % 7}` : "";
    const kind = (view.hovered === s.name ? " hovered" : colour) + (s.fixed ? "" : " dynamic");
    group.append(element("svg:polyline", { class: "trail" + kind, points: corners.join(" ") }));
  }

  function mark({ setting: s, x, y }, metric) {
    const band = bandOf(metric, metric.finals[s.name]), r = s.name === view.hovered ? 9 : 6;
    const kind = s.state === "diverged" ? "lost" : band === null ? "open" : `b${band}`;
    const shape = s.state === "diverged" ? `M${x - 4},${y - 4}l8,8m0,-8l-8,8`
      : s.fixed ? `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`
        : `M${x},${y - r - 1}l${r + 1},${r + 1}l${-r - 1},${r + 1}l${-r - 1},${-r - 1}Z`;
    const extra = s.name === view.hovered ? " hovered" : "";
    return element("svg:path", { class: `mark ${kind}${extra}`, d: shape, "data-setting": s.name });
  }

  function number_best(group, { setting: s, x, y }, metric) {
    const rank = metric.best.indexOf(s.name);
    if (rank >= 0) group.append(element("svg:text", { class: "rank", x: x + 9, y: y - 7 }, String(rank + 1)));
  }

  function legend(metric) {
    const bar = element("div", { class: "bar" }), levels = metric.levels;
    for (let k = 0; k < levels.length - 1; k++) {
      const shade = metric.smaller ? k : levels.length - 2 - k;
      bar.append(element("i", { class: `b${shade}` },
        element("span", {}, k % 3 === 0 ? number(levels[k] * metric.scale, 2) : "")));
    }
    const end = levels.length ? element("span", { class: "end" }, number(levels.at(-1) * metric.scale, 2) + (metric.smaller ? "+" : "")) : "";
    key.replaceChildren(element("span", {}, `${metric.label}, end`), bar, end, element("span", { class: "shapes" },
      "● fixed size  ◆ schedule  ○ not finished  × diverged  1–5 best"));
  }

  function show(event) {
    const point = nearest(points, event, svg);
    hover(point ? point.setting.name : null);
    tip(point ? about(point.setting, data, view.stop) : null, event);
    return point;
  }

  function stopAt(stop) { view.stop = stop; notify(); }

  function toggle() {
    if (state.timer) { clearInterval(state.timer); state.timer = null; play.textContent = "▶ play"; return; }
    if (view.stop >= until) view.stop = 0;
    play.textContent = "❚❚ stop";
    state.timer = view.timer = setInterval(() => {
      if (view.stop >= until) toggle(); else stopAt(view.stop + 1);
    }, 110);
  }

  function keys(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    const names = points.map((p) => p.setting.name).sort();
    const name = names[(names.indexOf(view.hovered) + step + names.length) % names.length];
    hover(name);
    const point = points.find((p) => p.setting.name === name), at = svg.getBoundingClientRect();
    tip(about(point.setting, data, view.stop), { clientX: at.left + point.x, clientY: at.top + point.y });
  }

  const metrics = element("div", { class: "segments", role: "radiogroup", "aria-label": "metric" },
    ...data.metrics.map((m, k) => choice("radio", "metric", m.label, k === 0, () => { state.metric = k; draw(); })));
  const key = element("div", { class: "key" });
  const bare = data.metrics.every((m) => !m.bands.length);
  const options = element("div", { class: "options" },
    ...(bare ? [] : [choice("checkbox", "contour", "contours", true, (on) => { state.contour = on; draw(); })]),
    choice("checkbox", "travel", "travel", false, (on) => { state.travel = on; draw(); }));
  root.replaceChildren(element("div", { class: "controls" }, metrics, options), svg,
    element("div", { class: "controls time" }, play, slider, readout), key);
  slider.addEventListener("input", () => stopAt(+slider.value));
  play.addEventListener("click", toggle);
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("click", (event) => { const point = show(event); if (point) pin(point.setting.name); });
  svg.addEventListener("pointerleave", (event) => { hover(null); tip(null, event); });
  svg.addEventListener("keydown", keys);
  view.listeners.push(draw);
  redrawOnResize(root, draw);
}
