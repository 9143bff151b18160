// Puts charts that can be zoomed in the place of the drawings that the page came with. Without JavaScript those stay.
const area = document.querySelector("[data-curves]");
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [1, 4]];
const LINES = 6;
const axes = area ? JSON.parse(area.dataset.axes ?? "{}") : {}; // metric, or its beginning with *, to the metric that is its axis
const hasAxes = Object.keys(axes).length > 0;
const shown = { x: hasAxes ? "axis" : "step", log: false, smooth: 0, others: false };
const runs = area ? JSON.parse(area.dataset.curves) : []; // [{id, name, state, group}]: those with group are laid over when asked for
const charts = new Map(); // figure → uPlot
const known = new Map(); // address → promise of an answer
const details = new Map(); // figure → points of the part that is looked at
const tags = new Map(); // address → ETag of its answer

function axisOf(name) {
  const starred = Object.keys(axes).find((known) => known.endsWith("*") && name.startsWith(known.slice(0, -1)) && axes[known] !== name);
  return axes[name] ?? axes[starred];
}

function addressOf(run, more = {}) {
  return `/runs/${run.id}/curves?` + new URLSearchParams({ x: shown.x, ...more });
}

async function read(address, answer) {
  if (!answer.ok) throw answer.status;
  const found = await answer.json();
  tags.set(address, answer.headers.get("ETag"));
  return found;
}

function ask(run, more = {}) {
  const address = addressOf(run, more);
  if (!known.has(address)) {
    if (known.size > 60) known.clear();
    known.set(address, fetch(address).then((answer) => read(address, answer)));
  }
  return known.get(address);
}

const isShown = (run) => shown.others || !run.group;

// An exponential mean whose beginning is not drawn towards zero.
function smoothed(values, weight) {
  let sum = 0;
  let count = 0;
  return values.map((value) => {
    if (value == null) return value;
    sum = weight * sum + (1 - weight) * value;
    count += 1;
    return sum / (1 - weight ** count);
  });
}

function table(found) {
  const drawable = (values) => (shown.log ? values.map((value) => (value > 0 ? value : null)) : values);
  const tables = [];
  const lines = [];
  found.forEach((metric, number) => {
    if (!metric) return;
    const name = runs[number].name;
    const stroke = colour(`--line-${number % LINES}`);
    const dash = DASHES[number % DASHES.length];
    const raw = drawable(metric.y);
    tables.push([metric.x, raw]);
    lines.push({ label: name, class: shown.smooth ? "raw" : "line", stroke: shown.smooth ? stroke + "55" : stroke, dash, width: shown.smooth ? 1 : 1.75, points: { size: 5, fill: colour("--card") } });
    if (shown.smooth) {
      tables.push([metric.x, smoothed(raw, shown.smooth)]);
      lines.push({ label: name + ", smoothed", stroke, dash, width: 2, points: { show: false } });
    }
  });
  const text = (value) => (value == null ? "–" : Number(value.toPrecision(6)).toString());
  for (const line of lines) line.value = (_, value) => text(value);
  return { data: tables.length ? uPlot.join(tables) : [[]], lines };
}

function options(figure, lines, width) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { stroke: colour("--rule"), width: 1 }, font: "11px system-ui" };
  const name = figure.dataset.metric;
  const seconds = shown.x === "time" || name.startsWith("system/"); // samples of the machine are taken by the second
  const own = shown.x === "axis" ? axisOf(name) : undefined;
  const label = seconds ? "seconds" : own ?? "step";
  return {
    width,
    height: 220,
    scales: { x: { time: false }, y: { distr: shown.log ? 3 : 1 } },
    cursor: { sync: { key: "curves", setSeries: false }, drag: { x: true, y: false } },
    legend: { live: true },
    axes: [
      { ...axis, label, labelFont: "11px system-ui", labelSize: 16, size: 30, space: 60, incrs: seconds || own ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8, 1e9] },
      { ...axis, size: 58, values: (_, splits) => splits.map((value) => (value == null ? "" : Number(value.toPrecision(6)).toString())) },
    ],
    series: [{ label }, ...lines],
    hooks: { setSelect: [(plot) => plot.select.width > 0 && setTimeout(() => refine(figure), 0)] },
  };
}

// The figure's metric of every run that is shown, in their order.
async function points(figure) {
  const answers = await Promise.all(runs.filter(isShown).map((run) => ask(run).catch(() => null)));
  return answers.map((answer) => answer?.metrics.find((item) => item.name === figure.dataset.metric));
}

async function draw(figure) {
  const found = await points(figure);
  if (!found.some(Boolean)) return;
  const inside = figure.clientWidth - 2 * parseFloat(getComputedStyle(figure).paddingLeft);
  charts.get(figure)?.destroy();
  const { data, lines } = table(details.get(figure) ?? found);
  const plot = new uPlot(options(figure, lines, Math.max(200, inside)), data, figure);
  figure.insertBefore(plot.root, figure.querySelector(".said"));
  figure.classList.add("drawn");
  figure.dataset.points = data[0].length;
  charts.set(figure, plot);
  figure.isThinned = found.some((item) => item?.is_thinned);
}

// What is looked at more closely is asked for again when it had been thinned out.
async function refine(figure) {
  const plot = charts.get(figure);
  const { min, max } = plot.scales.x;
  if (!details.has(figure) && min <= plot.data[0][0] && max >= plot.data[0].at(-1)) {
    delete figure.dataset.zoom; // out again to all of it
    return;
  }
  figure.dataset.zoom = `${min} ${max}`;
  if (!figure.isThinned) return;
  const answers = await Promise.all(runs.filter(isShown).map((run) => ask(run, { metric: figure.dataset.metric, from: min, to: max }).catch(() => null)));
  details.set(figure, answers.map((answer) => answer?.metrics[0]));
  await draw(figure);
  charts.get(figure).setScale("x", { min, max });
}

async function whole(figure) {
  delete figure.dataset.zoom;
  if (details.delete(figure)) await draw(figure);
  const plot = charts.get(figure);
  plot?.setScale("x", { min: plot.data[0][0], max: plot.data[0].at(-1) });
}

function zoom(factor) {
  for (const [figure, plot] of charts) {
    const { min, max } = plot.scales.x;
    const middle = (min + max) / 2;
    const half = Math.max(((max - min) / 2) * factor, 1e-9);
    const ends = [plot.data[0][0], plot.data[0].at(-1)];
    plot.setScale("x", { min: Math.max(ends[0], middle - half), max: Math.min(ends[1], middle + half) });
    queueMicrotask(() => refine(figure)); // a chart takes its new scale over in a microtask of its own
  }
}

function redraw() {
  details.clear();
  for (const figure of charts.keys()) {
    delete figure.dataset.zoom;
    draw(figure);
  }
  plan();
}

// --- a run that goes on -------------------------------------------------------------------------------------------------
// Its curves are asked for again while somebody looks: the answer is empty when nothing is new.
const EVERY = 3000;
const SELDOM = 60000;
const isFollowed = (run) => run.state === "running" && isShown(run);
const follow = { timer: 0, isAsking: false, wait: EVERY };

function plan() {
  clearTimeout(follow.timer);
  if (!follow.isAsking && !document.hidden && runs.some(isFollowed)) follow.timer = setTimeout(renew, follow.wait);
}

async function renew() {
  clearTimeout(follow.timer);
  if (follow.isAsking) return;
  follow.isAsking = true;
  try {
    const began = performance.now();
    const asked = await Promise.allSettled(runs.filter(isFollowed).map(news));
    const least = Math.max(EVERY, 10 * (performance.now() - began)); // a long series is work for the service
    const wait = asked.some((item) => item.status === "rejected") ? 2 * follow.wait : least;
    follow.wait = Math.min(wait, SELDOM);
    const changed = asked.filter((item) => item.value).map((item) => item.value);
    if (changed.length) await grow(changed);
  } finally {
    follow.isAsking = false;
    plan();
  }
}

// What is new of a run: its answer, or nothing.
async function news(run) {
  const address = addressOf(run);
  const tag = tags.get(address);
  const answer = await fetch(address, { headers: tag ? { "If-None-Match": tag } : {} });
  if (answer.status === 304) return null;
  const found = await read(address, answer);
  for (const other of [...known.keys()]) if (other.startsWith(`/runs/${run.id}/`)) known.delete(other);
  known.set(address, Promise.resolve(found));
  if (run.state !== found.state) ended(run, found.state);
  return found;
}

async function grow(answers) {
  const metrics = answers.flatMap((answer) => answer.metrics);
  for (const metric of metrics) if (metric.y.filter((value) => value != null).length > 1) figureOf(metric);
  for (const figure of charts.keys()) await extend(figure);
  if (runs.filter((run) => !run.group).length > 1) return; // drawings of several runs say nothing in words
  const own = answers.find((answer) => answer.id === runs[0].id);
  for (const figure of own ? area.querySelectorAll("figure[data-metric]") : []) {
    const metric = own.metrics.find((item) => item.name === figure.dataset.metric);
    if (metric?.said) figure.querySelector(".said").textContent = metric.said;
  }
}

// Longer lines in the same chart: what is zoomed into stays.
async function extend(figure) {
  const found = await points(figure);
  const plot = charts.get(figure);
  const { data, lines } = table(details.get(figure) ?? found);
  if (lines.length !== plot.series.length - 1) return draw(figure);
  plot.setData(data, false);
  if (figure.dataset.zoom) plot.redraw();
  else plot.setScale("x", { min: data[0][0], max: data[0].at(-1) });
  figure.dataset.points = data[0].length;
  figure.isThinned = found.some((item) => item?.is_thinned);
}

// The place of a metric that came while the page was looked at.
function figureOf(metric) {
  const there = [...area.querySelectorAll("figure[data-metric]")];
  if (there.some((figure) => figure.dataset.metric === metric.name)) return;
  const aside = metric.name.startsWith("system/") ? "details.system .charts" : "details.aside .charts";
  let place = area.querySelector(metric.is_aside ? aside : ":scope > .charts");
  if (!place && metric.is_aside) return; // they are folded away: a page that is asked for again has them
  if (!place) area.append((place = make("div", { className: "charts" })));
  area.querySelector("[data-none]")?.remove();
  const figure = make("figure", { className: "chart" });
  figure.dataset.metric = metric.name;
  figure.append(make("figcaption", { textContent: metric.name }), make("p", { className: "said" }));
  place.insertBefore(figure, there.find((other) => other.parentNode === place && other.dataset.metric > metric.name) ?? null);
  attend(figure);
}

function ended(run, state) {
  run.state = state;
  if (run.group) return;
  const badge = document.querySelector(`h1 .badge, a[href="/runs/${run.id}"] ~ .badge`);
  if (badge) Object.assign(badge, { textContent: state, className: "badge " + state });
  const told = area.querySelector("[data-told]");
  told.replaceChildren(`${run.name} is ${state}. `, make("a", { href: location.pathname + location.search, textContent: "Show what came of it" }));
}

function control(label, input, act) {
  const holder = document.createElement("label");
  holder.append(label + " ", input);
  input.addEventListener("input", () => act(input));
  return holder;
}

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function tools() {
  const bar = make("div", { className: "tools" });
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "Curves");
  const axis = make("select", {});
  if (hasAxes) axis.append(new Option("defined axis", "axis"));
  axis.append(new Option("step", "step"), new Option("time", "time"));
  bar.append(control("Over", axis, (input) => ((shown.x = input.value), redraw())));
  bar.append(control("Log scale", make("input", { type: "checkbox" }), (input) => ((shown.log = input.checked), redraw())));
  const range = make("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0 });
  bar.append(control("Smooth", range, (input) => ((shown.smooth = Number(input.value)), redraw())));
  const others = runs.filter((run) => run.group).length;
  if (others) bar.append(control(`Lay over ${others} of the group`, make("input", { type: "checkbox" }), (input) => ((shown.others = input.checked), redraw())));
  for (const [text, name, act] of [["+", "Zoom in", () => zoom(0.5)], ["−", "Zoom out", () => zoom(2)], ["Whole", "Show all of it", () => [...charts.keys()].forEach(whole)]]) {
    const button = make("button", { type: "button", textContent: text, title: name });
    button.setAttribute("aria-label", name);
    button.addEventListener("click", act);
    bar.append(button);
  }
  bar.append(make("span", { className: "quiet", textContent: "drag to zoom, double click for all of it" }));
  const told = make("span", { className: "quiet", textContent: runs.some((run) => run.state === "running" && !run.group) ? "curves grow while it runs" : "" });
  told.setAttribute("role", "status");
  told.dataset.told = "";
  bar.append(told);
  return bar;
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting || charts.has(target)) continue;
    seen.unobserve(target);
    draw(target);
  }
}, { rootMargin: "300px" });

function attend(figure) {
  seen.observe(figure);
  figure.addEventListener("dblclick", () => whole(figure));
}

if (area && window.uPlot) {
  area.prepend(tools());
  area.querySelectorAll("figure[data-metric]").forEach(attend);
  plan();
  document.addEventListener("visibilitychange", () => (document.hidden ? plan() : runs.some(isFollowed) && renew()));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const [figure, plot] of charts) plot.setSize({ width: Math.max(200, figure.clientWidth - 2 * parseFloat(getComputedStyle(figure).paddingLeft)), height: 220 });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
