// The scanner's panel: measures the real scanner in three scans, says plainly what it found, and keeps how the page is
// to tell it from a person. No text of a scan stays here, only what is known of it; and that for as long as it is open.

import { Burst } from "./burst.js";
import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { closable } from "./outbox.js";
import { number, say, sayCode, sayCount } from "./words.js";

const SCANS = 3;
const TRIED_MS = 30_000;
// From here on it is a person, as the till has it too.
const HAND_MS = 120;
const GAP_MS_MIN = 20;
const GAP_MS_MAX = HAND_MS - 1;
// Below this a scanner on a busy machine would be missed now and then.
const GAP_MS_SAFE = 60;
const AFFIX_CHARS_MAX = 16;
// Hears also what the page takes for a person, so that a slow scanner is told that it is slow.
const MEASURING = { gap_ms: 400, prefix: "", suffix: "", end: "none", chars_min: 6 };
// Signs that scanners frame a text with. Those that belong to one are left to the till: symbology ids, magnetic stripes,
// Code 39, GS1.
const PREFIX = /^[^\p{L}\p{N}\p{C}\s\]%;+*?]+/u;
const SUFFIX = /[^\p{L}\p{N}\p{C}\s\]%;+*?/]+$/u;
const SYMBOLOGY = /^\][A-Za-z]\w/;
const ENDS = {
  enter: ["scanner.end.enter", "scanner.ends.enter"],
  tab: ["scanner.end.tab", "scanner.ends.tab"],
  any: ["scanner.end.any", "scanner.ends.any"],
  none: ["scanner.end.none", "scanner.ends.none"],
};
const FIELDS = ["scanner.gap", "scanner.prefix", "scanner.suffix", "scanner.end"];

export class ScannerPanel {
  #node;
  #till;
  #settings;
  #onClose;
  #ears = null;
  #scans = [];
  #isByHand = false;
  #isCaps = false;
  #tried = null;
  #remark = null;
  #isEdited = false;
  #renderTimer;
  #idleTimer;
  #triedTimer;
  #head = el("div", {});
  #steps = el("div", { role: "status", class: "notes" });
  #found = el("ul", { class: "found" });
  #gap = el("input", { class: "field", type: "number", min: GAP_MS_MIN, max: GAP_MS_MAX });
  #prefix = affix();
  #suffix = affix();
  #end = el("select", { class: "field" });
  #labels = [this.#gap, this.#prefix, this.#suffix, this.#end].map((field) => el("label", {}, el("span", {}), field));
  #save = el("button", { type: "submit", class: "go" });
  #again = el("button", { type: "button", onclick: () => this.#measure() });

  // `settings` are those in force; `onClose` is called by the panel's own button.
  constructor(node, { till, settings, onClose }) {
    this.#node = node;
    this.#till = till;
    this.#settings = settings;
    this.#onClose = onClose;
    const form = el("form", { class: "scanner", autocomplete: "off", novalidate: true }, this.#labels, this.#save, this.#again);
    form.addEventListener("input", () => {
      this.#isEdited = true;
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#keep();
    });
    node.replaceChildren(this.#head, this.#steps, this.#found, form);
  }

  get isOpen() {
    return this.#ears !== null;
  }

  // New settings of the till; what is being edited stays.
  set settings(settings) {
    this.#settings = settings;
    if (!this.#isEdited && this.#scans.length < SCANS) this.#fill(settings);
  }

  open() {
    if (this.isOpen) return;
    this.#ears = new AbortController();
    const burst = new Burst(MEASURING);
    const hear = (event) => event.key && (event.type === "keydown" || event.key === "Alt") && this.#hear(burst, event);
    for (const type of ["keydown", "keyup"]) {
      window.addEventListener(type, hear, { capture: true, signal: this.#ears.signal });
    }
    this.#node.hidden = false;
    this.#measure();
    this.#node.querySelector("h2").focus();
  }

  close() {
    this.#ears?.abort();
    this.#ears = null;
    this.#forget();
    this.#node.hidden = true;
  }

  // Takes what the page read as a scan while this is open.
  scanned(text) {
    clearTimeout(this.#triedTimer);
    this.#tried = masked(text);
    this.#triedTimer = setTimeout(() => {
      this.#tried = null;
      this.render();
    }, TRIED_MS);
    this.#renderSoon();
  }

  render() {
    put(this.#head, closable(say("scanner.title"), this.#onClose));
    put(
      this.#steps,
      el("p", {}, this.#isByHand ? say("scanner.by_hand") : this.#step()),
      this.#tried && el("p", {}, this.#said()),
      this.#remark && el("p", { class: "note" }, icon(this.#remark[0]), this.#remark[1]()),
    );
    put(this.#found, this.#findings().map((text) => el("li", {}, text)));
    this.#labels.forEach((label, at) => {
      label.firstChild.textContent = say(FIELDS[at]);
    });
    const { value } = this.#end;
    put(this.#end, Object.entries(ENDS).map(([end, [key]]) => el("option", { value: end }, say(key))));
    this.#end.value = value || this.#settings.end;
    this.#save.textContent = say("scanner.save");
    this.#again.textContent = say("scanner.again");
  }

  #step() {
    const left = SCANS - this.#scans.length;
    return left > 0 ? sayCount("scanner.left", left) : say("scanner.measured");
  }

  #said() {
    const { length, last } = this.#tried;
    const count = number(length);
    return last ? say("scanner.tried", { count, last }) : say("scanner.tried_hidden", { count });
  }

  #measure() {
    this.#forget();
    this.#fill(this.#settings);
    this.render();
  }

  #forget() {
    for (const timer of [this.#renderTimer, this.#idleTimer, this.#triedTimer]) clearTimeout(timer);
    this.#scans = [];
    this.#tried = this.#remark = null;
    this.#isByHand = this.#isEdited = false;
  }

  #fill({ gap_ms: gapMs, prefix, suffix, end }) {
    this.#gap.value = gapMs;
    this.#prefix.value = prefix;
    this.#suffix.value = suffix;
    this.#end.value = end;
  }

  // All that the page sees of it is one change, and so one announcement.
  #renderSoon() {
    clearTimeout(this.#renderTimer);
    this.#renderTimer = setTimeout(() => this.render());
  }

  // The page takes its scans at the same keys; this only listens.
  #hear(burst, event) {
    const decision = burst.feed(event);
    this.#isCaps = event.getModifierState("CapsLock");
    clearTimeout(this.#idleTimer);
    if (decision.scan !== undefined) this.#heard(decision, event);
    else if (decision.swallow && burst.wait === null) this.#doubled(event.timeStamp);
    if (burst.wait !== null) this.#idleTimer = setTimeout(() => this.#idle(burst), burst.wait);
  }

  #idle(burst) {
    const decision = burst.idle();
    if (decision.scan !== undefined) this.#heard(decision, null);
  }

  #heard({ scan, keys, end }, event) {
    const gaps = keys.slice(1).map(({ gap }) => gap);
    const median = middle(gaps);
    if (document.activeElement?.matches(".scanner input") && median > GAP_MS_SAFE) return;
    this.#isByHand = median >= HAND_MS;
    if (!this.#isByHand) {
      // The page may have taken a slow scanner for a person, and would press what has the focus.
      if (end !== null) event.preventDefault();
      const isOther = keys.some(({ read, typed }) => /\d/.test(read) && typed !== "" && typed !== read);
      const [symbology = ""] = SYMBOLOGY.exec(scan) ?? [];
      const [prefix = ""] = PREFIX.exec(scan) ?? [];
      const [suffix = ""] = SUFFIX.exec(scan) ?? [];
      const facts = { median, largest: Math.max(...gaps), end: end ?? "none", endedAt: event?.timeStamp, isOther, symbology };
      if (this.#scans.length < SCANS) this.#scans.push({ ...facts, prefix, suffix, isCaps: this.#isCaps });
      if (this.#scans.length === SCANS && !this.#isEdited) this.#fill(this.#proposed());
    }
    this.#renderSoon();
  }

  #doubled(time) {
    const last = this.#scans.at(-1);
    if (!last || !(time - last.endedAt < HAND_MS)) return;
    last.isDoubled = true;
    this.#renderSoon();
  }

  #proposed() {
    const ends = new Set(this.#scans.map(({ end }) => end));
    return {
      gap_ms: within(GAP_MS_SAFE, 1.5 * Math.max(...this.#scans.map(({ largest }) => largest)) + 10),
      prefix: this.#scans.map(({ prefix }) => prefix).reduce(common).slice(0, AFFIX_CHARS_MAX),
      suffix: turned(this.#scans.map(({ suffix }) => turned(suffix)).reduce(common)).slice(-AFFIX_CHARS_MAX),
      end: ends.size === 1 ? [...ends][0] : "any",
    };
  }

  #findings() {
    if (this.#scans.length < SCANS) return [];
    const { prefix, suffix, end } = this.#proposed();
    const all = this.#scans;
    const largest = Math.max(...all.map((scan) => scan.largest));
    const median = middle(all.map((scan) => scan.median));
    const id = all.map(({ symbology }) => symbology).find(Boolean);
    const isMixed = end === "any" && all.some((scan) => scan.end === "none");
    return [
      say("scanner.found.gaps", { median: number(Math.round(median)), largest: number(Math.round(largest)) }),
      // One late key among all is the machine's.
      middle(all.map((scan) => scan.largest)) > GAP_MS_MAX && say("scanner.found.slow"),
      isMixed ? say("scanner.found.mixed") : say(ENDS[end][1]),
      all.some(({ isDoubled }) => isDoubled) && say("scanner.found.doubled"),
      prefix && say("scanner.found.prefix", { text: prefix }),
      suffix && say("scanner.found.suffix", { text: suffix }),
      id && say("scanner.found.symbology", { id }),
      all.some(({ isOther }) => isOther) && say("scanner.found.layout"),
      all.some(({ isCaps }) => isCaps) && say("scanner.found.caps"),
    ].filter(Boolean);
  }

  async #keep() {
    const asked = {
      ...this.#settings,
      gap_ms: within(GAP_MS_MIN, Number(this.#gap.value)),
      prefix: this.#prefix.value,
      suffix: this.#suffix.value,
      end: this.#end.value,
    };
    try {
      this.#settings = await this.#till.put("/api/v1/scanner", asked);
      this.#isEdited = false;
      this.#fill(this.#settings);
      this.#remark = ["check", () => say("scanner.saved")];
    } catch (error) {
      const { code } = error;
      this.#remark = ["caution", () => (code ? sayCode("problem", code) : say("agent.silent.call"))];
    }
    if (this.isOpen) this.render();
  }
}

function affix() {
  return el("input", { class: "field", type: "text", maxlength: AFFIX_CHARS_MAX, autocapitalize: "off", spellcheck: "false" });
}

function middle(values) {
  return [...values].sort((one, other) => one - other)[values.length >> 1];
}

function within(least, gapMs) {
  return Math.min(GAP_MS_MAX, Math.max(least, Math.ceil(gapMs)));
}

function common(one, other) {
  const signs = [...one];
  const differs = signs.findIndex((sign, at) => sign !== [...other][at]);
  return differs < 0 ? one : signs.slice(0, differs).join("");
}

function turned(text) {
  return [...text].reverse().join("");
}

// Returns all that may be shown of a scan: its length, and its end where no bank card can be meant. Our own numbers
// begin with 9, which is left to the nations; few of those have given it to their banks.
function masked(text) {
  const bare = text.replace(SYMBOLOGY, "").replace(/[ -]/g, "");
  const isOpen = /^9(?!051|112|417|704|792|804|860)\d+$/.test(bare) || !/[%;^=]|\d{8}/.test(bare);
  return { length: [...text].length, last: isOpen && bare.length > 8 ? bare.slice(-4) : "" };
}
