// Zoom and pan of the lineage graph. Without it the drawing scrolls in its box.
"use strict";
const box = document.querySelector(".graph");
const drawing = box && box.querySelector("svg");
if (drawing) {
  const width = drawing.viewBox.baseVal.width, height = drawing.viewBox.baseVal.height;
  let scale = 1;
  const show = (wanted, x = box.clientWidth / 2, y = box.clientHeight / 2) => {
    const next = Math.min(3, Math.max(0.15, wanted));
    const left = (box.scrollLeft + x) * next / scale - x, top = (box.scrollTop + y) * next / scale - y;
    scale = next;
    drawing.setAttribute("width", width * scale);
    drawing.setAttribute("height", height * scale);
    box.scrollTo(left, top);
  };
  const fit = () => show(Math.min(1, (box.clientWidth - 2) / width));
  const bar = document.createElement("div");
  bar.className = "zoom";
  for (const [sign, words, act] of [["−", "Smaller", () => show(scale / 1.25)], ["+", "Larger", () => show(scale * 1.25)], ["Fit", "Fit into the box", fit], ["1:1", "Natural size", () => show(1)]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.setAttribute("aria-label", words);
    button.addEventListener("click", act);
    bar.append(button);
  }
  box.before(bar);
  // The node that was asked for stands in the middle.
  const start = drawing.querySelector("[aria-current]");
  if (start) {
    const own = start.getBoundingClientRect(), around = box.getBoundingClientRect();
    box.scrollTo(own.left - around.left - (box.clientWidth - own.width) / 2, own.top - around.top - (box.clientHeight - own.height) / 2);
  }
  box.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls as ever
    event.preventDefault();
    const around = box.getBoundingClientRect();
    show(scale * Math.exp(-event.deltaY / 300), event.clientX - around.left, event.clientY - around.top);
  }, { passive: false });
  let held = null;
  box.addEventListener("pointerdown", event => {
    if (event.pointerType === "mouse" && event.button === 0) held = { x: event.clientX, y: event.clientY, moved: false };
  });
  window.addEventListener("pointermove", event => {
    if (!held) return;
    const dx = event.clientX - held.x, dy = event.clientY - held.y;
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    held = { x: event.clientX, y: event.clientY, moved: true };
    box.classList.add("held");
    box.scrollBy(-dx, -dy);
  });
  window.addEventListener("pointerup", () => {
    setTimeout(() => { held = null; box.classList.remove("held"); });
  });
  // Whoever dragged did not mean to follow the link below the pointer.
  window.addEventListener("click", event => { if (held && held.moved) event.preventDefault(); }, { capture: true });
  drawing.addEventListener("dragstart", event => event.preventDefault());
}
