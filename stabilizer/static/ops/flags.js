// Pressure, its flags with their buttons, and the breakers. A row is made anew only when it has changed: it may have the focus.
"use strict";

const dialog = document.getElementById("force");
const forcing = dialog.querySelector("form");
const mayForce = ops.dataset.mayForce === "yes";
const moment = new Intl.DateTimeFormat(language, { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
let deciding = null;

const stepWord = (name) => words(`step${name.split("_").map((part) => part[0].toUpperCase() + part.slice(1)).join("")}`);

function showPressure({ pressure, flags = [], breakers = [] }) {
  const level = document.getElementById("level");
  level.textContent = pressure === null || pressure === undefined ? "–" : words("level", { level: pressure });
  level.dataset.state = ["good", "care", "bad", "bad"][pressure] ?? "unknown";
  showOnce("flags", flags.map((flag) => [flag.name, flag]), flagRow);
  // Seconds pass by themselves: a row of the breakers has no button to lose.
  showTable("breakers", breakers.map((one) => [words(`breaker${one.name.endsWith("read") ? "Reads" : "Writes"}`), breakerMark(one.state), words("seconds", { seconds: say(one.since_s) }), one.retry_s === null ? "–" : words("seconds", { seconds: say(one.retry_s) })]), [2, 3]);
}

function showOnce(id, rows, make) {
  const body = document.querySelector(`#${id} tbody`);
  for (const [key, data] of rows) {
    const text = JSON.stringify(data);
    const old = body.querySelector(`tr[data-key="${key}"]`);
    if (old?.dataset.text === text) continue;
    const focused = old?.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    const row = make(data);
    row.dataset.key = key;
    row.dataset.text = text;
    if (old) old.replaceWith(row); else body.append(row);
    if (focused) (row.querySelector(`[data-act="${focused}"]`) ?? row.querySelector("button"))?.focus();
  }
}

function flagRow(flag) {
  const row = document.createElement("tr");
  const name = element("th", "");
  name.scope = "row";
  name.append(element("span", stepWord(flag.name), "step"), element("code", flag.name, "quiet"));
  const taken = document.createElement("td");
  taken.append(icon(flag.taken ? "care" : "good"), ` ${words(flag.taken ? "stepTaken" : "stepNot")}`);
  taken.className = flag.taken ? "care" : "";
  row.append(name, element("td", words("fromLevel", { level: flag.level })), taken, forcedCell(flag), buttonsCell(flag));
  return row;
}

function forcedCell(flag) {
  const cell = document.createElement("td");
  cell.className = "forced";
  if (flag.forced === null) {
    cell.append(element("span", words("byPressure"), "quiet"));
    return cell;
  }
  cell.append(element("strong", words(flag.forced ? "forcedOn" : "forcedOff", { until: moment.format(flag.until * 1000) })), element("span", `${flag.owner}: ${flag.reason}`, "quiet"));
  return cell;
}

function buttonsCell(flag) {
  const cell = document.createElement("td");
  cell.className = "acts";
  if (!mayForce) return cell;
  const acts = flag.forced === null ? ["on", "off"] : ["auto", flag.forced ? "off" : "on"];
  cell.append(...acts.map((act) => {
    const button = element("button", words(`act${act[0].toUpperCase()}${act.slice(1)}`), "button plain");
    button.type = "button";
    button.dataset.act = act;
    button.setAttribute("aria-label", `${button.textContent}: ${stepWord(flag.name)}`);
    button.addEventListener("click", () => decide(flag, act));
    return button;
  }));
  return cell;
}

function breakerMark(state) {
  const cell = document.createElement("td");
  const kind = { closed: "good", "half-open": "care", open: "bad" }[state] ?? "unknown";
  cell.append(icon(kind), ` ${words(`breaker${kind[0].toUpperCase()}${kind.slice(1)}`)}`);
  cell.className = kind;
  return cell;
}

function decide(flag, act) {
  deciding = flag;
  forcing.elements.decision.value = act;
  dialog.querySelector("h2").textContent = words(`ask${act[0].toUpperCase()}${act.slice(1)}`, { step: stepWord(flag.name) });
  dialog.querySelector(".ends").hidden = act === "auto";
  for (const name of ["who", "why", "minutes"]) forcing.elements[name].disabled = act === "auto";
  complain({});
  dialog.showModal();
  (act === "auto" ? dialog.querySelector("[type=submit]") : forcing.elements.why).focus();
}

function complain(errors) {
  const box = dialog.querySelector(".notice");
  const texts = Object.entries(errors).map(([name, found]) => `${forcing.elements[name]?.labels[0]?.textContent.trim() ?? ""} ${found.map((one) => one.message).join(" ")}`.trim());
  box.hidden = !texts.length;
  box.textContent = texts.join(" ");
  for (const name of ["who", "why", "minutes"]) forcing.elements[name].toggleAttribute("aria-invalid", name in errors);
}

forcing.addEventListener("submit", async (event) => {
  event.preventDefault();
  const submit = dialog.querySelector("[type=submit]");
  submit.disabled = true;
  try {
    const answer = await fetch(ops.dataset.flag.replace("NAME", deciding.name), { method: "POST", body: new URLSearchParams(new FormData(forcing)) });
    if (answer.ok) {
      dialog.close();
      document.getElementById("spoken").textContent = words("decided", { step: stepWord(deciding.name) });
    } else if (answer.status === 400) complain((await answer.json()).errors);
    else complain({ "": [{ message: words("undecided", { status: answer.status }) }] });
  } catch {
    complain({ "": [{ message: words("undecided", { status: "–" }) }] });
  } finally {
    submit.disabled = false;
  }
});
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  if (deciding) document.querySelector(`#flags tr[data-key="${deciding.name}"] button`)?.focus();
});
