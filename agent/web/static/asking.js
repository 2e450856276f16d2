// Sales and their reversals on the way to the till. Each is asked until it is answered, under one id, so that it counts
// once however often it is asked; whoever comes to the counter meanwhile does not wait for it.

import { TillRefused, TillSilent } from "./till.js";

const AGAIN_MS = 1_000;
// Beyond the first people wonder; beyond the second they want to go on.
const WONDER_MS = 1_000;
const LONG_MS = 10_000;
// So long a finished sale is still told by the name that it was for: as long as the offer to undo it.
const TOLD_MS = 10_000;
const REVERSAL_ID_CHARS_MAX = 64;

export class Asking {
  #till;
  #onChange;
  #sales = new Map();

  // `onChange` is called when a sale begins to make people wonder, and when it is answered.
  constructor(till, onChange) {
    this.#till = till;
    this.#onChange = onChange;
  }

  // The sales that are not confirmed yet and of which something should be said: {amount, name, isLong}.
  get unconfirmed() {
    const now = Date.now();
    return [...this.#sales.values()]
      .filter(({ done, since }) => !done && now - since >= WONDER_MS)
      .map((sale) => ({ ...sale, isLong: now - sale.since >= LONG_MS }));
  }

  // Returns the name that a sale of this page was for, or undefined.
  nameOf(saleId) {
    return this.#sales.get(saleId)?.name;
  }

  // Forgets the names: the sales themselves go on.
  forgetNames() {
    for (const sale of this.#sales.values()) sale.name = null;
  }

  // Credits a sale; returns the till's result. Throws TillRefused or SessionEnded.
  async sale({ who, amount, name, minor, currency }) {
    const saleId = `page-${crypto.randomUUID()}`;
    const body = {
      sale_id: saleId,
      ...who,
      lines: [{ quantity: "1", net_minor: minor }],
      net_minor: minor,
      currency,
      occurred_at: new Date().toISOString(),
    };
    this.#sales.set(saleId, { amount, name, since: Date.now(), done: false });
    const timers = [WONDER_MS, LONG_MS].map((ms) => setTimeout(this.#onChange, ms));
    try {
      return await this.sure("/api/v1/sales", body);
    } finally {
      timers.forEach(clearTimeout);
      this.#sales.get(saleId).done = true;
      setTimeout(() => this.#sales.delete(saleId), TOLD_MS);
      this.#onChange();
    }
  }

  // Takes a sale back. Two windows that do it at once do one thing, as both give it the same id.
  async takeBack(saleId) {
    const named = `undo-${saleId}`;
    // Cut short, two long ids could become one. A sale is taken back once, whatever the ids are.
    const reversalId = named.length <= REVERSAL_ID_CHARS_MAX ? named : `undo-${crypto.randomUUID()}`;
    const body = { reversal_id: reversalId, occurred_at: new Date().toISOString() };
    try {
      await this.sure(`/api/v1/sales/${encodeURIComponent(saleId)}/reversals`, body);
    } catch (error) {
      if (error.code !== "reversal_id_reused") throw error;
    }
  }

  // Asks until there is an answer; only for what does the same however often it is asked.
  async sure(path, body) {
    for (;;) {
      try {
        return await this.#till.post(path, body);
      } catch (error) {
        // No answer, or one that does not tell whether it was written down.
        const isOpen = error instanceof TillSilent || (error instanceof TillRefused && error.status === 500);
        if (!isOpen) throw error;
      }
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  }
}
