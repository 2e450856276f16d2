// The keyboard as a scanner: hears all keys of the page before anybody else, takes scans out of them, and gives the field
// that has the focus its text and caret back. Nobody hears of what lands in it before it is known to be a person's.

import { Burst } from "./burst.js";

const TYPED = "insertText";

export class Wedge {
  #burst;
  #timer;
  // The field and what it held before the first key, and the one whose listeners have not heard of that key yet.
  #before = null;
  #owed = null;
  #isWaiting = false;
  #isHeard = false;
  // Swallowed keys that are still held down.
  #down = new Set();

  // `onScan` is given each text; `onBroken` is given "cut" or "too_long" where a scan came that cannot be used.
  constructor({ onScan, onBroken = () => {}, settings }) {
    this.onScan = onScan;
    this.onBroken = onBroken;
    this.#burst = new Burst(settings);
  }

  set settings(settings) {
    this.#burst.settings = settings;
  }

  attach(document) {
    const hear = (type, act) => document.defaultView.addEventListener(type, act, { capture: true });
    hear("keydown", (event) => this.#pressed(event));
    hear("keyup", (event) => this.#lifted(event));
    hear("input", (event) => this.#landed(event));
  }

  #pressed(event) {
    // Browsers that fill a form in send events with no key.
    if (!event.key) return;
    if (event.repeat && this.#down.has(event.code)) return stop(event);
    this.#down.delete(event.code);
    this.#do(this.#burst.feed(event), event);
    this.#arm();
  }

  #lifted(event) {
    if (event.key === "Alt") {
      this.#do(this.#burst.feed(event), event);
      this.#arm();
    }
    if (this.#down.delete(event.code)) stop(event);
  }

  #arm() {
    clearTimeout(this.#timer);
    const { wait } = this.#burst;
    if (wait !== null) this.#timer = setTimeout(() => this.#do(this.#burst.idle()), wait);
  }

  #do({ restore, typed, begin, swallow, scan, broken }, event) {
    if (restore) this.#restore();
    if (typed !== undefined) this.#release(typed);
    if (begin) this.#note(document.activeElement ?? document.body);
    if (swallow) {
      stop(event);
      this.#down.add(event.code);
    }
    if (scan !== undefined) this.onScan(scan);
    if (broken) this.onBroken(broken);
  }

  #note(node) {
    const { value, selectionStart: start, selectionEnd: end, selectionDirection: direction } = node;
    this.#before = node.matches("input, textarea, select") ? { node, value, start, end, direction } : null;
    this.#isWaiting = true;
    this.#isHeard = false;
  }

  #restore() {
    const { node, value, start, end, direction } = this.#before ?? {};
    this.#before = this.#owed = null;
    this.#isWaiting = false;
    if (!node?.isConnected) return;
    if (node.value !== value) node.value = value;
    if (Number.isInteger(start)) node.setSelectionRange(start, end, direction);
    if (this.#isHeard) tell(node);
  }

  #release(typed) {
    const owed = this.#owed;
    this.#owed = null;
    this.#isWaiting = false;
    if (typed && this.#before) type(this.#before.node, typed);
    if (owed && !this.#isHeard) tell(owed);
    this.#isHeard = true;
  }

  #landed(event) {
    if (this.#isWaiting && event.inputType === TYPED) this.#owed = event.target;
    if (this.#owed === event.target) event.stopPropagation();
    else this.#isHeard = true;
  }
}

function stop(event) {
  event.preventDefault();
  event.stopPropagation();
}

function type(node, text) {
  if (node === document.activeElement) return document.execCommand(TYPED, false, text);
  if (Number.isInteger(node.selectionStart)) node.setRangeText(text);
  return tell(node);
}

function tell(node) {
  node.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: TYPED }));
}
