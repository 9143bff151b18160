// Follows a job: its log, progress and state as they come. Without JavaScript the page is asked for again instead.
const job = document.querySelector("[data-job]");
const ENDS = ["succeeded", "failed", "cancelled"];

function fact(name, text) {
  const place = job.querySelector(`[data-fact=${name}]`);
  if (!text) return;
  place.textContent = text;
  place.hidden = place.previousElementSibling.hidden = false;
}

// As the server writes it: to the second, in UTC.
const when = (at) => new Date(at).toISOString().slice(0, 19).replace("T", " ");

// What is one piece of work has no share that is done: the bar only says that something goes on.
function progress(doing, { what, done, total }) {
  const bar = doing.querySelector("progress");
  if (total > 1) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute("value");
  doing.querySelector("span").textContent = total > 1 ? `${what}: ${done} of ${total}` : what;
}

function follow() {
  const log = job.querySelector(".log");
  const doing = job.querySelector(".doing");
  const state = document.getElementById("job-state");
  // The page came with what was there by then. A connection that was lost goes on behind the last event by itself.
  const source = new EventSource(`${job.dataset.job}?after=${job.dataset.last}`);
  source.addEventListener("log", (event) => {
    const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    log.append(JSON.parse(event.data).text);
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("state", (event) => {
    const now = JSON.parse(event.data);
    state.textContent = now.state;
    state.className = "badge " + now.state;
    doing.hidden = !now.progress;
    if (now.progress) progress(doing, now.progress);
    const attempt = now.attempt > 1 ? `, attempt ${now.attempt} of ${now.attempts_allowed}` : "";
    fact("started", now.started_at && when(now.started_at) + (now.worker ? ` by ${now.worker}` : "") + attempt);
    fact("isolation", now.isolation.join(", "));
    if (ENDS.includes(now.state)) {
      source.close();
      location.reload(); // what came of it is on the page then
    }
  });
}
if (job) {
  const log = job.querySelector(".log");
  log.scrollTop = log.scrollHeight; // the newest lines, or what it came to
  if (!ENDS.includes(job.dataset.state)) follow();
}
