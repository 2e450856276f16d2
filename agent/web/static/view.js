// What the cashier sees of a scan: who, how many points, what to say, what to mind. One glance, nothing that blinks.

import { el, svg } from "./el.js";
import { icon } from "./icons.js";
import { choice, lastVisit, tierBadge } from "./people.js";
import { dateOf, isToday, languages, number, say, sayCount, signed, speaks, timeOfDay, told } from "./words.js";

const MEANING_ICONS = {
  bank_card: "bank_card",
  contact: "people",
  coupon: "coupon",
  product: "product",
  unknown: "caution",
  unreadable: "caution",
  url: "globe",
  wifi: "wifi",
};

// What must not be used here at all.
const REFUSED_MEANINGS = ["bank_card"];

const KINDS = { choice: chosen, customer, nothing: idle, other, unknown_card: unknownCard };

// Returns the view as nodes; `onChoose` is given a customer id, `onUse` opens the place where points are used.
export function viewed(view, onChoose, onUse) {
  return KINDS[view.kind](view, onChoose, onUse);
}

// Returns the view in one short sentence, for screen readers; null where nothing is to be said.
export function announced(view) {
  switch (view.kind) {
    case "customer":
      return sayCount("customer.announced", view.balance.posted, { name: view.name });
    case "unknown_card":
      return say("card.title");
    case "choice":
      return say("choice.title");
    case "other":
      return `${otherTitle(view.meaning)} ${otherHelp(view.meaning)}`;
    default:
      return null;
  }
}

// Returns what the view is about, so that the same customer with new points is no news.
export function identity({ kind, customer_id, card_id, people, meaning }) {
  return JSON.stringify([kind, customer_id, card_id, people?.map((person) => person.customer_id), meaning]);
}

// Returns the name of what is shown, by which it looks and sounds like itself.
export function lookOf(view) {
  if (view.kind === "customer") return view.caution ? "mind" : "known";
  if (view.kind !== "other") return view.kind;
  return REFUSED_MEANINGS.includes(view.meaning.kind) ? "refused" : "other";
}

// Returns what stands in place of the view once the session is over.
export function ended() {
  return message("clock", say("ended.title"), say("ended.help", { command: "loyalty-agent open" }), "plain");
}

// Returns what stands in place of the view while the agent does not answer and nobody is shown.
export function silent() {
  return message("offline", say("agent.silent"), say("agent.silent.help"), "mind");
}

// Returns what stands in place of the view while the till is locked.
export function locked(onUnlock) {
  const button = { type: "button", class: "go", onclick: onUnlock };
  const unlock = el("button", button, say("lock.unlock"), el("kbd", {}, "F9"));
  return message("lock", say("lock.title"), say("lock.help"), "locked", unlock);
}

function customer(view, _, onUse) {
  return el(
    "div",
    { class: "customer" },
    top("check", view.name, about(view), view.balance, view.spendable),
    progress(view, onUse),
    usual(view.preferences),
    offer(view),
    caution(view.caution),
  );
}

function top(iconName, name, details, balance, spendable) {
  const title = el("h1", { class: "name" }, el("span", { class: "disc" }, icon(iconName)), el("span", {}, name));
  return el("div", { class: "top" }, el("div", { class: "who" }, title, details), points(balance, spendable));
}

function about(view) {
  const value = view.value && say("customer.value", { band: told(view.value.text), date: dateOf(view.value.as_of) });
  const facts = [say(`customer.language.${view.language}`), lastVisit(view.last_visit_on), value].filter(Boolean);
  return el("p", { class: "about" }, tierBadge(view.tier), el("span", { class: "soft" }, facts.join(" · ")));
}

// The posted points are the hub's word, the pending ones are ours: two figures, never mixed into one. What can be used
// now is a third: points that the hub set aside for this till.
function points(balance, spendable) {
  const pending = say("points.pending", { points: signed(balance.pending) });
  return el(
    "div",
    { class: "points" },
    el("p", { class: "figure" }, number(balance.posted)),
    el("p", { class: "unit" }, sayCount("points.unit", balance.posted)),
    balance.pending !== 0 && el("p", { class: "pending" }, pending),
    spendable > 0 && el("p", { class: "spendable" }, say("points.spendable", { points: number(spendable) })),
    asOf(balance),
  );
}

function asOf({ freshness, as_of: at }) {
  if (freshness === "fresh") return null;
  const words = freshness === "never" ? say("points.never") : balanceTime(at);
  return el("p", { class: freshness === "stale" ? "as-of" : "as-of as-of-old" }, icon("clock"), words);
}

function balanceTime(at) {
  if (isToday(at)) return say("points.as_of", { time: timeOfDay(at) });
  return say("points.as_of_day", { date: dateOf(at), time: timeOfDay(at) });
}

function progress({ balance, spendable, next_reward: next, reached_reward: reached }, onUse) {
  const isUsable = reached || spendable > 0;
  const use =
    isUsable &&
    el(
      "div",
      { class: "use" },
      reached && el("p", { class: "reached" }, icon("gift"), say("reward.reached", { reward: told(reached.text) })),
      el("button", { type: "button", onclick: onUse }, say("act.redeem"), el("kbd", {}, "F7")),
    );
  if (!next) return use && el("div", { class: "progress" }, use);
  const nextText = say("reward.next", { reward: told(next.text), points: number(next.points) });
  const missing = sayCount("reward.missing", next.missing);
  return el(
    "div",
    { class: "progress" },
    bar(balance, next.points, `${nextText}. ${missing}.`),
    el("p", { class: "ends soft" }, el("span", {}, nextText), el("span", { class: "missing" }, missing)),
    use,
  );
}

// Posted points fill the bar, pending ones follow in a lighter tone with a line between.
function bar(balance, whole, label) {
  const share = (value) => Math.min(100, Math.max(0, (value * 100) / whole));
  const posted = share(Math.min(balance.posted, balance.shown));
  const pending = share(balance.shown) - posted;
  return svg(
    "svg",
    { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("rect", { class: "bar-all", width: 100, height: 4 }),
    svg("rect", { class: "bar-posted", width: posted, height: 4 }),
    pending > 0 && svg("rect", { class: "bar-pending", x: posted, width: pending, height: 4 }),
  );
}

function usual(preferences) {
  if (!preferences || preferences.length === 0) return null;
  const [first, ...rest] = preferences.map((preference) => told(preference.text));
  const others = rest.map((text) => soft(say("customer.also", { text })));
  return panel("usual", "cup", say("customer.usual"), el("p", { class: "strong" }, first), others);
}

// The sentence stands in the language of the page, and below it in the customer's own, to be said as it is.
function offer({ offer: best, language }) {
  if (!best) return null;
  const own = language !== speaks() && languages().includes(language);
  const reason = say("offer.why", { reason: told(best.reason) });
  const until = best.ends_on && say("offer.until", { date: dateOf(best.ends_on) });
  return panel(
    "offer",
    "say",
    say("offer.say"),
    el("p", { class: "strong" }, say("offer.quote", { text: told(best.text) })),
    own && el("p", { class: "own" }, say(`offer.in.${language}`, { text: best.text[language] })),
    soft([reason, until].filter(Boolean).join(" · ")),
  );
}

function caution(mind) {
  if (!mind) return null;
  return panel(
    "caution",
    "caution",
    say("caution.label"),
    el("p", { class: "strong" }, say(`caution.${mind.kind}`)),
    soft(say("caution.since", { date: dateOf(mind.since) })),
  );
}

function panel(tone, iconName, label, ...kids) {
  const words = el("div", {}, el("h2", { class: "label" }, label), kids);
  return el("section", { class: `panel ${tone}` }, icon(iconName), words);
}

function soft(text) {
  return el("p", { class: "soft" }, text);
}

function unknownCard(view) {
  return el(
    "div",
    { class: "customer" },
    top("card", say("card.title"), el("p", { class: "about soft" }, say("card.name", { hint: view.hint })), view.balance),
    panel(
      "offer",
      "card",
      say("card.label"),
      el("p", { class: "strong" }, say("card.kept", { points: number(view.points_max) })),
      soft(say(`card.asked.${view.asked}`)),
    ),
  );
}

function chosen(view, onChoose) {
  return choice(view.people, onChoose);
}

function other({ meaning }) {
  const tone = REFUSED_MEANINGS.includes(meaning.kind) ? "refused" : "mind";
  return message(MEANING_ICONS[meaning.kind], otherTitle(meaning), otherHelp(meaning), tone);
}

function otherTitle(meaning) {
  return say(`other.${meaning.kind}`);
}

function otherHelp(meaning) {
  if (meaning.kind === "unreadable") return say(`unreadable.${meaning.reason}`);
  return say(`other.${meaning.kind}.help`, { ...meaning, gtin: meaning.gtin14?.replace(/^0+/, "") });
}

function idle() {
  return message("scan", say("idle.title"), say("idle.help"), "plain");
}

function message(iconName, title, help, tone, ...kids) {
  const headline = el("h1", { class: "headline" }, title);
  return el("div", { class: `message tone-${tone}` }, icon(iconName), headline, soft(help), kids);
}
