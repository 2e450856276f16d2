// Sales, redemptions and their reversals on the way to the till. Each is asked until it is answered, under one id, so
// that it counts once however often it is asked; whoever comes to the counter meanwhile does not wait for it.

import { TillRefused, TillSilent } from "./till.js";

const AGAIN_MS = 1_000;
// Beyond the first people wonder; beyond the second they want to go on.
const WONDER_MS = 1_000;
const LONG_MS = 10_000;
// So long a finished sale is still told by the name that it was for: as long as the offer to undo it.
const TOLD_MS = 10_000;
const REVERSAL_ID_CHARS_MAX = 64;

// Returns the id of an act: of a sale, or of a redemption.
export function idOf(act) {
  return act.redemption_id ?? act.sale_id;
}

export function isUndone({ state }) {
  return state === "taken_back" || state === "given_back";
}

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

  // Returns the name that an act of this page was for, or undefined.
  nameOf(act) {
    return this.#sales.get(idOf(act))?.name;
  }

  // Forgets the names: the sales themselves go on.
  forgetNames() {
    for (const sale of this.#sales.values()) sale.name = null;
  }

  // Credits a sale; returns the till's result. Throws TillRefused or SessionEnded.
  async sale({ who, amount, name, minor, currency }) {
    const sale = { ...who, lines: [{ quantity: "1", net_minor: minor }], net_minor: minor, currency };
    return this.#done("sales", "sale_id", sale, { amount, name });
  }

  // Uses points: `asked` names the customer, and a reward or points. The same for the rest.
  async redemption(asked, { amount, name }) {
    return this.#done("redemptions", "redemption_id", asked, { amount, name });
  }

  async #done(room, key, asked, told) {
    const id = `page-${crypto.randomUUID()}`;
    this.#sales.set(id, { ...told, since: Date.now(), done: false });
    const timers = [WONDER_MS, LONG_MS].map((ms) => setTimeout(this.#onChange, ms));
    try {
      return await this.sure(`/api/v1/${room}`, { [key]: id, ...asked, occurred_at: new Date().toISOString() });
    } finally {
      timers.forEach(clearTimeout);
      this.#sales.get(id).done = true;
      setTimeout(() => this.#sales.delete(id), TOLD_MS);
      this.#onChange();
    }
  }

  // Takes an act back. Two windows that do it at once do one thing, as both give it the same id.
  async takeBack(act) {
    const named = `undo-${idOf(act)}`;
    // Cut short, two long ids could become one. An act is taken back once, whatever the ids are.
    const reversalId = named.length <= REVERSAL_ID_CHARS_MAX ? named : `undo-${crypto.randomUUID()}`;
    const body = { reversal_id: reversalId, occurred_at: new Date().toISOString() };
    const room = act.kind === "redemption" ? "redemptions" : "sales";
    try {
      await this.sure(`/api/v1/${room}/${encodeURIComponent(idOf(act))}/reversals`, body);
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
