// Finding somebody: by a scan, by what is typed, or by a choice among several.

import { SEARCH_CHARS_MIN, isSearch } from "./entry.js";
import { Scans } from "./scans.js";
import { sound } from "./sounds.js";
import { SessionEnded, TillRefused } from "./till.js";
import { identity } from "./view.js";
import { tell, warn } from "./voice.js";
import { say, sayCode, sayCount } from "./words.js";

// As long as the till itself shows a customer.
const FOUND_SHOWN_MS = 60_000;
const SOFT_NOTE_MS = 4_000;
// Beyond this people wonder, so the page says something.
const WONDER_MS = 1_000;

export class Finding {
  #till;
  #entry;
  #credit;
  #page;
  #scans;
  #timer = null;

  // What a search found, or null.
  search = null;

  // `page` has the `view` that is shown, `render`, and `shownAgain` for a view that a scan did not change.
  constructor({ till, entry, credit, page }) {
    this.#till = till;
    this.#entry = entry;
    this.#credit = credit;
    this.#page = page;
    this.#scans = new Scans(till);
    entry.onText = (text) => this.attempt(() => (isSearch(text) ? this.#find(text) : this.#typed(text)));
    entry.onOver = () => this.#done();
  }

  // How many scans were sent from here.
  get scans() {
    return this.#scans.made;
  }

  // Takes what a scanner read.
  async scanned(text) {
    const waiting = say("entry.waiting");
    const wonder = setTimeout(() => this.#credit.note(waiting), WONDER_MS);
    const remark = await this.attempt(() => this.#scan(text));
    clearTimeout(wonder);
    this.#entry.close();
    this.#done();
    if (remark || this.#credit.remark === waiting) this.#credit.note(remark);
  }

  // Opens one of several customers.
  async open(customerId) {
    const remark = await this.attempt(async () => {
      await this.#till.post("/api/v1/screen/customer", { customer_id: customerId });
      this.close();
      return null;
    });
    if (remark) this.#credit.note(remark);
    this.#done();
  }

  // Lets go of what was searched and typed.
  close() {
    clearTimeout(this.#timer);
    this.search = null;
    this.#entry.clear();
    this.#scans.forget();
    this.#page.render();
  }

  // Does something at the till; returns what it returns, or a remark on why it was not done.
  async attempt(act) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof SessionEnded) return null;
      const text = error instanceof TillRefused ? sayCode("problem", error.code) : say("agent.silent.call");
      sound("refused");
      warn(text);
      return text;
    } finally {
      this.#page.render();
    }
  }

  async #scan(text) {
    const before = identity(this.#page.view);
    const view = await this.#scans.scan(text);
    if (view === null) return this.#again();
    this.search = null;
    // The view itself arrives with the state; one that is there already is no news for it, but for whoever listens.
    if (identity(view) === before) this.#page.shownAgain(view);
    return null;
  }

  // A typed text that means nothing may still be somebody's phone number.
  async #typed(text) {
    await this.#scan(text);
    const { kind, meaning } = this.#page.view;
    if (kind !== "other" || meaning.kind !== "unknown" || text.length < SEARCH_CHARS_MIN) return null;
    const search = await this.#till.post("/api/v1/customers/search", { text });
    return search.people.length > 0 ? this.#show(search) : null;
  }

  #again() {
    sound("again");
    tell(say("scan.again"));
    // What is said of an amount counts for more.
    if (!this.#credit.remark) this.#credit.note(say("scan.again"), SOFT_NOTE_MS);
    return null;
  }

  async #find(text) {
    if (text.length < SEARCH_CHARS_MIN) return say("entry.too_short");
    return this.#show(await this.#till.post("/api/v1/customers/search", { text }));
  }

  #show(search) {
    this.search = search;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.close(), FOUND_SHOWN_MS);
    const count = search.people.length;
    sound(count > 0 ? "choice" : "other");
    tell(count > 0 ? sayCount("search.title", count) : say("search.none"));
    return "";
  }

  #done() {
    if (this.#page.view.kind === "choice") document.querySelector("#view h1")?.focus();
    else this.#credit.focus();
  }
}
