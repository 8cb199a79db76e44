// Sorts a table by the column whose heading is pressed: numbers by value, words by the alphabet; again reverses.
"use strict";
document.documentElement.classList.add("js");
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.cells[column];
      return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
    };
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what is missing goes last
      const order = typeof x === "number" ? x - y : x.localeCompare(y);
      return down ? -order : order;
    });
    body.append(...rows);
  });
}
// A field above every long table that leaves only the rows that hold what is typed.
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 8) continue;
  const field = document.createElement("input");
  field.type = "search";
  field.className = "filter";
  field.placeholder = "filter rows";
  field.setAttribute("aria-label", `filter rows of ${table.caption.textContent}`);
  field.addEventListener("input", () => {
    const word = field.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(word);
  });
  table.parentElement.before(field);
}
// A click or touch on a point writes its values under the picture; one beside the points zooms.
for (const picture of document.querySelectorAll(".picture")) {
  const told = document.createElement("p");
  told.className = "told";
  told.setAttribute("aria-live", "polite");
  picture.after(told);
  picture.addEventListener("click", (event) => {
    const point = event.target.closest("use");
    const title = point && point.querySelector("title");
    if (title) told.textContent = title.textContent;
    else picture.classList.toggle("zoom");
  });
}
