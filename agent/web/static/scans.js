// Scans on their way to the till: one after another, and the same card twice in a row once.

const TWICE_WITHIN_MS = 2_000;

export class Scans {
  #till;
  #last = null;
  #lastTimer = null;
  #queue = Promise.resolve();

  // How many were sent from here.
  made = 0;

  constructor(till) {
    this.#till = till;
  }

  // Shows whom a text leads to, and returns the view; null where it was sent a moment ago. The text is not kept.
  async scan(text) {
    if (text === this.#last) return null;
    this.#last = text;
    clearTimeout(this.#lastTimer);
    this.#lastTimer = setTimeout(() => this.forget(), TWICE_WITHIN_MS);
    this.made += 1;
    const sent = this.#queue.then(() => this.#till.post("/api/v1/scans", { text, symbology: null, source: "page" }));
    this.#queue = sent.catch(() => this.forget());
    return sent;
  }

  forget() {
    this.#last = null;
  }
}
