// Bands that can be zoomed, in the place of the drawings that the page came with. Without JavaScript those stay.
const area = document.querySelector("[data-groups]");
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [1, 4]];
const groups = area ? JSON.parse(area.dataset.groups) : []; // [{name, address, goes_on}]
const charts = new Map(); // figure → uPlot
const EVERY = 5000;
const PARTS = 5; // series of a group: mean, mean + std, mean - std, greatest, least
let answers = [];

const text = (value) => (value == null ? "–" : Number(value.toPrecision(6)).toString());

async function read() {
  const found = await Promise.all(groups.map((group) => fetch(group.address).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null)));
  answers = found.map((answer, number) => answer ?? answers[number] ?? null);
}

// What is said of a group at a step: mean ± std (min, max).
function said(over, number) {
  if (number == null) return "–";
  const std = over.std[number];
  return `${text(over.mean[number])}${std == null ? "" : ` ± ${Number(std.toPrecision(3))}`} (${text(over.min[number])}, ${text(over.max[number])}) n ${over.n[number]}`;
}

function table(figure) {
  const tables = [];
  const series = [];
  const bands = [];
  answers.forEach((answer, number) => {
    const over = answer?.metrics.find((metric) => metric.name === figure.dataset.metric)?.over;
    if (!over) return;
    const first = 1 + series.length;
    const stroke = colour(`--line-${number % DASHES.length}`);
    const edge = (sign) => over.mean.map((mean, i) => mean + sign * (over.std[i] ?? 0));
    tables.push([over.x, over.mean], [over.x, edge(1)], [over.x, edge(-1)], [over.x, over.max], [over.x, over.min]);
    const places = new Map(over.x.map((x, i) => [x, i]));
    const hidden = { class: "raw", stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
    const label = groups.length > 1 ? groups[number].name : "mean ± std (min, max)";
    const value = (plot, _, __, index) => said(over, index == null ? null : places.get(plot.data[0][index]));
    series.push({ label, stroke, dash: DASHES[number % DASHES.length], width: 2, value, spanGaps: true, points: { size: 5, fill: colour("--card") } });
    for (let part = 1; part < PARTS; part++) series.push({ ...hidden, label: `${label} ${part}` });
    bands.push({ series: [first + 1, first + 2], fill: stroke + "40" }, { series: [first + 3, first + 4], fill: stroke + "1c" });
  });
  return { data: tables.length ? uPlot.join(tables) : [[]], series, bands };
}

function options(figure, series, bands, width) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { stroke: colour("--rule"), width: 1 }, font: "11px system-ui" };
  const label = figure.dataset.axis;
  const whole = label === "step" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8, 1e9] : undefined;
  return {
    width,
    height: 260,
    scales: { x: { time: false } },
    cursor: {
      sync: { key: `group-${label}`, setSeries: false },
      drag: { x: true, y: false },
      points: { size: (_, number) => ((number - 1) % PARTS ? 0 : 7), width: (_, __, size) => (size ? 1.5 : 0) }, // on the means alone
    },
    legend: { live: true },
    axes: [
      { ...axis, label, labelFont: "11px system-ui", labelSize: 16, size: 30, space: 60, incrs: whole },
      { ...axis, size: 58, values: (_, splits) => splits.map((value) => (value == null ? "" : text(value))) },
    ],
    series: [{ label }, ...series],
    bands,
    hooks: { setSeries: [together] },
  };
}

// A group's bands go with its line.
function together(plot, number, changed) {
  if (number == null || changed.show == null || (number - 1) % PARTS) return;
  for (let part = 1; part < PARTS; part++) if (plot.series[number + part].show !== changed.show) plot.setSeries(number + part, { show: changed.show });
}

function inside(figure) {
  return Math.max(200, figure.clientWidth - 2 * parseFloat(getComputedStyle(figure).paddingLeft));
}

function draw(figure) {
  const { data, series, bands } = table(figure);
  if (!series.length) return;
  charts.get(figure)?.destroy();
  charts.set(figure, new uPlot(options(figure, series, bands, inside(figure)), data, figure));
  figure.classList.add("drawn");
  figure.dataset.points = data[0].length;
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting || charts.has(target)) continue;
    seen.unobserve(target);
    draw(target);
  }
}, { rootMargin: "300px" });

// Groups with runs that go on are asked for again while somebody looks; the answer is the known one when nothing is new.
async function grow() {
  if (document.hidden) return;
  const before = JSON.stringify(answers);
  await read();
  if (JSON.stringify(answers) !== before) for (const figure of charts.keys()) draw(figure);
}

async function begin() {
  await read();
  area.querySelectorAll("figure[data-metric]").forEach((figure) => seen.observe(figure));
  if (groups.some((group) => group.goes_on)) setInterval(grow, EVERY);
}

if (area && window.uPlot) {
  begin();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const [figure, plot] of charts) plot.setSize({ width: inside(figure), height: 260 });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...charts.keys()].forEach(draw));
}
