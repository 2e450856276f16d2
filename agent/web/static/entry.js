// The one field for what is not scanned: a card number, or a search for somebody.

import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { say } from "./words.js";

// The till takes searches of 3 to 200 characters; a longer text is a code, or nothing.
const SEARCH_CHARS_MAX = 200;
export const SEARCH_CHARS_MIN = 3;
// More than any card or code; the till says "too long" from 512 on.
const FIELD_CHARS_MAX = 600;
// A phone number as people say it. Product codes have 8, 12, 13 or 14 digits, cards have 16 to 19.
const PHONE_DIGITS = [7, 10, 11];
// Beyond this people wonder, so the page says something.
const WONDER_MS = 1_000;
// A half typed name is somebody's too.
const TYPED_KEPT_MS = 60_000;

// Tells whether a text can only be meant as a search. A text with many digits in a row or with the signs of a code is
// left to the till, which names it for what it is: a bank card's magnetic stripe carries a name too.
export function isSearch(text) {
  if (text.length > SEARCH_CHARS_MAX || /[:;%\]]|\d{12}|^www\./i.test(text)) return false;
  if (/[\p{L}@]/u.test(text)) return true;
  if (/[^\d\s().+-]/.test(text)) return false;
  return /[+()]/.test(text) || PHONE_DIGITS.includes(text.replace(/\D/g, "").length);
}

export class Entry extends HTMLElement {
  #label = el("label", { for: "text", class: "title" });
  #field = el("input", {
    id: "text",
    class: "field",
    type: "text",
    maxlength: FIELD_CHARS_MAX,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    enterkeyhint: "go",
  });
  #button = el("button", { type: "submit", class: "go" });
  #note = el("p", { class: "note", hidden: true });
  #timer = null;

  #openings = 0;

  // Set by the page. `onText` is given what was entered, and returns a remark on it, "" where the search goes on, or
  // null where it is over; then the field closes, and `onOver` follows.
  onText = async () => null;
  onOver = () => {};

  connectedCallback() {
    const form = el("form", { class: "entry", autocomplete: "off" }, this.#label, this.#field, this.#button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(this.#field.value.trim());
    });
    this.#field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => (this.#field.value = ""), TYPED_KEPT_MS);
    });
    this.replaceChildren(form, this.#note);
  }

  get isOpen() {
    return !this.hidden;
  }

  // Tells whether somebody is about to type here.
  get isInUse() {
    return document.activeElement === this.#field;
  }

  open() {
    this.#openings += 1;
    this.hidden = false;
    this.#field.focus();
    this.#field.select();
  }

  close() {
    this.hidden = true;
    this.note(null);
  }

  // Says everything in the language of now; what is typed stays.
  render() {
    this.#label.textContent = say("entry.label");
    put(this.#button, say("entry.go"), el("kbd", {}, say("key.Enter")));
  }

  // Puts a remark below the field, or takes it away (null).
  note(text) {
    this.#note.hidden = text === null;
    put(this.#note, ...(text === null ? [] : [icon("caution"), text]));
  }

  clear() {
    this.#field.value = "";
    this.close();
  }

  // What was not dealt with goes back into the field. Whoever opened it again meanwhile keeps it.
  async #submit(text) {
    if (text === "") return;
    const openings = this.#openings;
    this.#field.value = "";
    this.note(null);
    const wonder = setTimeout(() => this.note(say("entry.waiting")), WONDER_MS);
    const remark = await this.onText(text);
    clearTimeout(wonder);
    this.note(remark || null);
    if (remark && this.#field.value === "") this.#field.value = text;
    if (remark !== null || openings !== this.#openings) return;
    this.close();
    this.onOver();
  }
}

customElements.define("till-entry", Entry);
