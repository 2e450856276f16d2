// Tells a scanner that types from a person, by the gaps between keys alone. Pure: key events go in, decisions come out.
// The first key passes, for it may be a person's; those within `gap_ms` are held until an end key makes a scan of them.
// Where none comes they are typed after all; but what no hand can have typed is said to be broken, and never acted on.
// What counts is when the keys were pressed: those that a busy machine brings late belong to their scan all the same.
// No total time counts: a long code on a slow scanner takes seconds.

const CHARS_MAX = 512;
// A second end key would press or send what has the focus. It comes no later than a next key would.
const DOUBLED_MS = 119;
// So many keys at this pace are no hand's.
const HAND_KEYS_MAX = 5;
const HAND_MS = 25;
// What is certainly a scanner's may come late: a busy browser once brought the end key 310 ms behind the rest. Nobody
// sees it wait, and the next key in time ends it at once.
const GIVE_UP_MS = 1000;
const GRACE_MS = 10;
// What follows a scan that broke off is the rest of it.
const REST_MS = 500;

// CapsLock turns these around: the digit keys of France and Belgium without Shift.
const AZERTY = ["à&é\"'(-è_ç", "à&é\"'(§è!ç"];

// A decision holds what to do, in this order: `restore` the field; let `typed` follow what landed; `begin`: note what the
// field holds; `swallow` this key; then a `scan` with its `keys` and `end`, or why one is `broken`: "cut", "too_long".
export class Burst {
  #keys = [];
  #alt = "";
  #isOpen = false;
  #first = 0;
  #last = 0;
  #ended = -Infinity;
  #broke = -Infinity;
  // Whether this was said to be broken, while its keys may still only be late.
  #isGivenUp = false;

  constructor(settings) {
    this.settings = settings;
  }

  // After how many ms without a key to call `idle`, or null.
  get wait() {
    if (!this.#isOpen || this.#isGivenUp) return null;
    return this.settings.end !== "none" && this.#isMachine() ? GIVE_UP_MS : this.settings.gap_ms + GRACE_MS;
  }

  // Takes a KeyboardEvent, or a value with the same members; of those that end a press, only that of Alt counts.
  feed(event) {
    const { key, repeat, timeStamp: time } = event;
    if (event.type === "keyup") return key === "Alt" && this.#alt ? this.#fold(time) : {};
    const isOver = this.#isOpen && (repeat || time - this.#last > this.settings.gap_ms);
    const before = isOver ? this.#close() : {};
    return repeat ? before : { ...before, ...this.#take(meaning(event, this.#keys.at(-1)), key, time) };
  }

  // Shows what may be a person's, and says what is broken; should keys only be late, they still make a scan.
  idle() {
    if (!this.#isOpen) return {};
    if (this.#isEndless()) return this.#close();
    return this.#isMachine() ? this.#giveUp() : this.#release();
  }

  #take(meant, key, time) {
    const isInside = this.#keys.length > 0;
    if (/^(?:Shift|Control|AltGraph|\w+Lock)$/.test(key)) return {};
    if (meant.end) return this.#end(meant.end, time);
    if (meant.isMute && isInside) return { swallow: true };
    if (meant.digit !== undefined && (meant.isPad || this.#isOpen)) return this.#escape(meant.digit, time, isInside);
    if (meant.read === undefined) return this.#close(key === "ArrowDown" && this.#isDoubled(time));
    if (!this.#isOpen && /[\0-\x1b]/.test(meant.read)) return {};
    if (this.#alt) this.#fold(time);
    if (!this.#fits(meant.read)) return this.#close();
    return { ...this.#begin(time), swallow: this.#push(meant, time) };
  }

  // Alt and digits: a character that the scanner finds on no key.
  #escape(digit, time, isInside) {
    const begin = this.#begin(time);
    if (!digit && this.#alt) this.#fold(time);
    this.#alt += digit;
    this.#last = time;
    return { ...begin, swallow: isInside || this.#alt !== "" };
  }

  #fold(time) {
    const code = Number(this.#alt) % 256;
    this.#alt = "";
    if (code === 10 || code === 13) return this.#end("enter", time);
    this.#push({ read: String.fromCharCode(code), typed: "" }, time);
    return {};
  }

  #begin(time) {
    if (this.#isOpen) return {};
    this.#isOpen = true;
    this.#first = this.#last = time;
    return { begin: true };
  }

  // Whether the key is held. After a dead key a person's letter has to pass.
  #push(meant, time) {
    const before = this.#keys.at(-1);
    const follows = before && (!before.isDead || this.#keys.some((key) => key.held));
    const held = !meant.isBlind && Boolean(follows || meant.read < " ");
    if (this.#keys.length <= CHARS_MAX) this.#keys.push({ ...meant, held, gap: time - this.#last });
    this.#last = time;
    return held;
  }

  #end(end, time) {
    if (!this.#isOpen) return { swallow: this.#isDoubled(time) };
    const isEnd = ["any", "none", end].includes(this.settings.end);
    if (!isEnd && this.#keys.length >= this.settings.chars_min) {
      return { swallow: this.#push({ read: "\n", typed: "" }, time) };
    }
    const out = isEnd && this.#scanned() !== null ? this.#scan(end) : this.#close();
    if (out.restore) this.#ended = time;
    return { ...out, swallow: out.restore };
  }

  #isDoubled(time) {
    const isDoubled = !this.#isOpen && time - this.#ended <= DOUBLED_MS;
    if (isDoubled) this.#ended = time;
    return isDoubled;
  }

  #scan(end) {
    if (this.#first - this.#broke <= REST_MS) return this.#break();
    return this.#reset({ restore: true, scan: this.#scanned(), keys: this.#keys, end });
  }

  // No end has come.
  #close(swallow = false) {
    if (this.#isEndless()) return this.#scan(null);
    if (this.#isMachine()) return this.#break();
    if (this.#keys.length >= this.settings.chars_min) this.#broke = this.#last;
    return this.#isOpen ? this.#reset(this.#release()) : { swallow };
  }

  // Says what is wrong, once.
  #giveUp() {
    const isTold = this.#isGivenUp;
    this.#isGivenUp = true;
    return { restore: true, ...(!isTold && { broken: this.#keys.length > CHARS_MAX ? "too_long" : "cut" }) };
  }

  #break() {
    this.#broke = this.#last;
    return this.#reset(this.#giveUp());
  }

  #release() {
    const held = this.#keys.filter((key) => key.held);
    for (const key of held) key.held = false;
    return { typed: held.map(({ typed }) => typed).join("") };
  }

  #reset(out) {
    this.#keys = [];
    this.#alt = "";
    this.#isOpen = this.#isGivenUp = false;
    return out;
  }

  #isEndless() {
    return this.settings.end === "none" && this.#scanned() !== null;
  }

  #isMachine() {
    const { length } = this.#keys;
    if (length < this.settings.chars_min || length <= HAND_KEYS_MAX) return false;
    return this.settings.prefix !== "" || length > CHARS_MAX || this.#last - this.#first <= HAND_MS * (length - 1);
  }

  // Whether this can still be, or become, a text with the prefix.
  #fits(more = "") {
    const prefix = this.settings.prefix.toLowerCase();
    const text = (prefix && this.#text() + more).toLowerCase();
    return text.startsWith(prefix) || prefix.startsWith(text);
  }

  // Returns the text without what the scanner puts around it, or null where this is no scan.
  #scanned() {
    const { prefix, suffix, chars_min: charsMin } = this.settings;
    const text = this.#text();
    const isWhole = this.#keys.length <= CHARS_MAX && this.#fits() && text.endsWith(suffix);
    const inner = isWhole ? text.slice(prefix.length, text.length - suffix.length) : "";
    return inner.length >= (prefix ? 1 : charsMin) ? inner : null;
  }

  // A scanner set for AZERTY presses Shift for each digit; then the other signs of that row are meant as they come.
  #text() {
    const shifted = this.#keys.filter(({ row }) => row === "shifted").length;
    const isAzerty = shifted > this.#keys.filter(({ row }) => row === "Digit").length;
    const text = this.#keys.map((key) => (isAzerty && key.row === "Digit" ? key.typed : key.read)).join("");
    return text.replace(/[\x03\x04\n]+$/, "");
  }
}

// Returns what a key means inside a scan: an `end`; a `digit` with Alt, or "" for Alt itself; `isMute`: nothing; or a
// character, `read` as the scanner means it and `typed` as a person would see it. Empty where no scanner has such a key.
function meaning(event, before) {
  const { key, code, shiftKey: shift, altKey: alt, ctrlKey: ctrl } = event;
  const [, row, digit] = /^(Digit|Numpad)(\d)$/.exec(code) ?? [];
  if (key === "Enter") return { end: "enter" };
  if (key === "Alt") return { digit: "", isPad: true };
  if (event.metaKey) return { isMute: true };
  const isThird = event.getModifierState("AltGraph") || (alt && ctrl);
  if ((alt || ctrl) && !isThird) {
    if (alt && digit) return { digit, isPad: row === "Numpad" };
    return (ctrl && control(key, code)) || { isMute: true };
  }
  if (key === "Tab") return { end: "tab" };
  if (event.isComposing || key === "Process") return { read: digit ?? letter(code, shift), typed: "", isBlind: true };
  if (key === "Dead") return { read: /6|Br/.test(code) ? "^" : "", typed: "", isDead: true };
  const typed = [...key].length === 1 ? key : "";
  const isTurned = event.getModifierState("CapsLock") && AZERTY.some((signs) => signs[digit] === key);
  if (digit && !isThird && (!shift || isTurned)) return { read: digit, typed, row: shift ? "shifted" : row };
  // A dead key before may have changed this one: "^" and "e" come as "ê".
  const read = before?.isDead ? typed.normalize("NFD").slice(0, 1) : typed;
  return typed ? { read, typed, row: digit && /\d/.test(read) && "shifted" } : {};
}

function letter(code, shift) {
  const sign = /^Key([A-Z])$/.exec(code)?.[1] ?? "";
  return shift ? sign : sign.toLowerCase();
}

// Ctrl and a key: a control character. M and J end, I is a tab, ] separates fields (GS).
function control(key, code) {
  const sign = /^[a-z[\\\]^_]$/i.test(key) ? key.toUpperCase() : code === "BracketRight" ? "]" : letter(code, true);
  if (!sign) return null;
  if ("MJI".includes(sign)) return { end: sign === "I" ? "tab" : "enter" };
  return { read: String.fromCharCode(sign.charCodeAt(0) & 31), typed: "" };
}
