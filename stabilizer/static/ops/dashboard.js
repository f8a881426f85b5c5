// The dashboard: hears the stream, keeps what it said, and says when it has fallen silent.
"use strict";

const MINUTES_S = 600, DAY_S = 86400, DAY_GAP_S = 60;
const STALE_MS = 3500, AGAIN_MS = 3000, DAY_EVERY_MS = 60000;
const ops = document.getElementById("ops");
const minutes = new Series(MINUTES_S), day = new Series(DAY_S);
const charts = {};
//: Refusals by policy and reason of the last seconds, newest last.
const lately = [];
let shown = minutes, heardAt = null, now = null, source = null, dayTimer = 0;

function connect() {
  source?.close();
  source = new EventSource(ops.dataset.stream);
  source.addEventListener("history", (event) => {
    const { columns, rows } = JSON.parse(event.data);
    minutes.replace(columns, rows);
    draw();
  });
  source.addEventListener("now", (event) => {
    now = JSON.parse(event.data);
    heardAt = performance.now();
    if (minutes.add(now.row)) remember(now);
    show();
  });
  // The browser comes back by itself after a stream has ended, but not after a refusal.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MS);
  });
}

function remember({ row, refusals }) {
  lately.push({ at: row[0], refusals });
  while (lately.length && lately[0].at <= row[0] - 10) lately.shift();
}

function topRefusals() {
  const sums = new Map();
  for (const { refusals } of lately) {
    for (const [policy, reason, number] of refusals) {
      const key = `${policy}|${reason}`;
      sums.set(key, (sums.get(key) ?? 0) + number);
    }
  }
  const sorted = [...sums].sort((a, b) => b[1] - a[1]).slice(0, 5);
  return sorted.map(([key, number]) => [...key.split("|"), say(number / Math.min(10, Math.max(1, lately.length)))]);
}

function show() {
  if (document.hidden) return;
  showAnswers(minutes, now);
  showPressure(now);
  showStore(now);
  showProcesses(now.processes);
  showTable("reasons", topRefusals(), [2]);
  showChecks(now.checks);
  if (shown === minutes) draw();
  tellAge();
}

function draw() {
  if (!document.hidden) Object.values(charts).forEach((chart) => chart.draw());
}

function tellAge() {
  const live = document.getElementById("live");
  const silentMs = heardAt === null ? 0 : performance.now() - heardAt;
  const stale = silentMs > STALE_MS;
  const seconds = Math.round(silentMs / 1000);
  live.dataset.kind = heardAt === null ? "connecting" : stale ? "stale" : "live";
  document.getElementById("live-word").textContent = heardAt === null ? words("connecting")
    : stale ? words("stale", { seconds }) : `${words("live")} · ${clock.format(minutes.last("at") * 1000)}`;
  ops.classList.toggle("is-stale", stale);
  // In steps, so that a screen reader does not hear each second.
  const step = seconds < 10 ? 4 : seconds - (seconds % 10);
  showBanners(stale ? [[words("staleBanner", { seconds: step }), "care"]] : now ? bannersOf(now) : []);
}

async function readDay() {
  clearTimeout(dayTimer);
  if (shown !== day) return;
  try {
    const answer = await fetch(ops.dataset.day);
    if (answer.ok) {
      const { columns, rows } = await answer.json();
      day.replace(columns, rows, DAY_GAP_S);
      if (shown === day) draw();
    }
  } finally {
    dayTimer = setTimeout(readDay, DAY_EVERY_MS);
  }
}

document.getElementById("range").addEventListener("change", (event) => {
  shown = event.target.value === "day" ? day : minutes;
  for (const chart of Object.values(charts)) chart.series = shown;
  draw();
  readDay();
});
document.getElementById("criticality").addEventListener("change", (event) => {
  charts.latency.choose(LATENCY[event.target.value]);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && now) show(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  Object.values(charts).forEach((chart) => chart.make());
});

for (const [id, settings] of Object.entries(CHARTS)) charts[id] = new Chart(id, settings, minutes);
setInterval(tellAge, 1000);
connect();
