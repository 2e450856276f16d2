// The page's root: it joins the till's state to the parts of the page, and keeps no customer longer than the till does.

import { Asking } from "./asking.js";
import { buyer } from "./credit.js";
import { el, put } from "./el.js";
import "./entry.js";
import { Finding } from "./finding.js";
import { icon } from "./icons.js";
import { indicator, standing } from "./indicator.js";
import "./keys.js";
import { Panels } from "./panels.js";
import { found } from "./people.js";
import "./shift.js";
import { sound, tuneIn, tuneOff } from "./sounds.js";
import { Till } from "./till.js";
import "./undo.js";
import { announced, ended, identity, locked, lookOf, silent, viewed } from "./view.js";
import { tell, warn } from "./voice.js";
import { Wedge } from "./wedge.js";
import { languages, loadWords, say, speak, speaks } from "./words.js";

// As long as the till itself shows a customer. It cannot take anybody away while it does not answer, so the page does.
const CUSTOMER_SHOWN_MS = 60_000;
// The age of what waits grows by itself.
const AGE_EVERY_MS = 15_000;
// A till that stops while the page opens is back within seconds.
const WORDS_AGAIN_MS = 1_000;
const NOTHING = { kind: "nothing" };
const LOCKED = { locked: true, view: NOTHING, act: null };

const part = (id) => document.getElementById(id);

class Page {
  #state = null;
  #link = "opening";
  // The lock on its way to the till, or null.
  #locking = null;
  #seenAt = 0;
  #silentTimer = null;
  #scansTold = 0;
  #hasChosenLanguage = false;
  #till = new Till({ onState: (state) => this.#take(state), onLink: (link) => this.#linked(link) });
  #asking = new Asking(this.#till, () => this.#credit.render());
  #wedge = null;
  #entry = part("entry");
  #credit = part("credit");
  #shift = part("shift");
  #undo = part("undo");
  #panels = new Panels({
    outbox: { node: part("outbox"), load: () => this.#loadOutbox() },
    scanner: { node: part("scanner"), load: () => this.#loadScanner() },
    redeem: { node: part("redeem"), load: () => this.#loadRedeem() },
  });
  #keys = part("keys");
  #finding = new Finding({ till: this.#till, entry: this.#entry, credit: this.#credit, page: this });

  open(code) {
    for (const each of [this.#credit, this.#shift, this.#undo]) each.asking = this.#asking;
    for (const each of [this.#credit, this.#shift]) each.till = this.#till;
    this.#undo.onDone = this.#shift.onDone = () => this.#credit.focus();
    this.#keys.acts = this.#functions();
    const button = (language) =>
      el("button", { type: "button", lang: language, onclick: () => this.#choose(language) }, language.toUpperCase());
    part("languages").append(...languages().map(button));
    document.addEventListener("keydown", (event) => {
      const isFree = [document.body, part("card")].includes(document.activeElement);
      const isCredit = isFree && event.key === "Enter" && !event.repeat && this.#panels.opened !== "redeem";
      if (isCredit && this.#isUsable) this.#credit.credit();
    });
    tuneIn();
    setInterval(() => this.render(), AGE_EVERY_MS);
    this.render();
    this.#till.open(code);
  }

  #functions() {
    const act = (key, word, run) => ({ key, word, run: () => (this.#isUsable ? run() : null) });
    return [
      act("F2", "act.search", () => this.#openEntry()),
      act("F4", null, () => this.#typeAmount()),
      act("F6", null, () => this.#undo.undo()),
      act("F7", null, () => this.#use()),
      act("F8", "act.outbox", () => this.#toggle("outbox")),
      { key: "F9", word: "act.lock", run: () => (this.#isLocked ? this.#unlock() : this.#lock()) },
      act("F10", "act.scanner", () => this.#toggle("scanner")),
      act("Escape", "act.close", () => this.#close()),
      { word: "act.display", address: "/customer" },
    ];
  }

  get view() {
    return this.#state?.view ?? NOTHING;
  }

  get #isLocked() {
    return Boolean(this.#state?.locked);
  }

  get #isUsable() {
    return !this.#isLocked && this.#link !== "ended";
  }

  // One change of the state is one sound and one sentence at most.
  #take(given) {
    const before = this.#state;
    const view = this.view;
    const state = this.#locking ? { ...given, ...LOCKED } : given;
    this.#state = state;
    if (!this.#hasChosenLanguage) speak(state.language);
    tuneOff(!state.sounds);
    this.#wedge ??= this.#listen(state.scanner);
    this.#wedge.settings = state.scanner;
    const isOther = identity(state.view) !== identity(view);
    if (isOther) this.#finding.search = null;
    if (isOther) this.#closeRedeem();
    if (JSON.stringify(state.view) !== JSON.stringify(view)) this.#seenAt = Date.now();
    if (state.locked && !before?.locked) this.#leave();
    const dropped = this.#updateCredit();
    const credited = this.#undo.take(state.act, this.#nameFor(state));
    // What one window used, no other is about to use again.
    if (credited !== null && state.act.state === "redeemed") this.#closeRedeem();
    if (isOther && credited === null) this.#tellView(dropped);
    if (credited !== null) tell(credited);
    this.#panels.panel("outbox")?.update(state);
    this.#panels.panel("redeem")?.update(state);
    if (this.#panels.panel("scanner")) this.#panels.panel("scanner").settings = state.scanner;
    if (!state.locked) this.#shift.refresh();
    this.render();
    if (isOther) this.#turnTo();
    else if (credited === null) this.#tellStanding(before);
    if (before === null || before.locked !== state.locked) this.#focusFirst();
  }

  #updateCredit() {
    const isSameScan = this.#finding.scans === this.#scansTold;
    this.#scansTold = this.#finding.scans;
    if (this.view.kind === "nothing") this.#asking.forgetNames();
    return this.#credit.update({ view: this.view, currency: this.#state.shop.currency, isSameScan });
  }

  #nameFor({ act, view }) {
    if (!act) return null;
    return this.#asking.nameOf(act) ?? (act.customer_id && view.customer_id === act.customer_id ? view.name : null);
  }

  #tellView(dropped) {
    sound(lookOf(this.view));
    tell([announced(this.view), dropped].filter(Boolean).join(". "));
  }

  // Whoever types in the search goes on there; what was typed when a scan came stays for the next look.
  #turnTo() {
    if (this.#entry.isInUse) return;
    this.#entry.close();
    if (buyer(this.view)) this.#credit.focus();
    scrollTo(0, 0);
  }

  shownAgain() {
    this.#tellView(null);
  }

  #tellStanding(before) {
    if (!before) return;
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
    if (link !== "live") sound("lost");
    warn({ silent: say("agent.silent"), ended: say("ended.title") }[link] ?? null);
    this.render();
  }

  #listen(settings) {
    const onScan = (text) => this.#scanned(text);
    const wedge = new Wedge({ onScan, onBroken: (why) => this.#broken(why), settings });
    wedge.attach(document);
    return wedge;
  }

  // What a scanner read, wherever the focus is.
  #scanned(text) {
    if (this.#panels.opened === "scanner") return this.#panels.panel("scanner")?.scanned(text);
    if (this.#isUsable) return this.#finding.scanned(text);
    sound("ignored");
    if (this.#isLocked) warn(say("lock.ignored"));
    return null;
  }

  // A scan that cannot be used, and why: "cut" or "too_long".
  #broken(why) {
    if (!this.#isUsable || this.#panels.opened === "scanner") return;
    const text = say(why === "cut" ? "scan.broken" : "unreadable.too_long");
    this.#credit.note(text);
    sound("refused");
    warn(text);
  }

  #openEntry() {
    if (this.#panels.opened === "scanner") this.#panels.close();
    this.#entry.open();
    this.render();
  }

  async #toggle(panel) {
    if (this.#panels.opened === panel) {
      this.#panels.close();
      this.render();
      return this.#credit.focus();
    }
    // A panel is loaded when it is opened first.
    if (this.#link !== "live" && !this.#panels.panel(panel)) return this.#credit.note(say("agent.silent.call"));
    const opening = this.#panels.open(panel);
    this.render();
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

  // Opens or closes the place where points are used: there has to be somebody whose they are.
  #use() {
    if (this.view.kind !== "customer") return this.#credit.missing(this.view.kind === "unknown_card" ? "card" : "nobody");
    // What is pressed while the panel loads must not credit.
    if (this.#panels.opened !== "redeem") document.activeElement.blur();
    return this.#toggle("redeem");
  }

  #closeRedeem() {
    if (this.#panels.opened !== "redeem") return;
    const hadFocus = part("redeem").contains(document.activeElement);
    this.#panels.close();
    this.#credit.hidden = this.#shift.hidden = false;
    if (hadFocus) this.#credit.focus();
  }

  #typeAmount() {
    this.#closeRedeem();
    this.#credit.focus();
  }

  async #loadRedeem() {
    await Promise.all([import("./redeem.js"), loadWords("panels")]);
    const redeem = part("redeem");
    redeem.asking = this.#asking;
    redeem.onClose = () => this.#toggle("redeem");
    redeem.onLate = (text) => this.#credit.note(text);
    redeem.update(this.#state);
    return redeem;
  }

  async #loadScanner() {
    const [{ ScannerPanel }] = await Promise.all([import("./scanner.js"), loadWords("panels")]);
    const settings = this.#state.scanner;
    return new ScannerPanel(part("scanner"), { till: this.#till, settings, onClose: () => this.#toggle("scanner") });
  }

  // Closes what was opened last: a panel, the search, and then the customer.
  #close() {
    if (this.#panels.opened) return this.#toggle(this.#panels.opened);
    if (this.#finding.search || this.#entry.isOpen) {
      this.#finding.close();
      return this.#credit.focus();
    }
    this.#finding.close();
    return this.#finding.attempt(() => this.#till.post("/api/v1/screen/clear", {}));
  }

  // The page forgets at once; the till, as soon as it hears of it, and nothing is shown before it has.
  async #lock() {
    if (!this.#state || this.#link === "ended") return;
    this.#locking ??= this.#finding.attempt(() => this.#asking.sure("/api/v1/screen/lock", {}));
    this.#state = { ...this.#state, ...LOCKED };
    this.#leave();
    this.render();
    this.#focusFirst();
    await this.#locking;
    this.#locking = null;
  }

  // A lock that is still on its way goes first: what it hides until its answer would stay hidden.
  async #unlock() {
    if (this.#link === "live") await this.#locking;
    return this.#finding.attempt(() => this.#till.post("/api/v1/screen/unlock", {}));
  }

  #focusFirst() {
    if (this.#isLocked) part("view").querySelector("button")?.focus();
    else this.#credit.focus();
  }

  // Takes every trace of a customer off the page, and keeps the rest.
  #forget() {
    if (this.#state) this.#state = { ...this.#state, view: NOTHING };
    this.#closeRedeem();
    this.#undo.forgetName();
    this.#finding.close();
    if (this.#state) this.#updateCredit();
    this.render();
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
    this.render();
  }

  render() {
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
    this.#credit.hidden = this.#panels.opened === "redeem";
    this.#shift.hidden = this.#credit.hidden || this.#panels.opened === "outbox";
    part("view").hidden = this.#panels.opened === "scanner";
    for (const each of [this.#entry, this.#credit, this.#shift, this.#panels, this.#undo, this.#keys]) each.render();
    // What is longer than the card scrolls within it, by the keyboard too.
    const card = part("card");
    if (card.scrollHeight > card.clientHeight) card.tabIndex = 0;
    else card.removeAttribute("tabindex");
  }

  // Returns what the main card shows, and the name of its look.
  #main() {
    const open = (customerId) => this.#finding.open(customerId);
    if (this.#link === "ended") return ["ended", ended()];
    if (this.#isLocked) return ["locked", locked(() => this.#unlock())];
    if (this.#finding.search) return ["choice", found(this.#finding.search, open, () => this.#close())];
    if (this.#link === "silent" && this.view.kind === "nothing") return ["silent", silent()];
    if (this.#state === null) return ["nothing", null];
    return [lookOf(this.view), viewed(this.view, open, () => this.#use())];
  }
}

// The code opens the page once; it leaves the address bar at once, so that nobody reads or copies it.
const code = location.hash.slice(1);
history.replaceState(null, "", "/");
while (!(await loadWords())) await new Promise((done) => setTimeout(done, WORDS_AGAIN_MS));
speak(languages()[0]);
new Page().open(code);
