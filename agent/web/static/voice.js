// What a screen reader says: one short sentence for each thing that happens, in regions that were there before it.

// Longer is not listened to.
const CHARS_MAX = 120;
// A region that is emptied and filled in one step says nothing where the sentence is the same as before.
const PAUSE_MS = 30;

const timers = {};

// Says it when there is a pause; null takes back what was said.
export function tell(text) {
  fill("polite", text);
}

// Says it now: waiting would lead to a wrong act.
export function warn(text) {
  fill("urgent", text);
}

function fill(id, text) {
  const node = document.getElementById(id);
  clearTimeout(timers[id]);
  node.textContent = "";
  if (text) timers[id] = setTimeout(() => (node.textContent = short(text)), PAUSE_MS);
}

function short(text) {
  return text.length <= CHARS_MAX ? text : `${text.slice(0, CHARS_MAX - 1)}…`;
}
