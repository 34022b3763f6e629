"use strict";
// The page of one run: charts along one axis, zoomed and read together, and the spectrum over time.
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const PALETTE = ["p0", "p1", "p2", "p3", "p4"];
const run = { axis: 0, zooming: false, smooth: 0, charts: [], log: new Map(), range: null };

// Exponential moving average over the values that are there; null stays null.
function movingMean(values, share) {
  let mean = null;
  return values.map((v) => (v === null ? null : (mean = mean === null ? v : share * mean + (1 - share) * v)));
}

function axisOptions(text, more = {}) {
  const grid = { stroke: style("grid"), width: 1 };
  return { label: text, labelSize: 20, labelGap: 2, font: "12px system-ui", labelFont: "13px system-ui",
    stroke: style("ink"), grid, ticks: { ...grid, size: 5 }, ...more };
}

// Ticks at powers of two: what batch sizes are.
const powersOfTwo = (u, _, low, high) => {
  const ticks = [], first = Math.floor(Math.log2(low)), last = Math.ceil(Math.log2(high));
  for (let k = first; k <= last; k++) if (2 ** k >= low && 2 ** k <= high) ticks.push(2 ** k);
  return ticks.length > 1 ? ticks : [low, high];
};

const tickText = (_, ticks) => ticks.map((t) => (t === null ? null : number(t)));

function seriesOf(line, k, log) {
  const colour = style(PALETTE[k % PALETTE.length]);
  const series = { label: line.label, stroke: colour, width: line.faint ? 1 : 2, spanGaps: true,
    alpha: line.faint ? 0.5 : 1, scale: line.right ? "right" : "y", value: (_, v) => number(v),
    points: { size: 5, show: line.values.filter((v) => v !== null).length < 40 } };
  if (line.stairs) series.paths = uPlot.paths.stepped({ align: 1 });
  if (line.band) Object.assign(series, { stroke: style("p0"), width: 1, dash: [3, 3], points: { show: false } });
  return [series, log ? line.values.map((v) => (v !== null && v > 0 ? v : null)) : line.values];
}

// Vertical lines where the policy decided, and its sentence near the pointer.
function decisionHooks(data) {
  const axis = data.axes[run.axis].name;
  const near = (u) => {
    let best = null, closest = 8;
    for (const one of data.decisions) {
      const distance = Math.abs(u.valToPos(one.at[axis], "x") - u.cursor.left);
      if (distance < closest) [best, closest] = [one, distance];
    }
    return best;
  };
  return {
    drawAxes: [(u) => {
      u.ctx.save();
      u.ctx.strokeStyle = style("soft");
      u.ctx.globalAlpha = Math.min(1, 30 / data.decisions.length + 0.12);
      u.ctx.setLineDash([4, 4]);
      for (const one of data.decisions) {
        const x = u.valToPos(one.at[axis], "x", true);
        if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top);
        u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
      }
      u.ctx.restore();
    }],
    setCursor: [(u) => {
      const one = u.cursor.left >= 0 ? near(u) : null, at = u.over.getBoundingClientRect();
      tip(one ? [one.text, [data.axes[run.axis].label, number(one.at[axis], 6)]] : null,
        { clientX: at.left + u.cursor.left, clientY: at.top + u.cursor.top });
    }],
  };
}

function options(data, title, width, series, log, base, right, hooks, yRange) {
  const limits = (u, low, high) => {
    if (low === null || high === null) return log ? [1, 10] : [0, 1];
    return low === high ? (log ? [low / 2, high * 2] : [low - 0.5, high + 0.5])
      : log ? [low / 1.15, high * 1.15] : [low - 0.05 * (high - low), high + 0.05 * (high - low)];
  };
  const scale = { distr: log ? 3 : 1, log: base ?? 10, range: yRange ?? limits };
  return {
    width, height: 230, legend: { live: true }, cursor: { sync: { key: "run" }, drag: { x: true, y: false } },
    scales: { x: { time: false }, y: scale, right: { ...scale, distr: 3, log: 10, range: limits } },
    axes: [axisOptions(data.axes[run.axis].label), axisOptions("", { size: 58, values: tickText, ...(base === 2 ? { splits: powersOfTwo } : {}) }),
      ...(right ? [axisOptions(right, { side: 1, scale: "right", size: 62, values: tickText, grid: { show: false } })] : [])],
    series: [{ label: data.axes[run.axis].label, value: (_, v) => number(v, 6) }, ...series],
    hooks: { ...hooks, setScale: [(u, key) => zoomAll(u, key)] },
  };
}

// Zooming one chart zooms all; a double click shows everything again.
function zoomAll(u, key) {
  if (key !== "x" || run.zooming) return;
  run.zooming = true;
  const { min, max } = u.scales.x;
  for (const other of run.charts) if (other !== u) other.setScale("x", { min, max });
  run.zooming = false;
}

function lineChart(data, chart, root) {
  const log = run.log.get(chart.title) ?? chart.log, axis = data.axes[run.axis].name;
  const lines = chart.lines.map((line) => (line.faint && run.smooth
    ? { ...line, values: movingMean(line.values, run.smooth) } : line));
  const drawn = lines.map((line, k) => seriesOf(line, k, log || line.right));
  const bands = [];
  const low = lines.findIndex((l) => l.band === "low"), high = lines.findIndex((l) => l.band === "high");
  if (low >= 0 && high >= 0) bands.push({ series: [high + 1, low + 1], fill: style("p0") + "22" });
  const right = lines.find((line) => line.right)?.label;
  const hooks = chart.decisions && data.decisions.length ? decisionHooks(data) : {};
  const made = options(data, chart.title, root.clientWidth, drawn.map(([s]) => s), log, chart.base, right, hooks);
  return new uPlot({ ...made, bands }, [data.x[axis], ...drawn.map(([, values]) => values)], root);
}

// Singular values over time: a column a spectrum, darker where more of them lie.
function heatMap(data, root) {
  const { edges, shares } = data.spectrum, x = data.spectrum.x[data.axes[run.axis].name];
  const most = Math.max(...shares.flat(), 1e-9);
  const paint = (u) => {
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    u.ctx.clip();
    u.ctx.fillStyle = style("b0");
    for (const [k, column] of shares.entries()) {
      const begin = k ? (x[k - 1] + x[k]) / 2 : x[k], end = k + 1 < x.length ? (x[k] + x[k + 1]) / 2 : x[k];
      const left = u.valToPos(begin, "x", true), wide = Math.max(u.valToPos(end, "x", true) - left, 2);
      for (const [bin, share] of column.entries()) {
        if (!share) continue;
        const top = u.valToPos(edges[bin + 1], "y", true), bottom = u.valToPos(edges[bin], "y", true);
        u.ctx.globalAlpha = 0.12 + 0.88 * Math.sqrt(share / most);
        u.ctx.fillRect(left, top, wide + 0.5, bottom - top + 0.5);
      }
    }
    u.ctx.restore();
  };
  const bounds = [edges[0], edges.at(-1)], hidden = { stroke: "transparent", points: { show: false }, width: 0 };
  const series = [{ ...hidden, label: "smallest σ", value: (_, v) => number(v) },
    { ...hidden, label: "largest σ", value: (_, v) => number(v) }];
  const ends = shares.map((column) => column.reduce(([low, high], share, bin) => (share
    ? [low ?? edges[bin], edges[bin + 1]] : [low, high]), [null, null]));
  const made = options(data, "Spectrum", root.clientWidth, series, true, 10, null, { draw: [paint] }, bounds);
  return new uPlot(made, [x, ends.map(([low]) => low), ends.map(([, high]) => high)], root);
}

function panel(title, draw, button) {
  const body = element("div", { role: "img", "aria-label": title });
  const head = element("div", { class: "panel-head" }, element("h3", {}, title), ...(button ? [button] : []));
  return [element("section", { class: "card panel" }, head, body), () => draw(body), body];
}

function table(data) {
  const names = [...data.axes.map((a) => a.label), ...data.charts.flatMap((c) => c.lines.map((l) => l.label))];
  const columns = [...data.axes.map((a) => data.x[a.name]), ...data.charts.flatMap((c) => c.lines.map((l) => l.values))];
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  return [names.map(quote).join(","), ...columns[0].map((_, k) => columns.map((c) => c[k] ?? "").join(","))].join("\n");
}

function download(name, text) {
  const link = element("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Draws the charts into `root`; what it returns draws them again from newer data.
function startRun(data, root) {
  const place = element("div", { class: "panels" });
  let panels = [];

  function draw() {
    for (const chart of run.charts.splice(0)) chart.destroy();
    run.zooming = true;
    for (const [, make] of panels) run.charts.push(make());
    run.zooming = false;
  }

  function logButton(chart) {
    const button = element("button", { type: "button", "aria-pressed": String(run.log.get(chart.title) ?? chart.log) }, "log");
    button.addEventListener("click", () => {
      const now = !(run.log.get(chart.title) ?? chart.log);
      run.log.set(chart.title, now);
      button.setAttribute("aria-pressed", String(now));
      draw();
    });
    return button;
  }

  function build(newer) {
    data = newer;
    panels = data.charts.map((chart) =>
      panel(chart.title, (body) => lineChart(data, chart, body), chart.base ? null : logButton(chart)));
    if (data.spectrum) panels.push(panel("Singular values of the per-sample gradients", (body) => heatMap(data, body)));
    place.replaceChildren(...(panels.length ? panels.map(([card]) => card) : ["Nothing has been recorded yet."]));
    draw();
  }

  const axes = element("div", { class: "segments", role: "radiogroup", "aria-label": "horizontal axis" },
    ...data.axes.map((axis, k) => choice("radio", "axis", axis.label, k === run.axis, () => { run.axis = k; draw(); })));
  const smooth = element("input", { type: "range", min: 0, max: 0.95, step: 0.05, value: run.smooth, id: "smooth" });
  smooth.addEventListener("input", () => { run.smooth = +smooth.value; draw(); });
  const all = element("button", { type: "button" }, "show all");
  all.addEventListener("click", draw);
  const csv = element("button", { type: "button" }, "download CSV");
  csv.addEventListener("click", () => download("run.csv", table(data)));
  root.replaceChildren(element("div", { class: "controls" }, axes,
    element("label", { for: "smooth" }, "smooth the batch loss"), smooth, all, csv), place);
  build(data);
  let width = root.clientWidth;
  new ResizeObserver(() => { if (root.clientWidth !== width) { width = root.clientWidth; draw(); } }).observe(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return build;
}

// The charts of one of several runs, chosen by name.
function startRuns(all, root) {
  const names = Object.keys(all), place = element("div", {});
  const select = element("select", { id: "which-run" }, ...names.map((name) => element("option", {}, name)));
  root.replaceChildren(element("div", { class: "controls" }, element("label", { for: "which-run" }, "run"), select), place);
  const build = startRun(all[names[0]], place);
  select.addEventListener("change", () => build(all[select.value]));
}
