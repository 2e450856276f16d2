// The acts of this shift, each to be taken back for as long as the shift lasts. No names: they leave within a minute.

import { idOf, isUndone } from "./asking.js";
import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { moment, money, number, say, sayCode, sayCount, signed, timeOfDay, told } from "./words.js";
import { warn } from "./voice.js";

const ROWS_AT_FIRST = 20;
const ROWS_MAX = 200;
// Sales of a point of sale can come many times a second.
const READ_EVERY_MS = 1_000;

export class Shift extends HTMLElement {
  #rows = [];
  #since = null;
  #hasMore = false;
  #limit = ROWS_AT_FIRST;
  #isAsking = false;
  #remark = null;
  #timer = null;
  #readAt = 0;

  // Set by the page: the way to the till, the sales on it, and what follows once something was done here.
  till = null;
  asking = null;
  onDone = null;

  // Reads the list again, soon; call it whenever something may have changed.
  refresh() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#read();
    }, Math.max(0, this.#readAt + READ_EVERY_MS - Date.now()));
  }

  clear() {
    this.#rows = [];
    this.#isAsking = false;
    this.#remark = null;
    this.render();
  }

  render() {
    const rows = this.#rows.map((act) => this.#row(act));
    put(
      this,
      el("h2", { class: "title" }, say("shift.title")),
      this.#remark && el("p", { class: "note" }, icon("caution"), this.#remark),
      rows.length === 0 ? el("p", { class: "soft" }, say("shift.empty")) : el("ul", { class: "rows" }, rows),
      this.#hasMore && this.#limit < ROWS_MAX && this.#more(),
      rows.length > 0 && this.#end(),
    );
  }

  #row(act) {
    const isUse = act.kind === "redemption";
    const amount = isUse ? whatWasUsed(act) : money(act.net_minor, act.currency);
    const time = timeOfDay(act.recorded_at);
    const isBack = isUndone(act);
    const state = act.held ? `outbox.state.${act.held}` : `shift.state.${act.state}`;
    const undo = {
      type: "button",
      "data-id": idOf(act),
      "aria-label": say("shift.undo_one", { amount, time }),
      onclick: () => this.#takeBack(act),
    };
    return el(
      "li",
      { class: `act${isBack ? " act-back" : ""}` },
      el(
        "p",
        { class: "act-what" },
        el("span", {}, amount, act.hint && el("span", { class: "soft" }, act.hint)),
        el("span", { class: "soft" }, `${time} · ${say(state)}`),
      ),
      el("span", { class: "row-points" }, signed(isUse ? -act.points : act.points)),
      isBack ? null : el("button", undo, say("shift.undo")),
    );
  }

  #more() {
    const onclick = () => {
      this.#limit = ROWS_MAX;
      this.#read();
    };
    return el("button", { type: "button", onclick }, say("outbox.more"));
  }

  // What cannot be undone is asked about in its place, and Enter keeps it.
  #end() {
    if (!this.#isAsking) {
      return el("button", { type: "button", class: "end", onclick: () => this.#asks(true) }, say("shift.end"));
    }
    const begun = this.#hasMore ? this.#since : this.#rows.at(-1).recorded_at;
    return el(
      "div",
      { class: "note ask", role: "group", "aria-label": say("shift.end") },
      el("p", {}, say("shift.end_asked", { time: moment(begun) })),
      el("button", { type: "button", class: "safe", onclick: () => this.#asks(false) }, say("shift.keep")),
      el("button", { type: "button", class: "final", onclick: () => this.#endIt() }, say("shift.end")),
    );
  }

  #asks(isAsking) {
    this.#isAsking = isAsking;
    this.render();
    this.querySelector(isAsking ? ".safe" : ".end")?.focus();
  }

  async #endIt() {
    await this.#done(this.till.post("/api/v1/shifts", {}));
    this.#isAsking = false;
    this.#read();
  }

  async #takeBack(act) {
    await this.#done(this.asking.takeBack(act));
    this.#read();
  }

  async #done(act) {
    try {
      await act;
      this.#remark = null;
    } catch (error) {
      this.#remark = error.code ? sayCode("problem", error.code) : say("agent.silent.call");
      warn(this.#remark);
    }
    this.render();
    this.onDone();
  }

  async #read() {
    this.#readAt = Date.now();
    try {
      const { rows, since, more } = await this.till.get(`/api/v1/acts?limit=${this.#limit}`);
      this.#rows = rows;
      this.#since = since;
      this.#hasMore = more;
      this.render();
    } catch {
      // The indicator tells of a till that does not answer; the list is read again at the next change.
    }
  }
}

function whatWasUsed({ reward, points }) {
  return reward ? told(reward) : `${number(points)} ${sayCount("points.unit", points)}`;
}

customElements.define("till-shift", Shift);
