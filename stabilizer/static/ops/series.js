// What the charts draw: the rows of the stream as one array for each column.
"use strict";

class Series {
  constructor(keptSeconds) {
    this.keptSeconds = keptSeconds;
    this.columns = { at: [] };
  }

  // Where nobody has counted for longer than `gapSeconds` a line ends and begins anew.
  replace(names, rows, gapSeconds = Infinity) {
    const gap = (row, i) => i && row[0] - rows[i - 1][0] > gapSeconds;
    rows = rows.flatMap((row, i) => (gap(row, i) ? [[row[0] - 1, ...Array(names.length - 1).fill(null)], row] : [row]));
    this.columns = Object.fromEntries(names.map((name, i) => [name, rows.map((row) => row[i])]));
    this.columns.at ??= [];
    this.names = names;
  }

  // A second that is here already comes again after each reconnection.
  add(row) {
    const at = this.columns.at;
    if (!this.names || (at.length && row[0] <= at[at.length - 1])) return false;
    this.names.forEach((name, i) => this.columns[name].push(row[i]));
    let old = 0;
    while (at[old] < row[0] - this.keptSeconds) old += 1;
    if (old) this.names.forEach((name) => this.columns[name].splice(0, old));
    return true;
  }

  of(name) { return this.columns[name] ?? []; }

  last(name) { return this.of(name).at(-1) ?? null; }

  // The mean of the last `seconds`: one second alone jumps too much to be read.
  mean(name, seconds = 10) {
    const at = this.columns.at;
    const since = at.at(-1) - seconds;
    let sum = 0, count = 0;
    for (let i = at.length - 1; i >= 0 && at[i] > since; i -= 1) {
      const value = this.of(name)[i];
      if (value !== null && value !== undefined) { sum += value; count += 1; }
    }
    return count ? sum / count : null;
  }

  most(name, seconds = 10) {
    const at = this.columns.at;
    const since = at.at(-1) - seconds;
    let most = null;
    for (let i = at.length - 1; i >= 0 && at[i] > since; i -= 1) {
      const value = this.of(name)[i];
      if (value !== null && value !== undefined && (most === null || value > most)) most = value;
    }
    return most;
  }
}

const language = document.documentElement.lang || "en";
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const finer = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const clockShort = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function say(value, unit = "") {
  if (value === null || value === undefined) return "–";
  // A number and its unit stay on one line.
  return (Math.abs(value) < 100 ? fine : whole).format(value) + unit.replace(" ", "\u00a0");
}

function words(name, values = {}) {
  const text = document.getElementById("words").dataset[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
}
