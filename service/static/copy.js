// Puts a button behind each text that people copy. Without JavaScript the text is selected by one click instead (style.css).
function offer(part) {
  for (const text of navigator.clipboard ? part.querySelectorAll("code.copy") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-button";
    button.textContent = "copy";
    button.setAttribute("aria-label", "copy " + text.textContent.slice(0, 60));
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(text); // not allowed: leave it selected, one key away
        button.textContent = "selected";
      }
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
    text.after(" ", button);
  }
}
offer(document);
// Parts of a page that take another's place while it is looked at.
document.addEventListener("replaced", (event) => offer(event.target));
