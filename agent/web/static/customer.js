// The customer's display: a greeting, points, what was earned just now. It is told nothing else, and it forgets whom it
// shows by itself after a while, whether the till still speaks to it or not.

import { el, put, svg } from "./el.js";
import { Till } from "./till.js";
import { loadWords, number, say, sayCount, signed, speak } from "./words.js";

// As long as the till itself shows somebody here. A till that is gone takes nobody away, so the page does.
const SHOWN_MS = 20_000;
// A till that stops while the page opens is back within seconds.
const WORDS_AGAIN_MS = 1_000;
// Staff open their own page anew for each shift; a display that was left open joins it.
const ENDED_AGAIN_MS = 15_000;
// Longer greetings and figures are set smaller, so that a greeting keeps to two lines and a figure to one.
const HELLO_CHARS_MAX = 16;
const FIGURE_CHARS_MAX = 5;
const LONG_FIGURE_CHARS_MAX = 8;
const IDLE = { kind: "idle", name: null, points: null, pending: null, earned: null };
const STAR = "M12 2.6l2.9 6 6.5.9-4.7 4.6 1.1 6.5L12 17.5l-5.8 3.1 1.1-6.5L2.6 9.5l6.5-.9z";

const part = (id) => document.getElementById(id);

class Display {
  #shown = null;
  #link = "opening";
  #language;
  #leaving = null;
  #till = new Till({ scope: "display", onState: (state) => this.#take(state), onLink: (link) => this.#linked(link) });

  constructor(language) {
    this.#language = language;
  }

  open(code) {
    this.#render();
    this.#till.open(code);
  }

  #take(shown) {
    clearTimeout(this.#leaving);
    this.#shown = shown;
    if (shown.kind === "idle") this.#language = shown.language;
    else this.#leaving = setTimeout(() => this.#forget(), SHOWN_MS);
    this.#render();
  }

  #linked(link) {
    if (link === "ended") {
      this.#forget();
      setTimeout(() => this.#till.open(), ENDED_AGAIN_MS);
    }
    this.#link = link;
    this.#render();
  }

  #forget() {
    clearTimeout(this.#leaving);
    this.#shown = this.#shown && { ...this.#shown, ...IDLE, language: this.#language };
    this.#render();
  }

  #render() {
    const shown = this.#shown ?? IDLE;
    speak(shown.language ?? this.#language);
    document.title = shown.shop ?? say("display.title");
    document.body.dataset.kind = shown.kind;
    document.body.dataset.link = this.#link;
    put(part("bar"), ...bar(shown));
    put(part("stage"), ...(shown.kind === "idle" ? idle(shown) : [person(shown), shown.earned !== null && earned(shown)]));
    put(part("foot"), this.#link === "ended" && el("p", { class: "hint" }, say("display.ended")));
    const said = announced(shown);
    if (part("polite").textContent !== said) part("polite").textContent = said;
  }
}

function bar({ kind, shop, demo }) {
  return [
    el("p", { class: "shop" }, kind !== "idle" && shop),
    demo && el("strong", { class: "demo" }, say("demo.badge")),
  ];
}

function idle({ shop }) {
  const title = shop ?? say("display.title");
  return [
    el(
      "div",
      { class: "idle" },
      card(),
      el("h1", { class: sized("title", title, HELLO_CHARS_MAX) }, title),
      el("p", { class: "invitation" }, say("display.invitation")),
    ),
  ];
}

function person(shown) {
  const hello = greeting(shown);
  const { points, pending, kind } = shown;
  return el(
    "section",
    { class: "person" },
    el("h1", { class: sized("hello", hello, HELLO_CHARS_MAX) }, hello),
    points !== null && el("p", { class: "sum" }, figure("span", "figure", number(points)), " ", unit(points)),
    pending !== 0 && kind === "welcome" && el("p", { class: "pending" }, toCome(pending)),
  );
}

function earned({ earned: points, pending }) {
  return el(
    "section",
    { class: "earned" },
    star("earned-star"),
    figure("p", "plus", signed(points)),
    el("p", { class: "what" }, sayCount("display.earned", points)),
    el("p", { class: "note" }, isToCome(points, pending) ? say("display.earned.soon") : say("display.earned.counted")),
  );
}

// Says once what is there to see, for who cannot see it; nothing while nobody is shown.
function announced(shown) {
  if (shown.kind === "idle") return "";
  const sum = shown.points !== null && `${number(shown.points)} ${sayCount("points.unit", shown.points)}`;
  const plus = shown.earned !== null && `${signed(shown.earned)} ${sayCount("display.earned", shown.earned)}`;
  return [greeting(shown), sum, plus].filter(Boolean).join(". ");
}

function greeting({ name }) {
  return name === null ? say("display.hello") : say("display.hello.name", { name });
}

function figure(tag, name, text) {
  return el(tag, { class: sized(name, text, FIGURE_CHARS_MAX, LONG_FIGURE_CHARS_MAX) }, text);
}

function sized(name, text, charsMax, longMax = Infinity) {
  if (text.length > longMax) return `${name} ${name}-longest`;
  return text.length > charsMax ? `${name} ${name}-long` : name;
}

function unit(points) {
  return el("span", { class: "unit" }, sayCount("points.unit", points));
}

function toCome(pending) {
  return say("display.pending", { points: signed(pending) });
}

function isToCome(points, pending) {
  return pending !== null && pending >= points;
}

function star(name) {
  return svg("svg", { class: name, viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: STAR }));
}

// A loyalty card, as people hold it up.
function card() {
  const shape = (tag, props) => svg(tag, props);
  return svg(
    "svg",
    { class: "card", viewBox: "0 0 160 110", "aria-hidden": "true" },
    shape("rect", { class: "card-shadow", x: 14, y: 16, width: 132, height: 84, rx: 12 }),
    shape("rect", { class: "card-front", x: 14, y: 10, width: 132, height: 84, rx: 12 }),
    shape("path", { class: "card-star", d: STAR, transform: "translate(24 18) scale(1.25)" }),
    shape("path", { class: "card-line", d: "M28 66h54 M28 78h34" }),
    shape("path", { class: "card-code", d: "M104 62v20 M109 62v20 M113 62v20 M119 62v20 M123 62v20 M129 62v20 M133 62v20" }),
  );
}

// The code opens the display once; it leaves the address at once, so that nobody reads or copies it.
const code = location.hash.slice(1);
history.replaceState(null, "", "/customer");
while (!((await loadWords()) && (await loadWords("display")))) await new Promise((done) => setTimeout(done, WORDS_AGAIN_MS));
new Display(navigator.language.startsWith("fr") ? "fr" : "en").open(code);
