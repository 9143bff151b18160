// Keys for the list of runs. Everything they do can be done without them.
const rows = [...document.querySelectorAll(".runs tbody tr")];
const search = document.querySelector('[aria-keyshortcuts="/"]');
const compare = document.querySelector('form[action="/compare"]');
let at = -1;

function go(step) {
  at = Math.max(0, Math.min(rows.length - 1, at + step));
  rows[at]?.querySelector("a, summary")?.focus();
}

document.querySelector(".keys")?.removeAttribute("hidden");
addEventListener("focusin", (event) => {
  const row = event.target.closest?.(".runs tbody tr");
  if (row) at = rows.indexOf(row);
});
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "x") rows[at]?.querySelector('input[name="run"]')?.click();
  else if (event.key === "c" && compare?.querySelector("input:checked")) compare.requestSubmit();
});
if (compare) {
  const button = compare.querySelector("button");
  const tell = () => {
    const chosen = compare.querySelectorAll("input:checked").length;
    button.textContent = chosen ? `Compare ${chosen} chosen run${chosen === 1 ? "" : "s"}` : "Compare chosen runs";
    button.disabled = chosen < 2;
  };
  compare.addEventListener("change", tell);
  addEventListener("pageshow", tell); // going back brings the ticks with it
}
