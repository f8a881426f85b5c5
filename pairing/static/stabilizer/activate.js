// Puts the dash into a code while it is typed. The page works without this file.
"use strict";

function putDash(field) {
  const atEnd = field.selectionStart === field.value.length;
  if (!atEnd) return;
  const letters = field.value.toUpperCase().replace(/[^A-Z]/g, "").slice(0, 8);
  field.value = letters.length > 4 ? `${letters.slice(0, 4)}-${letters.slice(4)}` : letters;
}

for (const field of document.querySelectorAll("input[data-code]")) {
  field.addEventListener("input", () => putDash(field));
  // Whoever types fast has begun before this file was here.
  putDash(field);
}
