// Showing some of the studies. All are there without.

const filter = document.querySelector(".filter");
const rows = [...document.querySelectorAll("tbody tr")];
const chosen = document.getElementById("outcome");
const text = document.getElementById("text");
const show = () => {
  const words = text.value.toLowerCase();
  let count = 0;
  for (const row of rows) {
    const fits = chosen.value === "!" ? "look" in row.dataset
      : !chosen.value || row.dataset.outcome === chosen.value;
    row.hidden = !(fits && row.textContent.toLowerCase().includes(words));
    count += !row.hidden;
  }
  document.getElementById("shown").textContent = `${count} of ${rows.length}`;
};
chosen.addEventListener("change", show);
text.addEventListener("input", show);
filter.hidden = false;
show();
