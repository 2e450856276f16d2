// The page's root: it joins the till's state to the parts of the page, and keeps no customer longer than the till does.

import { Asking } from "./asking.js";
import { buyer } from "./credit.js";
import { el, put } from "./el.js";
import { SEARCH_CHARS_MIN, isSearch } from "./entry.js";
import { icon } from "./icons.js";
import { indicator, standing } from "./indicator.js";
import "./keys.js";
import { Panels } from "./panels.js";
import { found } from "./people.js";
import { Scans } from "./scans.js";
import "./shift.js";
import { sound, tuneIn, tuneOff } from "./sounds.js";
import { SessionEnded, Till, TillRefused } from "./till.js";
import "./undo.js";
import { announced, ended, identity, locked, lookOf, silent, viewed } from "./view.js";
import { tell, warn } from "./voice.js";
import { Wedge } from "./wedge.js";
import { languages, loadWords, say, sayCode, speak, speaks } from "./words.js";

// As long as the till itself shows a customer. It cannot take anybody away while it does not answer, so the page does.
const CUSTOMER_SHOWN_MS = 60_000;
// The age of what waits grows by itself.
const AGE_EVERY_MS = 15_000;
// A till that stops while the page opens is back within seconds.
const WORDS_AGAIN_MS = 1_000;
// Until the till says how its scanner types.
const SCANNER = { gap_ms: 90, prefix: "", suffix: "", end: "any", chars_min: 6 };
const NOTHING = { kind: "nothing" };

const part = (id) => document.getElementById(id);

class Page {
  #state = null;
  #link = "opening";
  #search = null;
  #searchTimer = null;
  #seenAt = 0;
  #silentTimer = null;
  #scansTold = 0;
  #hasChosenLanguage = false;
  #till = new Till({ onState: (state) => this.#take(state), onLink: (link) => this.#linked(link) });
  #asking = new Asking(this.#till, () => this.#credit.render());
  #scans = new Scans(this.#till);
  #wedge = null;
  #entry = part("entry");
  #credit = part("credit");
  #shift = part("shift");
  #undo = part("undo");
  #panels = new Panels({ outbox: { node: part("outbox"), load: () => this.#loadOutbox() } });
  #keys = part("keys");

  open(code) {
    for (const each of [this.#credit, this.#shift, this.#undo]) each.asking = this.#asking;
    for (const each of [this.#credit, this.#shift]) each.till = this.#till;
    this.#entry.onText = (text) => this.#entered(text);
    this.#keys.acts = this.#acts();
    const button = (language) =>
      el("button", { type: "button", lang: language, onclick: () => this.#choose(language) }, language.toUpperCase());
    part("languages").append(...languages().map(button));
    document.addEventListener("keydown", (event) => {
      const isFree = event.key === "Enter" && !event.repeat && document.activeElement === document.body;
      if (isFree && this.#isUsable) this.#credit.credit();
    });
    this.#wedge = new Wedge({ onScan: (text) => this.#scanned(text), settings: SCANNER });
    this.#wedge.attach(document);
    tuneIn();
    setInterval(() => this.#render(), AGE_EVERY_MS);
    this.#render();
    this.#till.open(code);
  }

  #acts() {
    const act = (key, iconName, word, run) => ({ key, iconName, word, run: () => (this.#isUsable ? run() : null) });
    return [
      act("F2", "search", "act.search", () => this.#openEntry()),
      act("F4", null, null, () => this.#credit.focus()),
      act("F6", null, null, () => this.#undo.undo()),
      act("F8", "sending", "act.outbox", () => this.#toggle("outbox")),
      { key: "F9", iconName: "lock", word: "act.lock", run: () => (this.#isLocked ? this.#unlock() : this.#lock()) },
      act("Escape", "refused", "act.close", () => this.#close()),
      { iconName: "screen", word: "act.display", address: "/customer" },
    ];
  }

  get #view() {
    return this.#state?.view ?? NOTHING;
  }

  get #isLocked() {
    return Boolean(this.#state?.locked);
  }

  get #isUsable() {
    return !this.#isLocked && this.#link !== "ended";
  }

  // One change of the state is one sound and one sentence at most.
  #take(state) {
    const before = this.#state;
    const view = this.#view;
    this.#state = state;
    if (!this.#hasChosenLanguage) speak(state.language);
    tuneOff(!state.sounds);
    this.#wedge.settings = state.scanner;
    const isOther = identity(state.view) !== identity(view);
    if (JSON.stringify(state.view) !== JSON.stringify(view)) {
      this.#search = null;
      this.#seenAt = Date.now();
    }
    if (state.locked && !before?.locked) this.#leave();
    const said = this.#undo.take(state.act, this.#nameFor(state));
    if (isOther) this.#shown(state.view, said === null);
    if (said !== null) tell(said);
    this.#credit.update({ ...this.#forCredit(state), isSameScan: this.#scans.made === this.#scansTold });
    this.#scansTold = this.#scans.made;
    this.#panels.panel("outbox")?.update(state);
    if (!state.locked) this.#shift.refresh();
    this.#render();
    this.#tellStanding(before, isOther || said !== null);
    if (before === null || before.locked !== state.locked) this.#focusFirst();
  }

  #forCredit({ view, shop }) {
    return { view, currency: shop.currency };
  }

  #nameFor({ act, view }) {
    if (!act) return null;
    return this.#asking.nameOf(act.sale_id) ?? (act.customer_id && view.customer_id === act.customer_id ? view.name : null);
  }

  #shown(view, isAloud) {
    if (isAloud) {
      sound(lookOf(view));
      tell(announced(view));
    }
    if (!this.#entry.isInUse) {
      this.#entry.close();
      if (buyer(view)) this.#credit.focus();
    }
  }

  #tellStanding(before, isBusy) {
    if (!before || isBusy) return;
    const now = standing(this.#state, this.#link);
    if (now !== standing(before, this.#link)) tell(now);
  }

  #linked(link) {
    if (link === this.#link) return;
    this.#link = link;
    clearTimeout(this.#silentTimer);
    if (link === "silent") {
      const left = this.#seenAt + CUSTOMER_SHOWN_MS - Date.now();
      this.#silentTimer = setTimeout(() => this.#forget(), Math.max(0, left));
    }
    if (link === "ended") this.#forget();
    if (link !== "live") {
      sound("lost");
      warn(link === "silent" ? say("agent.silent") : say("ended.title"));
    }
    this.#render();
  }

  // What a scanner read, wherever the focus is.
  async #scanned(text) {
    if (!this.#isUsable) {
      sound("ignored");
      if (this.#isLocked) warn(say("lock.ignored"));
      return;
    }
    const remark = await this.#act(() => this.#scan(text));
    if (remark) this.#credit.note(remark);
  }

  // Returns a remark, or null where the text was dealt with.
  async #entered(text) {
    const remark = await this.#act(() => (isSearch(text) ? this.#find(text) : this.#scan(text, true)));
    if (remark === null && !this.#search) this.#entry.close();
    return remark;
  }

  async #scan(text, isTyped = false) {
    const shownBefore = identity(this.#view);
    const view = await this.#scans.scan(text);
    if (view === null) return this.#again();
    this.#search = null;
    // The view itself arrives with the state. A text that means nothing may still be somebody's phone number.
    const isUnknown = view.kind === "other" && view.meaning.kind === "unknown";
    if (isTyped && isUnknown && text.length >= SEARCH_CHARS_MIN) {
      const search = await this.#till.post("/api/v1/customers/search", { text });
      if (search.people.length > 0) this.#show(search);
    }
    // Who was shown before is scanned again: no news for the state, but for whoever listens.
    if (identity(view) === shownBefore) this.#shown(view, true);
    return null;
  }

  #again() {
    sound("again");
    tell(say("scan.again"));
    this.#credit.note(say("scan.again"));
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
    sound(search.people.length > 0 ? "choice" : "other");
    tell(part("view").querySelector("h1").textContent);
  }

  async #open(customerId) {
    const remark = await this.#act(async () => {
      await this.#till.get(`/api/v1/customers/${encodeURIComponent(customerId)}`);
      this.#closeSearch();
      this.#entry.clear();
      return null;
    });
    if (remark) this.#entry.note(remark);
    else this.#credit.focus();
  }

  #closeSearch() {
    clearTimeout(this.#searchTimer);
    this.#search = null;
    this.#render();
  }

  // Does something at the till; returns its remark, or a remark on why it was not done.
  async #act(act) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof SessionEnded) return null;
      const text = error instanceof TillRefused ? sayCode("problem", error.code) : say("agent.silent.call");
      sound("refused");
      warn(text);
      return text;
    } finally {
      this.#render();
    }
  }

  #openEntry() {
    if (this.#panels.opened === "scanner") this.#panels.close();
    this.#entry.open();
    this.#render();
  }

  async #toggle(panel) {
    if (this.#panels.opened === panel) {
      this.#panels.close();
      this.#credit.focus();
      return this.#render();
    }
    // A panel is loaded when it is opened first.
    if (this.#link !== "live" && !this.#panels.panel(panel)) return this.#credit.note(say("agent.silent.act"));
    const opening = this.#panels.open(panel);
    this.#render();
    return opening;
  }

  async #loadOutbox() {
    await Promise.all([import("./outbox.js"), loadWords("panels")]);
    const outbox = part("outbox");
    outbox.till = this.#till;
    outbox.onClose = () => this.#toggle("outbox");
    outbox.update(this.#state);
    return outbox;
  }

  // Closes what was opened last: a panel, the search, and then the customer.
  #close() {
    if (this.#panels.opened) return this.#toggle(this.#panels.opened);
    if (this.#search || this.#entry.isOpen) {
      this.#closeSearch();
      this.#entry.clear();
      return this.#credit.focus();
    }
    this.#act(() => this.#till.post("/api/v1/screen/clear", {}));
  }

  // The page forgets at once; the till, as soon as it hears of it.
  #lock() {
    if (!this.#state || this.#link === "ended") return;
    this.#state = { ...this.#state, locked: true, view: NOTHING, act: null };
    this.#leave();
    this.#render();
    this.#focusFirst();
    this.#act(() => this.#asking.sure("/api/v1/screen/lock", {}));
  }

  #unlock() {
    this.#act(() => this.#till.post("/api/v1/screen/unlock", {}));
  }

  #focusFirst() {
    if (this.#isLocked) part("view").querySelector("button")?.focus();
    else this.#credit.focus();
  }

  // Takes every trace of a customer off the page, and keeps the rest.
  #forget() {
    this.#search = null;
    if (this.#state) this.#state = { ...this.#state, view: NOTHING };
    this.#asking.forgetNames();
    this.#undo.forgetName();
    this.#entry.clear();
    this.#scans.forget();
    if (this.#state) this.#credit.update(this.#forCredit(this.#state));
    this.#render();
    tell(null);
  }

  #leave() {
    this.#forget();
    this.#panels.close();
    this.#undo.take(null);
    this.#credit.clear();
    this.#shift.clear();
  }

  #choose(language) {
    this.#hasChosenLanguage = true;
    speak(language);
    this.#render();
  }

  #render() {
    const { shop, demo } = this.#state ?? {};
    const badge = demo && el("strong", { class: "demo", title: say("demo.about") }, say("demo.badge"));
    const name = el("span", { class: "brand-name" }, shop?.name ?? say("page.title"));
    put(part("brand"), icon("card"), name, shop?.till && el("span", { class: "soft" }, shop.till), badge);
    const look = (isLook) => async () => {
      if (!this.#isUsable) return;
      if (this.#panels.opened !== "outbox") await this.#toggle("outbox");
      if (isLook) this.#panels.panel("outbox")?.look();
    };
    put(part("indicator"), indicator(this.#state, this.#link, look(false), look(true)));
    part("languages").setAttribute("aria-label", say("language.label"));
    for (const button of part("languages").children) {
      button.setAttribute("aria-pressed", String(button.lang === speaks()));
      button.setAttribute("aria-label", say(`language.${button.lang}`));
    }
    this.#renderParts();
  }

  #renderParts() {
    const [look, node] = this.#main();
    put(part("view"), node);
    part("card").dataset.look = look;
    document.body.dataset.link = this.#link;
    part("side").hidden = part("keys").hidden = !this.#isUsable || this.#state === null;
    this.#shift.hidden = this.#panels.opened === "outbox";
    part("view").hidden = this.#panels.opened === "scanner";
    for (const each of [this.#entry, this.#credit, this.#shift, this.#panels, this.#undo, this.#keys]) each.render();
  }

  // Returns what the main card shows, and the name of its look.
  #main() {
    const open = (customerId) => this.#open(customerId);
    if (this.#link === "ended") return ["ended", ended()];
    if (this.#isLocked) return ["locked", locked(() => this.#unlock())];
    if (this.#search) return ["choice", found(this.#search, open, () => this.#close())];
    if (this.#link === "silent" && this.#view.kind === "nothing") return ["silent", silent()];
    if (this.#state === null) return ["nothing", null];
    return [lookOf(this.#view), viewed(this.#view, open)];
  }
}

// The code opens the page once; it leaves the address bar at once, so that nobody reads or copies it.
const code = location.hash.slice(1);
history.replaceState(null, "", "/");
while (!(await loadWords())) await new Promise((done) => setTimeout(done, WORDS_AGAIN_MS));
speak(languages()[0]);
new Page().open(code);
