// The page's root: it joins the till's state to the parts of the page, and keeps no customer longer than the till does.

import { el, put } from "./el.js";
import { Entry, SEARCH_CHARS_MIN, isSearch } from "./entry.js";
import { icon } from "./icons.js";
import { indicator } from "./indicator.js";
import { OutboxPanel } from "./outbox.js";
import { found } from "./people.js";
import { SessionEnded, Till, TillRefused } from "./till.js";
import { announced, ended, identity, viewed } from "./view.js";
import { languages, loadWords, say, sayCode, speak, speaks } from "./words.js";

// As long as the till itself shows a customer. It cannot take anybody away while it does not answer, so the page does.
const CUSTOMER_SHOWN_MS = 60_000;
// Beyond this people wonder, so the page says something.
const WONDER_MS = 1_000;
// The age of what waits grows by itself.
const AGE_EVERY_MS = 15_000;
// A till that stops while the page opens is back within seconds.
const WORDS_AGAIN_MS = 1_000;
const NOTHING = { kind: "nothing" };

const part = (id) => document.getElementById(id);

class Page {
  #state = null;
  #link = "opening";
  #search = null;
  #hasChosenLanguage = false;
  #searchTimer = null;
  #silentTimer = null;
  #till = new Till({ onState: (state) => this.#take(state), onLink: (link) => this.#linked(link) });
  #entry = new Entry(part("entry"), (text) => this.#entered(text));
  #outbox = new OutboxPanel(part("outbox"), this.#till);

  open(code) {
    const button = (language) =>
      el("button", { type: "button", lang: language, onclick: () => this.#choose(language) }, language.toUpperCase());
    part("languages").append(...languages().map(button));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#closeSearch();
    });
    setInterval(() => this.#render(), AGE_EVERY_MS);
    this.#render();
    this.#entry.focus();
    this.#till.open(code);
  }

  #take(state) {
    const before = this.#state?.view ?? NOTHING;
    this.#state = state;
    if (!this.#hasChosenLanguage) speak(state.language);
    if (JSON.stringify(state.view) !== JSON.stringify(before)) this.#search = null;
    this.#outbox.update(state);
    this.#render();
    if (identity(state.view) !== identity(before)) announce(announced(state.view));
  }

  #linked(link) {
    if (link === this.#link) return;
    this.#link = link;
    clearTimeout(this.#silentTimer);
    if (link === "silent") this.#silentTimer = setTimeout(() => this.#forget(), CUSTOMER_SHOWN_MS);
    if (link === "ended") this.#forget();
    this.#render();
  }

  // Returns whether the text was dealt with; if not, it goes back into the field.
  async #entered(text) {
    this.#search = null;
    const wonder = setTimeout(() => this.#entry.note(say("entry.waiting")), WONDER_MS);
    try {
      const remark = isSearch(text) ? await this.#find(text) : await this.#scan(text);
      this.#entry.note(remark);
      return remark === null;
    } catch (error) {
      this.#refused(error);
      return false;
    } finally {
      clearTimeout(wonder);
      this.#render();
    }
  }

  async #scan(text) {
    const view = await this.#till.post("/api/v1/scans", { text, symbology: null, source: "page" });
    // The view itself arrives with the state. A text that means nothing may still be somebody's phone number.
    const isUnknown = view.kind === "other" && view.meaning.kind === "unknown";
    if (isUnknown && text.length >= SEARCH_CHARS_MIN) {
      const search = await this.#till.post("/api/v1/customers/search", { text });
      if (search.people.length > 0) this.#show(search);
    }
    return null;
  }

  async #find(text) {
    if (text.length < SEARCH_CHARS_MIN) return say("entry.too_short");
    this.#show(await this.#till.post("/api/v1/customers/search", { text }));
    return null;
  }

  #show(search) {
    this.#search = search;
    clearTimeout(this.#searchTimer);
    this.#searchTimer = setTimeout(() => this.#closeSearch(), CUSTOMER_SHOWN_MS);
    this.#render();
    announce(part("view").querySelector("h1").textContent);
  }

  async #open(customerId) {
    try {
      await this.#till.get(`/api/v1/customers/${encodeURIComponent(customerId)}`);
      this.#entry.note(null);
      this.#closeSearch();
    } catch (error) {
      this.#refused(error);
    }
    this.#entry.focus();
  }

  #closeSearch() {
    clearTimeout(this.#searchTimer);
    this.#search = null;
    this.#render();
  }

  #refused(error) {
    if (error instanceof SessionEnded) return;
    const text = error instanceof TillRefused ? sayCode("problem", error.code) : say("agent.silent.call");
    this.#entry.note(text);
    part("urgent").textContent = text;
  }

  #forget() {
    this.#search = null;
    if (this.#state) this.#state = { ...this.#state, view: NOTHING };
    this.#entry.clear();
    this.#render();
    announce(null);
  }

  #choose(language) {
    this.#hasChosenLanguage = true;
    speak(language);
    this.#render();
  }

  #render() {
    const demo = this.#state?.demo && el("strong", { class: "demo", title: say("demo.about") }, say("demo.badge"));
    put(part("brand"), icon("card"), el("span", { class: "brand-name" }, say("page.title")), demo);
    put(part("indicator"), indicator(this.#state, this.#link, () => this.#outbox.look()));
    put(part("view"), this.#viewNode());
    part("languages").setAttribute("aria-label", say("language.label"));
    for (const button of part("languages").children) {
      button.setAttribute("aria-pressed", String(button.lang === speaks()));
      button.setAttribute("aria-label", say(`language.${button.lang}`));
    }
    this.#entry.render();
    this.#outbox.render();
    document.body.dataset.link = this.#link;
  }

  #viewNode() {
    const open = (customerId) => this.#open(customerId);
    if (this.#link === "ended") return ended();
    if (this.#search) return found(this.#search, open, () => this.#closeSearch());
    return viewed(this.#state?.view ?? NOTHING, open);
  }
}

function announce(text) {
  part("polite").textContent = text ?? "";
}

// The code opens the page once; it leaves the address bar at once, so that nobody reads or copies it.
const code = location.hash.slice(1);
history.replaceState(null, "", "/");
while (!(await loadWords())) await new Promise((done) => setTimeout(done, WORDS_AGAIN_MS));
speak(languages()[0]);
new Page().open(code);
