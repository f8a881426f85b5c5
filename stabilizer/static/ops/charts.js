// The charts: uPlot with a legend of our own, that says each line's value now or under the cursor.
"use strict";

// Each line has a colour and a pattern of its own: nothing is told by colour alone.
const PATTERNS = { solid: [], dashed: [7, 4], dotted: [2, 3], mixed: [9, 3, 2, 3], long: [16, 5] };
const PARTS = ["critical", "normal", "sheddable", "admin"];
const FAMILIES = ["limits", "slots", "pressure", "forged", "body", "unavailable"];
// The gateway's connections, beside the gate's requests: column and word.
const TURNED_AWAY = [["sockets_over_cap", "overCap"], ["sockets_over_capacity", "overCapacity"]];
const asFamily = (name) => `family${name[0].toUpperCase()}${name.slice(1)}`;
const LATENCY = {
  all: PARTS.map((part, i) => [`p95_${part}`, part, ["red", "blue", "amber", "violet"][i], ["solid", "dashed", "dotted", "mixed"][i]]),
};
for (const part of PARTS) {
  LATENCY[part] = [[`p50_${part}`, "p50", "green", "solid"], [`p95_${part}`, "p95", "amber", "dashed"], [`p99_${part}`, "p99", "red", "dotted"]];
}
// Column, word, colour, pattern; then the unit and which axis.
const CHARTS = {
  load: { lines: [["offered", "offered", "blue", "dashed"], ["answered", "answered", "green", "solid", { fill: true }], ["refused", "refused", "amber", "dotted"], ["failed", "failed", "red", "mixed"]] },
  latency: { unit: " ms", lines: LATENCY.all },
  slots: { lines: [["slots_held", "inUse", "blue", "solid", { fill: true }], ["slots_most", "most", "grey", "dashed"], ["slots_adaptive", "adaptive", "green", "long"], ["waiting", "waiting", "amber", "dotted"], ["wait_p95", "delay", "red", "mixed", { right: true, unit: " ms" }]] },
  refusals: { lines: [
    ...FAMILIES.map((name, i) => [`refused_${name}`, asFamily(name), ["amber", "red", "green", "violet", "blue", "grey"][i], ["solid", "dashed", "mixed", "dotted", "mixed", "dotted"][i], { fill: i < 2 }]),
    ...TURNED_AWAY.map(([column, word], i) => [column, word, ["violet", "blue"][i], "long"]),
  ] },
  pressure: { most: 3, lines: [["pressure", "pressure", "red", "solid", { fill: true, stepped: true }]] },
  sockets: { lines: [["sockets", "sockets", "blue", "solid", { fill: true }], ["push_p50", "pushP50", "green", "dashed", { right: true, unit: " ms" }], ["push_p95", "pushP95", "red", "mixed", { right: true, unit: " ms" }]] },
  trail: { lines: [["audit_waiting", "spool", "blue", "solid", { fill: true }], ["outbox", "outbox", "amber", "dashed"], ["audit_lag", "lag", "red", "mixed", { right: true, unit: " s" }]] },
  background: { lines: [["queue_default", "queueDefault", "blue", "solid", { fill: true }], ["queue_audit", "queueAudit", "green", "dashed"], ["queue_held", "queueHeld", "violet", "dotted"], ["background_runs", "runs", "grey", "long", { right: true, unit: "/s" }], ["background_yields", "yields", "red", "mixed", { right: true, unit: "/s" }]] },
  excess: { lines: [["bound_slots", "excessSlots", "red", "solid", { fill: true }], ["bound_percent", "excessPart", "amber", "dashed", { right: true, unit: " %" }]] },
  locks: { lines: [["lock_waits", "lockWaits", "red", "solid", { fill: true }], ["lock_current", "lockCurrent", "amber", "dashed"]] },
};

class Chart {
  constructor(id, settings, series) {
    this.figure = document.getElementById(id);
    this.settings = settings;
    this.series = series;
    this.name = this.figure.querySelector("figcaption").firstChild.textContent.trim();
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "img");
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.figure.append(this.plot, this.legend);
    this.plot.addEventListener("keydown", (event) => this.step(event));
    this.plot.addEventListener("blur", () => this.point(null));
    new ResizeObserver(() => this.resize()).observe(this.plot);
    this.make();
  }

  colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--line-${name}`).trim(); }

  choose(lines) { this.settings = { ...this.settings, lines }; this.make(); }

  make() {
    this.uplot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--quiet").trim();
    const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font };
    const numbers = (plot, splits) => splits.map((value) => finer.format(value));
    this.uplot = new uPlot({
      width: Math.max(200, this.plot.clientWidth), height: this.height(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (plot, low, high) => [0, (this.settings.most ?? Math.max(high ?? 0, 1)) * 1.08] }, right: { range: (plot, low, high) => [0, Math.max(high ?? 0, 10) * 1.08] } },
      axes: [
        { ...axis, space: (plot, i, first, last) => (last - first < 240 ? 70 : 48), size: 30, values: (plot, splits, i, space, step) => splits.map((at) => (step < 60 ? clock : clockShort).format(at * 1000)) },
        { ...axis, size: 46, values: numbers, ...(this.settings.most ? { incrs: [1], space: 15 } : {}) },
        ...(this.settings.lines.some((line) => line[4]?.right) ? [{ ...axis, side: 1, scale: "right", size: 46, grid: { show: false }, values: numbers }] : []),
      ],
      series: [{}, ...this.settings.lines.map((line) => this.line(line))],
      hooks: { setCursor: [() => this.tell()] },
    }, this.data(), this.plot);
    this.legend.replaceChildren(...this.settings.lines.map(([, word, colour, pattern]) => this.entry(word, colour, pattern)));
    this.tell();
  }

  line([, word, colour, pattern, more]) {
    const stroke = this.colour(colour);
    return {
      label: words(word), stroke, width: 2, dash: PATTERNS[pattern],
      fill: more?.fill ? `${stroke}24` : undefined, scale: more?.right ? "right" : "y",
      paths: more?.stepped ? uPlot.paths.stepped({ align: -1 }) : undefined,
      points: { show: (plot, i, first, last) => last - first < 3, size: 4 },
    };
  }

  entry(word, colour, pattern) {
    const item = document.createElement("li");
    const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    swatch.setAttribute("viewBox", "0 0 26 4");
    swatch.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", "M0 2h26");
    path.setAttribute("stroke", this.colour(colour));
    path.setAttribute("stroke-width", "3");
    path.setAttribute("stroke-dasharray", PATTERNS[pattern].join(" "));
    swatch.append(path);
    const value = document.createElement("strong");
    item.append(swatch, ` ${words(word)} `, value);
    return item;
  }

  height() {
    const is = this.figure.classList;
    return is.contains("flat") ? 130 : is.contains("wide") ? 230 : 180;
  }

  data() {
    return [this.series.of("at"), ...this.settings.lines.map(([column]) => this.series.of(column))];
  }

  draw() { this.uplot.setData(this.data()); this.tell(); }

  resize() {
    if (this.plot.clientWidth) this.uplot.setSize({ width: this.plot.clientWidth, height: this.height() });
  }

  // The values under the cursor, else those of now.
  tell() {
    if (!this.uplot) return;
    const at = this.series.of("at");
    const index = this.uplot.cursor.idx ?? at.length - 1;
    const said = this.settings.lines.map(([column, word, , , more], i) => {
      const text = say(this.series.of(column)[index], more?.unit ?? this.settings.unit ?? "");
      const value = this.legend.children[i]?.querySelector("strong");
      if (value && value.textContent !== text) value.textContent = text;
      return `${words(word)} ${text}`;
    });
    const when = at[index] ? clock.format(at[index] * 1000) : "";
    this.plot.setAttribute("aria-label", words("chart", { name: `${this.name} ${when}`, values: said.join(", ") }));
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.point(null);
    if (by === undefined) return;
    event.preventDefault();
    const last = this.series.of("at").length - 1;
    const from = this.uplot.cursor.idx ?? last;
    this.point(Math.min(last, Math.max(0, from + by * (event.shiftKey ? 10 : 1))));
  }

  point(index) {
    const left = index === null ? -10 : this.uplot.valToPos(this.series.of("at")[index], "x");
    this.uplot.setCursor({ left, top: index === null ? -10 : 10 });
  }
}
