// The four answers, the tables and the banners: words first, then figures.
"use strict";

const FAILING_IN_PART = 0.999, FAILING = 0.95;
const BUSY_PART = 0.75, FULL_PART = 0.97, BUSY_DELAY_MS = 100, FULL_DELAY_MS = 1000;
const BEHIND_EVENTS = 5000, BEHIND_S = 30;
const STATES = { good: 0, unknown: 1, care: 2, bad: 3 };

const isAway = (now, name) => now.checks[name] !== undefined && !now.checks[name].ok;

// A fact that is left out where it is not known, or nothing.
const known = (name, value, unit = "") => (value ? [[name, say(value, unit)]] : []);

function judgeServing(series, now) {
  const answered = series.mean("answered"), failed = series.mean("failed");
  if (answered === null) return null;
  const success = answered + failed ? answered / (answered + failed) : null;
  const idle = success === null && !isAway(now, "database");
  const state = success === null && !idle ? "bad" : idle || success >= FAILING_IN_PART ? "good" : success >= FAILING ? "care" : "bad";
  const word = idle ? "idle" : { good: "serving", care: "failing", bad: "down" }[state];
  return {
    state, word, number: say(answered),
    facts: [["success", success === null ? "–" : say(Math.floor(success * 1000) / 10, " %")], ["offered", say(series.mean("offered"))], ["failed", say(failed)], ...known("pushP95", series.most("push_p95"), " ms")],
  };
}

function judgeRefused(series) {
  const requests = series.mean("refused");
  if (requests === null) return null;
  const full = series.mean("sockets_over_capacity") ?? 0;
  const refused = requests + full + (series.mean("sockets_over_cap") ?? 0);
  const slots = series.mean("refused_slots") + series.mean("refused_unavailable") + full;
  const causes = [...FAMILIES.map((name) => [asFamily(name), series.mean(`refused_${name}`)]), ...TURNED_AWAY.map(([column, word]) => [word, series.mean(column)])]
    .filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]).slice(0, 3);
  const heavy = slots > 0 && requests > series.mean("answered");
  const state = !refused ? "good" : heavy ? "bad" : "care";
  return {
    state, word: !refused ? "nothingRefused" : slots > 0 ? "turnedAway" : "overLimits", number: say(refused),
    facts: causes.length ? causes.map(([word, value]) => [word, say(value)]) : [["familyLimits", "0"], ["familySlots", "0"]],
  };
}

function judgeSaturated(series, now) {
  const held = series.last("slots_held"), most = series.last("slots_most");
  if (held === null) return null;
  const used = (series.mean("slots_held", 5) ?? 0) / Math.max(1, most);
  const delay = series.most("wait_p95") ?? 0;
  const passable = excessFact(now.bound).length > 0 || now.processes.some((process) => process.mode === "local");
  const modes = [...new Set(now.processes.map((process) => process.mode))];
  const full = used >= FULL_PART || delay >= FULL_DELAY_MS;
  const busy = used >= BUSY_PART || delay >= BUSY_DELAY_MS || series.mean("waiting") > 0;
  return {
    state: full ? "bad" : busy || passable ? "care" : "good", word: full ? "full" : busy ? "busy" : passable ? "passable" : "room",
    number: `${say(held)} / ${say(most)}`,
    facts: [["queue", say(series.last("waiting"))], ["delay", say(delay, " ms")], ["pressure", say(now.pressure)], ...letInFact(series.last("let_in_percent")), ["store", modes.join(", ")], ...excessFact(now.bound)],
  };
}

function letInFact(percent) {
  return percent === null || percent >= 100 ? [] : [["letIn", say(percent, " %")]];
}

function judgeLost(series, now) {
  if (isAway(now, "database")) return null;
  const waiting = series.last("audit_waiting"), dead = series.last("dead_letters"), missing = series.last("missing_bytes");
  if (waiting === null || dead === null) return null;
  const events = waiting + (series.last("outbox") ?? 0);
  const lag = series.last("audit_lag");
  const state = dead || missing ? "bad" : events > BEHIND_EVENTS || lag > BEHIND_S ? "care" : "good";
  return {
    state, word: { bad: "losing", care: "behind", good: "nothingLost" }[state], number: say(events),
    facts: [["lag", say(lag, " s")], ["deadLetters", say(dead)], ["gaps", say(missing)]],
  };
}

const JUDGES = { serving: judgeServing, refused: judgeRefused, saturated: judgeSaturated, lost: judgeLost };

function showAnswers(series, now) {
  for (const [id, judge] of Object.entries(JUDGES)) {
    const found = judge(series, now) ?? { state: "unknown", word: "unknown", number: "–", facts: [] };
    const card = document.getElementById(id);
    const word = words(found.word);
    const shown = card.querySelector(".word");
    if (shown.textContent !== word) {
      shown.textContent = word;
      if (STATES[found.state] > STATES.unknown || STATES[card.dataset.state] > STATES.unknown) {
        document.getElementById("spoken").textContent = `${card.querySelector("h2").textContent}: ${word}`;
      }
    }
    card.dataset.state = found.state;
    card.querySelector("use").setAttribute("href", `#icon-${found.state}`);
    card.querySelector(".number").textContent = found.number;
    card.querySelector("dl").replaceChildren(...found.facts.map(([name, value]) => fact(words(name), value)));
  }
}

function fact(name, value) {
  const pair = document.createElement("div");
  pair.append(element("dt", name), element("dd", value));
  return pair;
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showTable(id, rows, numeric) {
  const body = document.querySelector(`#${id} tbody`);
  const width = document.querySelectorAll(`#${id} th`).length;
  if (!rows.length) {
    const cell = element("td", words("none"), "quiet");
    cell.colSpan = width;
    rows = [[cell]];
  }
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell, i) => (cell instanceof Node ? cell : element(i ? "td" : "th", cell, numeric.includes(i) ? "n" : ""))));
    if (row.firstChild.tagName === "TH") row.firstChild.scope = "row";
    return row;
  }));
}

function showProcesses(processes) {
  showTable("processes", processes.map((one) => [
    one.name, one.role, say(one.in_use), say(one.share), say(one.limit), say(one.wants), say(one.waiting), mark(one.mode),
    words("ago", { seconds: say(one.age_s) }),
  ]), [2, 3, 4, 5, 6, 8]);
}

function mark(mode) {
  const cell = document.createElement("td");
  const state = { healthy: "good", recovering: "care", suspect: "care", local: "bad" }[mode] ?? "unknown";
  cell.append(icon(state), ` ${mode}`);
  cell.className = state;
  return cell;
}

function icon(state) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${state}`);
  svg.append(use);
  return svg;
}

function showChecks(checks) {
  document.getElementById("checks").replaceChildren(...Object.entries(checks).map(([name, check]) => {
    const item = document.createElement("li");
    item.append(icon(check.ok ? "good" : "bad"), element("strong", words(name)), element("span", `${words(check.ok ? "answers" : "away")} · ${say(check.ms, " ms")}`, check.ok ? "quiet" : "bad"));
    return item;
  }));
}

function bannersOf(now) {
  const banners = [];
  if (now.scope === "process") banners.push(["redisAway", "bad"]);
  if (isAway(now, "database")) banners.push(["databaseAway", "bad"]);
  if (now.scope !== "process" && isAway(now, "broker")) banners.push(["brokerAway", "care"]);
  return banners.map(([word, state]) => [words(word), state]);
}

function showBanners(banners) {
  const box = document.getElementById("banners");
  const key = JSON.stringify(banners);
  // Said once, not each second.
  if (box.dataset.shown === key) return;
  box.dataset.shown = key;
  box.replaceChildren(...banners.map(([text, state]) => {
    const banner = element("p", "", `notice ${state}`);
    banner.append(icon(state), ` ${text}`);
    return banner;
  }));
}
