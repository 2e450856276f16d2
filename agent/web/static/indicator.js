// The indicator: how things stand with the hub and the outbox, in words, always in the same place.
//
// It is green only when nothing waits, nothing needs a person, and the hub is there.

import { el } from "./el.js";
import { icon } from "./icons.js";
import { age, say, sayCount } from "./words.js";

// Only a person can mend these; waiting does not.
const FOR_A_PERSON = ["certificate", "credential_unknown", "not_moving", "storage_full", "terminal_revoked", "update_needed"];
const SET_ASIDE = ["rejected", "parked", "withheld"];

// Returns how many events a person should look at.
export function toLookAt(outbox) {
  return SET_ASIDE.reduce((sum, state) => sum + outbox[state], 0);
}

// Returns how much waits for the hub, and since when; null where nothing does.
export function waitingText(outbox) {
  if (outbox.waiting === 0) return null;
  return sayCount("outbox.waiting", outbox.waiting, { age: age(outbox.oldest_at) });
}

// Returns the indicator for a state (null: none yet) and a link; both of its buttons open the outbox, the second one
// at what needs a person.
export function indicator(state, link, onOpen, onLook) {
  const { tone, iconName, words } = told(state, link);
  const spans = words.filter(Boolean).map((word) => el("span", {}, word));
  const spoken = el("span", { class: "pill-words" }, spans);
  const count = state && link === "live" ? toLookAt(state.outbox) : 0;
  const pill = { type: "button", class: `pill tone-${tone}`, "data-tone": tone, onclick: onOpen };
  return [
    el("button", pill, icon(iconName), spoken),
    count > 0 && el("button", { type: "button", class: "badge", onclick: onLook }, icon("eye"), sayCount("outbox.attention", count)),
  ];
}

// Returns how things stand in one phrase without figures, so that a change of it is news.
export function standing(state, link) {
  return told(state, link).words[0];
}

function told(state, link) {
  if (link === "silent") return pill("mind", "offline", say("agent.silent"), say("agent.silent.help"));
  if (!state) return pill("calm", "sending", say("hub.connecting"));
  const { hub, outbox } = state;
  const waiting = waitingText(outbox);
  if (FOR_A_PERSON.includes(hub.fault)) return pill("mind", "caution", say("hub.needs_person"), waiting);
  if (hub.fault === "no_hello_yet") return pill("calm", "sending", say("hub.connecting"), waiting);
  if (!hub.is_reachable) return pill("mind", "offline", say("hub.offline"), waiting);
  if (hub.is_loading_snapshot) return pill("calm", "sending", say("hub.loading"), waiting);
  if (waiting) return pill("calm", "sending", say("hub.sending"), waiting);
  if (toLookAt(outbox) > 0) return pill("calm", "check", say("hub.online"));
  return pill("good", "check", say("hub.all_sent"), say("hub.online"));
}

function pill(tone, iconName, ...words) {
  return { tone, iconName, words };
}
