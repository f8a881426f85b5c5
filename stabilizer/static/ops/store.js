// The limits' store: who asks it, and how far limits may be passed because somebody cannot.
"use strict";

function excessFact(bound) {
  if (!bound || !(bound.slots || bound.percent)) return [];
  return [["excess", [say(bound.slots), say(bound.percent, " %")].join(" · ")]];
}

function showStore({ scope, bound, processes, limits }) {
  if (!bound) return;
  const recovering = processes.some((process) => process.mode === "recovering");
  const state = bound.apart || recovering ? "care" : "good";
  const panel = document.getElementById("store");
  panel.dataset.state = state;
  panel.querySelector("use").setAttribute("href", `#icon-${state}`);
  panel.querySelector(".word").textContent = words(wordOf(scope, bound, recovering), bound);
  document.getElementById("excess-slots").textContent = say(bound.slots);
  document.getElementById("excess-part").textContent = say(bound.percent, " %");
  panel.querySelector("ul").replaceChildren(...sentences(scope, bound, limits).map((text) => element("li", text)));
}

function wordOf(scope, bound, recovering) {
  if (bound.apart) return scope === "process" ? "storeApartHere" : "storeApart";
  return recovering ? "storeRecovers" : "storeShared";
}

function sentences(scope, bound, limits) {
  const { slots, worst, open, silent } = bound;
  const said = [];
  if (slots) said.push(words("storeSlots", { slots: say(slots), cap: say(limits.slots) }));
  if (worst) said.push(words("storeRates", { ...worst, more: say(worst.more), quantity: say(worst.quantity) }));
  if (open.length) said.push(words("storeOpen", { policies: open.join(", ") }));
  if (silent) said.push(words("storeSilent", { silent }));
  if (scope === "process") said.push(words("storeAlone"));
  return said.length ? said : [words("storeNothing")];
}
