// The panels that staff open beside the customer: the outbox, and the scanner's settings. One at most is open; each is
// loaded when it is opened first, so that the page itself is there at once.

import { el } from "./el.js";

const STYLE = "/static/panels.css";

export class Panels {
  #parts;
  #opened = null;
  #loading = {};

  // `parts` are, by name, a node and `load`, which returns what fills it: with open, close and render, where it has any.
  constructor(parts) {
    this.#parts = parts;
  }

  // The name of the open panel, or null.
  get opened() {
    return this.#opened;
  }

  async open(name) {
    if (this.#opened === name) return;
    this.close();
    this.#opened = name;
    const { node, load } = this.#parts[name];
    const [panel] = await Promise.all([(this.#loading[name] ??= load()), (this.#loading.look ??= loadLook())]);
    this.#parts[name].panel = panel;
    if (this.#opened !== name) return;
    node.hidden = false;
    panel.open?.();
    panel.render();
    node.querySelector("h2")?.focus();
  }

  close() {
    if (this.#opened === null) return;
    const { node, panel } = this.#parts[this.#opened];
    this.#opened = null;
    node.hidden = true;
    panel?.close?.();
  }

  // What fills a panel, once it was opened.
  panel(name) {
    return this.#parts[name].panel;
  }

  render() {
    for (const { panel } of Object.values(this.#parts)) panel?.render();
  }
}

function loadLook() {
  return new Promise((done) => {
    document.head.append(el("link", { rel: "stylesheet", href: STYLE, onload: done, onerror: done }));
  });
}
