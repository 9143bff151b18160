// While trials run, asks for the page again and puts what is new in its place. The answer that nothing is new is a few bytes.
const EVERY_MS = 5000;
let known = null;

async function refresh() {
  const live = document.getElementById("live");
  if (document.hidden || live.contains(document.activeElement)) return; // somebody is in the middle of it
  const answer = await fetch(location.href, { cache: "no-cache" });
  const tag = answer.headers.get("ETag");
  if (!answer.ok || tag === known) return;
  known = tag;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.getElementById("live");
  const places = [...live.querySelectorAll(".drawing, .scrolls, .many")].map((box) => [box.getAttribute("aria-label"), box.scrollLeft, box.scrollTop]);
  live.replaceWith(found);
  found.dispatchEvent(new Event("replaced", { bubbles: true }));
  for (const [name, left, top] of places) {
    const box = found.querySelector(`[aria-label="${CSS.escape(name)}"]`);
    if (box) Object.assign(box, { scrollLeft: left, scrollTop: top });
  }
}

async function follow() {
  try {
    await refresh();
  } catch {
    // The service is away for a while: the next time, perhaps.
  }
  if (Number(document.getElementById("live").dataset.running)) setTimeout(follow, EVERY_MS);
}
if (Number(document.getElementById("live")?.dataset.running)) setTimeout(follow, EVERY_MS);
