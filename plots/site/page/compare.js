// Two sessions side by side: those of the address (#a=…&b=…) or those that are chosen.
"use strict";
const all = JSON.parse(document.getElementById("sessions").textContent);
const form = document.getElementById("choose");
const [first, second] = ["a", "b"].map((id) => document.getElementById(id));
const words = (number, unit) => number === null ? "–" : `${Number(number.toPrecision(4))}${unit ? ` ${unit}` : ""}`;

function element(name, content, more = {}) {
  const made = document.createElement(name);
  made.append(content);
  for (const [key, value] of Object.entries(more)) made.setAttribute(key, value);
  return made;
}
function cell(label, content, number, mark) {
  const more = { "data-label": label };
  if (number !== undefined && number !== null) Object.assign(more, { class: "number", "data-value": number });
  if (mark) more["data-mark"] = mark;
  return element("td", element("span", content), more);
}
function fill(place, rows) {
  const table = place.querySelector("table");
  table.tBodies[0].replaceChildren(...rows);
  for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
}
function show() {
  const a = all.sessions[first.value], b = all.sessions[second.value];
  fill(document.getElementById("facts"), all.facts.map((name, i) => element("tr", "")).map((row, i) => {
    const same = a.facts[i] === b.facts[i];
    row.append(cell("what", all.facts[i]), cell("first", a.facts[i] || "–"), cell("second", b.facts[i] || "–"), cell("same", same ? "yes" : "no", null, same ? "" : "open"));
    return row;
  }));
  const rows = [];
  all.metrics.forEach((metric, i) => {
    const x = a.values[i], y = b.values[i];
    if (x === null && y === null) return;
    const effect = x && y !== null ? y / x - 1 : null;
    const better = effect === null || !metric.better || Math.abs(effect) < all.least ? "" : (effect > 0) === (metric.better === "higher") ? "better" : "worse";
    const row = document.createElement("tr");
    row.append(cell("where", metric.where), cell("metric", element("a", metric.name, { href: metric.href })), cell("first", words(x, metric.unit), x), cell("second", words(y, metric.unit), y),
      cell("change", effect === null ? "–" : `${effect < 0 ? "" : "+"}${(100 * effect).toFixed(1)} %`, effect), cell("direction", better || "–", null, { better: "good", worse: "bad" }[better]));
    rows.push(row);
  });
  fill(document.getElementById("values"), rows);
  history.replaceState(null, "", `#a=${a.id}&b=${b.id}`);
}
for (const select of [first, second]) {
  all.sessions.forEach((session, i) => select.append(element("option", session.name, { value: i })));
  select.addEventListener("change", show);
}
const asked = new URLSearchParams(location.hash.slice(1));
const index = (name, other) => { const at = all.sessions.findIndex((session) => session.id === asked.get(name)); return at < 0 ? other : at; };
if (all.sessions.length) {
  first.value = index("a", all.first);
  second.value = index("b", all.second);
  form.hidden = false;
  if (asked.has("a") || asked.has("b")) show();
}
