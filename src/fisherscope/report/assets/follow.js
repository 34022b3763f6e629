"use strict";
// Asks its own server for what is new of the run, and draws it.
const EVERY = 2000;
const followed = { seen: "" };

function retell(data) {
  document.getElementById("summary").textContent = data.summary;
  document.getElementById("verdict").textContent = data.verdict;
  document.getElementById("findings").replaceChildren(...data.findings.map((finding) => element("li", { class: finding.severity },
    element("b", {}, finding.severity), ` ${finding.text} `, element("span", { class: "note" }, finding.remedy))));
  document.getElementById("tiles").replaceChildren(...data.tiles.map(([value, words]) =>
    element("div", { class: "card" }, element("b", {}, value), element("span", {}, words))));
}

async function follow(build) {
  const dot = document.getElementById("dot");
  try {
    const answer = await fetch(`run.json${location.search}&seen=${followed.seen}`);
    if (answer.status === 200) {
      const data = await answer.json();
      const zoomed = followed.seen && run.charts.length && run.charts[0].scales.x, { min, max } = zoomed || {};
      const whole = !zoomed || (min <= run.charts[0].data[0][0] && max >= run.charts[0].data[0].at(-1));
      followed.seen = data.seen;
      retell(data);
      build(data.charts_data);
      if (!whole) run.charts[0].setScale("x", { min, max }); // what the user looks at stays
    }
    dot.className = "live";
  } catch {
    dot.className = "live gone";
  }
  setTimeout(() => follow(build), EVERY);
}
