// The demonstration television: it shows what `PairingClient` tells it, in the page's own words.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
/** Modules of white that a reader needs around the code. */
const QUIET_ZONE = 4;
const ENDS = ["approved", "denied", "expired", "revoked"];
const words = document.getElementById("words").dataset;
const asked = new URLSearchParams(location.search);

const part = (id) => document.getElementById(id);
const clock = (s) => `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;

let client = null;
let connection = { kind: "connecting", nextAt: 0 };
let wholeS = 0;

function begin() {
  show("asking");
  const fresh = new PairingClient({
    facts: { app_type: "tv", model: "Demo TV", os: "browser" },
    store: keep,
    renewBeforeS: Number(asked.get("renew_before_s")) || 20,
  });
  // An older one may still have its acknowledgement to bring in: it is heard no more.
  const on = (type, act) =>
    fresh.addEventListener(type, (event) => client === fresh && act(event.detail));
  on("connection", turn);
  on("code", showCode);
  on("approved", () => show("approved"));
  on("ended", ({ reason }) => show(ENDS.includes(reason) ? reason : "failed"));
  client = fresh;
  client.start();
}

/** A real set would write them to its protected storage. The page shows only whose they are. */
function keep({ credentials }) {
  part("subscriber").textContent = credentials.subscriber_code;
  part("smartcard").textContent = credentials.sn || "–";
}

function show(screen) {
  if (document.body.dataset.screen === screen) return;
  document.body.dataset.screen = screen;
  for (const section of document.querySelectorAll("[data-for]")) {
    section.hidden = section.dataset.for !== screen;
    if (section.hidden || screen === "code") continue;
    say(section.querySelector("h1").textContent);
    // A remote control has keys, not a pointer.
    const button = section.querySelector("[data-again]");
    if (button) button.focus({ preventScroll: true });
  }
}

function showCode({ userCode, uri, completeUri }) {
  show("code");
  wholeS = client.secondsLeft;
  part("code").textContent = userCode;
  part("address").textContent = uri.replace(/^https?:\/\//, "").replace(/\/$/, "");
  part("address").href = completeUri;
  part("qr").replaceChildren(drawQr(completeUri));
  // Letter by letter: it is no word.
  say(words.spokenCode.replace("{code}", userCode.split("").join(" ")));
  tick();
}

function drawQr(text) {
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  const count = code.getModuleCount();
  let d = "";
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column < count; column += 1) {
      if (code.isDark(row, column)) d += `M${column} ${row}h1v1h-1z`;
    }
  }
  const svg = document.createElementNS(SVG, "svg");
  const size = count + 2 * QUIET_ZONE;
  svg.setAttribute("viewBox", `${-QUIET_ZONE} ${-QUIET_ZONE} ${size} ${size}`);
  svg.setAttribute("shape-rendering", "crispEdges");
  const path = svg.appendChild(document.createElementNS(SVG, "path"));
  path.setAttribute("d", d);
  return svg;
}

function turn({ kind, inMs }) {
  const before = connection.kind;
  connection = { kind, nextAt: performance.now() + (inMs || 0) };
  part("connection").dataset.kind = kind;
  if (kind === "waiting" && before !== kind) say(words.spokenWaiting);
  tick();
}

function connectionWords() {
  const { kind, nextAt } = connection;
  const isWanting = kind === "waiting" && document.body.dataset.screen === "asking";
  const leftS = Math.max(0, Math.ceil((nextAt - performance.now()) / 1000));
  const seconds = kind === "polling" ? client.intervalS : leftS;
  return words[isWanting ? "wanting" : kind].replace("{seconds}", seconds);
}

function tick() {
  write("connection", connectionWords());
  const leftS = client.secondsLeft;
  write("countdown", clock(Math.round(leftS)));
  part("left").value = wholeS ? leftS / wholeS : 0;
}

function write(id, text) {
  if (part(id).textContent !== text) part(id).textContent = text;
}

function say(text) {
  part("heard").textContent = text;
}

for (const button of document.querySelectorAll("[data-again]")) {
  button.addEventListener("click", begin);
}
begin();
setInterval(tick, 250);
