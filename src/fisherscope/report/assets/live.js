"use strict";
// Asks its own server for what is new, and draws it.
const EVERY = 2000;
const live = { seen: "" };

function rows(data) {
  const place = document.getElementById("runs");
  const head = element("tr", {}, ...data.columns.map((name) => element("th", { scope: "col" }, name)));
  const body = data.rows.map((row) => {
    const line = element("tr", { "data-setting": row.run });
    for (const [k, cell] of row.cells.entries()) {
      const td = element("td", {}, typeof cell === "number" ? number(cell) : String(cell ?? "–"));
      if (k === 0) td.replaceChildren(element("a", { href: `run?id=${encodeURIComponent(row.run)}` }, row.run));
      if (k === row.bar && row.share !== null) td.prepend(element("progress", { max: 1, value: row.share }), " ");
      line.append(td);
    }
    return line;
  });
  place.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

async function poll() {
  const dot = document.getElementById("dot"), summary = document.getElementById("summary");
  try {
    const answer = await fetch(`data.json?seen=${live.seen}`);
    if (answer.status === 200) {
      const data = await answer.json();
      live.seen = data.seen;
      summary.textContent = data.summary;
      document.title = data.title;
      rows(data);
      start(data);
    }
    dot.className = "live";
  } catch {
    dot.className = "live gone";
    summary.textContent = "The server has stopped; start fisherscope watch again and reload.";
  }
  setTimeout(poll, EVERY);
}

poll();
