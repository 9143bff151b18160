// Steps through media in place: the links of a sheet, and a slider that the arrow keys move. Without JavaScript the links lead to pages.
function place(sheet) {
  const { sheet: address, count } = sheet.dataset;
  const body = sheet.querySelector("[data-body]");
  const hidden = new Set();
  let wanted = Number(sheet.dataset.at);
  let isAsking = false;
  let slider = null;

  async function show(at) {
    wanted = Math.min(Math.max(at, 0), count - 1);
    if (slider) slider.value = wanted;
    if (isAsking) return; // the newest wish is asked for when the answer is there
    isAsking = true;
    try {
      while (Number(sheet.dataset.at) !== wanted) {
        const asked = wanted;
        const answer = await fetch(`${address}&at=${asked}&part=1`);
        if (!answer.ok) break;
        // Markup of this service's own template, in which every recorded text is escaped.
        const text = await answer.text();
        const focused = body.contains(document.activeElement) && document.activeElement.rel;
        body.innerHTML = text;
        for (const box of body.querySelectorAll("[data-kind]")) box.checked = !hidden.has(box.dataset.kind);
        if (focused) (body.querySelector(`a[rel=${focused}]`) ?? slider).focus();
        sheet.dataset.at = asked;
        if (slider) slider.setAttribute("aria-valuetext", body.querySelector(".steps .quiet")?.textContent ?? "");
      }
    } catch {
      // The links still lead to the pages.
    } finally {
      isAsking = false;
    }
  }

  body.addEventListener("change", ({ target }) => {
    if (!target.dataset.kind) return;
    if (target.checked) hidden.delete(target.dataset.kind);
    else hidden.add(target.dataset.kind);
  });
  if (count < 2) return;
  body.addEventListener("click", (event) => {
    const link = event.target.closest("a[rel]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(Number(sheet.dataset.at) + (link.rel === "next" ? 1 : -1));
  });
  slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: count - 1, step: 1, value: wanted });
  slider.setAttribute("aria-label", "Step of " + sheet.querySelector("h3").textContent.trim());
  slider.addEventListener("input", () => show(Number(slider.value)));
  sheet.insertBefore(slider, body);
}
document.querySelectorAll("[data-sheet]").forEach(place);
