// The amount of a sale, what it would credit, and the one key that credits it.
//
// An amount belongs to whom it was typed for: typed for nobody it waits for the next card, and typed for one customer
// it is never credited to another. What it would credit is the till's word; a credit does not wait for that word.

import { readAmount } from "./amount.js";
import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { sound } from "./sounds.js";
import { SessionEnded } from "./till.js";
import { tell, warn } from "./voice.js";
import { minorDigits, money, say, sayCode, sayCount } from "./words.js";

const QUOTE_AFTER_MS = 80;
// From here on an amount is more likely a slip of the fingers than a sale, so one more key is asked for.
const LARGE_MINOR = 100_000;
const FIELD_CHARS_MAX = 32;

// Returns who a sale is credited to while this view is shown, or null: an id, a name, and how a sale names them.
export function buyer(view) {
  if (view.kind === "customer") {
    return { id: view.customer_id, name: () => view.name, body: { customer_id: view.customer_id } };
  }
  if (view.kind !== "unknown_card") return null;
  return { id: view.card_id, name: () => say("card.name", { hint: view.hint }), body: { card_id: view.card_id } };
}

export class Credit extends HTMLElement {
  #label = el("label", { for: "amount", class: "title" });
  #field = el("input", {
    id: "amount",
    class: "field amount",
    type: "text",
    inputmode: "decimal",
    maxlength: FIELD_CHARS_MAX,
    autocomplete: "off",
    enterkeyhint: "done",
    "aria-describedby": "amount-reading",
  });
  #reading = el("p", { id: "amount-reading", class: "soft reading" });
  #button = el("button", { type: "submit", class: "go" });
  #notes = el("div", { class: "notes" });
  #note = null;
  #who = null;
  #typedFor = null;
  #currency = null;
  #quote = null;
  #quoteOf = null;
  #quoteTimer = null;
  // The large amount that was asked about, as it stood in the field.
  #askedAbout = null;

  // Set by the page: the way to the till, and the sales that are on it.
  till = null;
  asking = null;

  connectedCallback() {
    const form = el("form", { class: "credit", autocomplete: "off" });
    form.append(this.#label, this.#field, this.#reading, this.#button, this.#notes);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.credit();
    });
    this.#field.addEventListener("input", () => {
      this.#typedFor = this.#who;
      this.#askedAbout = null;
      this.note(null);
    });
    // A key that is held down credits once.
    form.addEventListener("keydown", (event) => event.repeat && event.key === "Enter" && event.preventDefault());
    this.replaceChildren(form);
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  // Takes who is shown now (null: nobody that can be credited). `isSameScan`: nobody was scanned here since, so that a
  // card that turns into a customer is still theirs, and so is an amount that was typed for it; the till checks that the
  // two belong together. Returns what it says of an amount that was typed for somebody else, or null.
  update({ view, currency, isSameScan }) {
    const before = this.#typedFor;
    const id = this.#who?.id;
    this.#who = buyer(view);
    this.#currency = currency;
    const isTyped = this.#field.value.trim() !== "";
    if (isTyped && this.#who && isSameScan && before?.body.card_id && this.#who.body.customer_id) {
      this.#who.body = { ...before.body, ...this.#who.body };
      this.#typedFor = this.#who;
    }
    if (this.#who?.id !== id) this.#note = this.#askedAbout = null;
    const isGone = view.kind === "nothing" || (this.#who && this.#who.id !== this.#typedFor?.id);
    const isDropped = isTyped && this.#typedFor && isGone;
    if (isDropped) this.#drop(view.kind === "nothing" ? null : this.#typedFor.name());
    if (this.#who) this.#typedFor = this.#who;
    this.render();
    return isDropped ? this.#note : null;
  }

  clear() {
    this.#field.value = "";
    this.#typedFor = this.#quote = this.#quoteOf = this.#askedAbout = null;
    this.note(null);
  }

  get remark() {
    return this.#note;
  }

  // Puts a remark below the button, for a while or until something is typed or scanned, or takes it away (null).
  note(text, ms) {
    this.#note = text;
    this.render();
    if (ms) setTimeout(() => this.#note === text && this.note(null), ms);
  }

  render() {
    const read = this.#read();
    const amount = read.minor && money(read.minor, this.#currency);
    const name = this.#who?.name();
    put(this.#label, say("credit.label"), el("kbd", {}, "F4"));
    this.#field.placeholder = this.#currency ? money(0, this.#currency) : "";
    this.#reading.textContent = amount ? say(name ? "credit.for" : "credit.kept", { amount, name }) : "";
    this.#askSoon(read.minor);
    const isReady = Boolean(amount && this.#who);
    this.#button.setAttribute("aria-disabled", String(!isReady));
    put(this.#button, el("span", {}, this.#words(amount)), el("kbd", {}, say("key.Enter")));
    put(this.#notes, [...this.#remarks()].map((text) => el("p", { class: "note" }, icon("caution"), text)));
  }

  // Credits what is typed to who is shown, or says what is missing.
  async credit() {
    const who = this.#who;
    const { minor, remark } = this.#read();
    if (remark || !who) return this.missing(remark ?? "nobody");
    const text = this.#field.value;
    const currency = this.#currency;
    const amount = money(minor, currency);
    if (minor >= LARGE_MINOR && this.#askedAbout !== text) {
      this.#askedAbout = text;
      return this.missing("large", amount);
    }
    this.clear();
    this.focus();
    try {
      await this.asking.sale({ who: who.body, amount, name: who.name(), minor, currency });
    } catch (error) {
      this.#refused(error, who, text, amount);
    }
  }

  #read() {
    if (!this.#currency) return { remark: "no_program" };
    return readAmount(this.#field.value, minorDigits(this.#currency));
  }

  #words(amount) {
    if (!amount) return say("credit.plain");
    if (!this.#quote || this.#quoteOf !== this.#key()) return say("credit.amount", { amount });
    return sayCount(this.#who ? "credit.points" : "credit.next", this.#quote.points);
  }

  *#remarks() {
    for (const { amount, name, isLong } of this.asking.unconfirmed) {
      const whose = name ? say("credit.for", { amount, name }) : amount;
      yield say(isLong ? "credit.unconfirmed_long" : "credit.unconfirmed", { amount: whose });
    }
    if (this.#note) yield this.#note;
    else if (!this.#currency) yield say("credit.no_program");
    else if (this.#quote?.capped && this.#quoteOf === this.#key() && this.#who) yield say("credit.capped");
  }

  // Says what is missing, or odd.
  missing(remark, amount) {
    const example = money(123456, this.#currency ?? "CAD");
    this.note(say(`credit.${remark}`, { amount, example, key: "F2" }));
    sound("refused");
    warn(this.#note);
    this.focus();
  }

  #drop(name) {
    const { minor } = this.#read();
    const amount = minor ? money(minor, this.#currency) : this.#field.value;
    this.#field.value = "";
    this.#typedFor = null;
    this.#note = dropped(amount, name);
  }

  // Gives the amount back where it was typed, as long as that is for whom it was typed; else says what becomes of it.
  #refused(error, who, text, amount) {
    if (error instanceof SessionEnded) return;
    const why = sayCode("problem", error.code);
    const isGivenBack = this.#field.value === "" && this.#who?.id === who.id;
    if (isGivenBack) {
      this.#field.value = text;
      this.#typedFor = who;
    }
    this.note(isGivenBack ? why : `${dropped(amount, this.#who && who.name())} ${why}`);
    sound("refused");
    warn(this.#note);
  }

  #key() {
    const { minor } = this.#read();
    return minor ? JSON.stringify({ net_minor: minor, currency: this.#currency, ...this.#who?.body }) : null;
  }

  #askSoon() {
    const key = this.#key();
    if (key === this.#quoteOf) return;
    this.#quoteOf = key;
    this.#quote = null;
    clearTimeout(this.#quoteTimer);
    if (key) this.#quoteTimer = setTimeout(() => this.#ask(key), QUOTE_AFTER_MS);
  }

  async #ask(key) {
    try {
      const quote = await this.till.post("/api/v1/quotes", JSON.parse(key));
      if (key !== this.#quoteOf) return;
      this.#quote = quote;
      this.render();
    } catch {
      // Without it the button names the amount alone, and credits as well.
    }
  }
}

// Says that an amount was not credited. A name (null: none) leaves the page with whom it names.
function dropped(amount, name) {
  return name ? say("credit.dropped", { amount, name }) : say("credit.dropped_unnamed", { amount });
}

customElements.define("till-credit", Credit);
