// Several customers to choose among: an identifier that leads to more than one, or what a search found.

import { el } from "./el.js";
import { icon } from "./icons.js";
import { dateOf, recently, say, sayCount, told } from "./words.js";

// Returns the choice that an identifier leads to.
export function choice(people, onChoose) {
  return el(
    "div",
    { class: "people" },
    title("people", say("choice.title")),
    el("p", { class: "soft" }, say("choice.help")),
    list(people, onChoose),
  );
}

// Returns what a search found, which may be nobody.
export function found({ people, more }, onChoose, onClose) {
  const nobody = people.length === 0;
  return el(
    "div",
    { class: "people" },
    title("search", nobody ? say("search.none") : sayCount("search.title", people.length)),
    el("p", { class: "soft" }, say(nobody ? "search.none.help" : "search.help")),
    list(people, onChoose),
    more && el("p", { class: "note" }, say("search.more")),
    el("button", { type: "button", class: "button", onclick: onClose }, say("search.close"), el("kbd", {}, say("key.Escape"))),
  );
}

// Returns the tier with its star, or null.
export function tierBadge(tier) {
  if (!tier) return null;
  return el("span", { class: "tier" }, icon("star"), tier.text ? told(tier.text) : tier.tier);
}

// Returns when the customer was last here, or null.
export function lastVisit(day) {
  if (!day) return null;
  const when = recently(day);
  return when ? say("customer.last_visit", { when }) : say("customer.last_visit_on", { date: dateOf(day) });
}

function title(iconName, text) {
  return el("h1", { class: "headline", tabindex: "-1" }, icon(iconName), text);
}

function list(people, onChoose) {
  return el("ul", { class: "choices" }, people.map((person) => el("li", {}, row(person, onChoose))));
}

function row(person, onChoose) {
  const details = [...person.hints, lastVisit(person.last_visit_on)].filter(Boolean).join(" · ");
  return el(
    "button",
    { type: "button", class: "choice", "data-id": person.customer_id, onclick: () => onChoose(person.customer_id) },
    el("span", { class: "choice-name" }, person.name),
    tierBadge(person.tier),
    el("span", { class: "soft" }, details),
  );
}
