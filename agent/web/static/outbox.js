// The outbox panel: what waits for the hub, and what was refused, held or withheld, each with its reason in words.

import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { toLookAt, waitingText } from "./indicator.js";
import { moment, money, number, say, sayCode, signed, told } from "./words.js";

const ROWS_AT_FIRST = 20;
const ROWS_MAX = 200;
// While the outbox drains its figures change many times a second.
const READ_EVERY_MS = 1_000;

// An act of this page has a long number; its beginning is enough for people.
const OWN_ACT = /^(page-[0-9a-f]{8})-.*$/;
const RETURNED = "loyalty.allowance.returned.v1";

const STATE_ICONS = { parked: "held", rejected: "refused", waiting: "clock", withheld: "caution" };

export class Outbox extends HTMLElement {
  #figures = null;
  #hub = null;
  #filter = null;
  #rows = [];
  #hasMore = false;
  #limit = ROWS_AT_FIRST;
  #timer = null;
  #isReading = false;

  // Set by the page: the way to the till, and what closes the panel.
  till = null;
  onClose = null;

  // Takes a new state; the list is read again where the figures changed.
  update({ outbox, hub }) {
    const changed = JSON.stringify(outbox) !== JSON.stringify(this.#figures);
    this.#figures = outbox;
    this.#hub = hub;
    if (this.#filter && outbox[this.#filter] === 0) this.#filter = null;
    if (changed) this.#readSoon();
  }

  // Shows the events that need a person, those of the first kind there is.
  look() {
    this.#select(["rejected", "withheld", "parked"].find((state) => this.#figures[state] > 0) ?? null);
  }

  render() {
    if (!this.#figures) return;
    put(
      this,
      closable(say("outbox.title"), this.onClose),
      this.#line(),
      this.#filters(),
      this.#list(),
      this.#more(),
    );
  }

  #line() {
    const { fault, since, is_reachable: isReachable } = this.#hub;
    const waiting = waitingText(this.#figures);
    const empty = !waiting && toLookAt(this.#figures) === 0 && isReachable && say("outbox.empty");
    const away = [fault && sayCode("hub.fault", fault), say("hub.since", { time: moment(since) })];
    const hub = isReachable && !fault ? null : away.filter(Boolean).join(" ");
    return [hub, waiting, empty].filter(Boolean).map((text) => el("p", { class: "soft" }, text));
  }

  #filters() {
    const states = ["rejected", "parked", "withheld"].filter((state) => this.#figures[state] > 0);
    if (states.length === 0) return null;
    const button = (state, words) => {
      const onclick = () => this.#select(state);
      const pressed = String(this.#filter === state);
      return el("button", { type: "button", class: "filter", "aria-pressed": pressed, onclick }, words);
    };
    return el(
      "div",
      { class: "filters", role: "group", "aria-label": say("outbox.filter") },
      button(null, say("outbox.all")),
      states.map((state) => button(state, `${say(`outbox.state.${state}`)} (${number(this.#figures[state])})`)),
    );
  }

  #list() {
    const rows = this.#rows.map((row) => el("li", { class: `row row-${row.state}` }, rowParts(row)));
    return el("ul", { class: "rows" }, rows);
  }

  #more() {
    if (!this.#hasMore) return null;
    if (this.#limit >= ROWS_MAX) {
      return el("p", { class: "soft" }, say("outbox.rest", { command: "loyalty-agent outbox list" }));
    }
    const onclick = () => {
      this.#limit = ROWS_MAX;
      this.#read();
    };
    return el("button", { type: "button", class: "button", onclick }, say("outbox.more"));
  }

  #select(state) {
    this.#filter = state;
    this.#limit = ROWS_AT_FIRST;
    this.render();
    this.#read();
  }

  #readSoon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#read();
    }, this.#rows.length === 0 ? 0 : READ_EVERY_MS);
  }

  async #read() {
    if (this.#isReading) return this.#readSoon();
    this.#isReading = true;
    const filter = this.#filter;
    try {
      const state = filter ? `&state=${filter}` : "";
      const page = await this.till.get(`/api/v1/outbox?after=0&limit=${this.#limit}${state}`);
      if (filter !== this.#filter) return this.#readSoon();
      this.#rows = page.rows;
      this.#hasMore = page.next_after !== null;
      this.render();
    } catch {
      // The indicator tells of a till that does not answer; the list is read again at the next change.
    } finally {
      this.#isReading = false;
    }
  }
}

// Returns the title of a panel, with the button that closes it.
export function closable(title, onClose) {
  const button = el("button", { type: "button", onclick: onClose }, say("search.close"), el("kbd", {}, say("key.Escape")));
  return el("div", { class: "heading" }, el("h2", { class: "title", tabindex: "-1" }, title), button);
}

function rowParts(row) {
  return [
    icon(STATE_ICONS[row.state]),
    el(
      "div",
      { class: "row-what" },
      el("p", { class: "row-title" }, rowTitle(row)),
      el("p", { class: "soft" }, rowFacts(row).join(" · ")),
      row.reason_text && el("p", { class: "reason" }, told(row.reason_text)),
    ),
    row.points !== 0 && el("p", { class: "row-points" }, signed(row.points)),
  ];
}

function rowFacts(row) {
  const amount = row.net_minor === null ? [] : [money(row.net_minor, row.currency)];
  return [say(`outbox.state.${row.state}`), ...amount, moment(row.recorded_at)];
}

function rowTitle(row) {
  const id = (row.sale_id ?? row.redemption_id)?.replace(OWN_ACT, "$1");
  if (row.redemption_id) return say(row.reversal_id ? "outbox.given_back" : "outbox.redemption", { id });
  if (row.reversal_id) return say("outbox.reversal", { id });
  if (row.type === RETURNED) return say("outbox.returned");
  return id ? say("outbox.sale", { id }) : say("outbox.event", { id: row.seq });
}

customElements.define("till-outbox", Outbox);
