"use strict";
// Sorting of tables by a click on a heading.

for (const heading of document.querySelectorAll(".sortable thead th")) {
  const column = heading.cellIndex;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  const key = (row) => {
    const text = row.cells[column].textContent.trim();
    const numbers = text.match(/\d+(\.\d+)?/g);
    return heading.dataset.sort === "number" ? (numbers || [-1]).map(Number) : text;
  };
  const order = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b);
    const at = a.findIndex((value, index) => value !== b[index]);
    return at < 0 ? 0 : a[at] - (b[at] ?? -1);
  };
  button.addEventListener("click", () => {
    const sense = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sense > 0 ? "ascending" : "descending");
    const body = heading.closest("table").tBodies[0];
    body.append(...[...body.rows].sort((a, b) => sense * order(key(a), key(b))));
  });
}
