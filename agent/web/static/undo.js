// The toast: what was credited or used last, and ten seconds to take it back by one key.

import { idOf, isUndone } from "./asking.js";
import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { sound } from "./sounds.js";
import { warn } from "./voice.js";
import { say, sayCode, sayCount, told } from "./words.js";

const SHOWN_MS = 10_000;
const TICK_MS = 250;
// States that are no credit, each with its icon; they sound as they are called.
const ICONS = { redeemed: "gift", taken_back: "undo", given_back: "undo" };

export class Undo extends HTMLElement {
  #act = null;
  #name = null;
  #until = 0;
  #remark = null;
  #icon = el("span", {});
  #text = el("p", {});
  #seconds = el("span", {});
  #button = el("button", { type: "button", onclick: () => this.undo() }, this.#seconds, el("kbd", {}, "F6"));
  #timer = null;

  // Set by the page: the sales on their way, and what follows once one was taken back.
  asking = null;
  onDone = null;

  connectedCallback() {
    this.append(this.#icon, this.#text, this.#button);
  }

  // Takes the till's last act (null: none), and the name it was for; returns what happened in words where that is new.
  take(act, name) {
    const before = this.#act;
    this.#act = act;
    const isKnown = act && before && idOf(before) === idOf(act);
    const isSame = isKnown && before.state === act.state;
    if (!act || isSame) {
      if (!act) this.#hide();
      return null;
    }
    // The till and the page read the same clock; one that was set meanwhile never makes the offer longer.
    const left = this.#isBack ? SHOWN_MS : SHOWN_MS - Math.max(0, Date.now() - Date.parse(act.recorded_at));
    this.#remark = null;
    if (!isKnown) this.#name = name;
    this.#until = Date.now() + left;
    if (left <= 0 || (this.#isBack && !isKnown)) {
      this.#hide();
      return null;
    }
    this.hidden = false;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.render();
    sound(act.state in ICONS ? act.state : "credited");
    return this.#words();
  }

  forgetName() {
    this.#name = null;
    this.render();
  }

  render() {
    if (this.hidden || !this.#act) return;
    put(this.#icon, icon(ICONS[this.#act.state] ?? "check"));
    this.#text.textContent = this.#remark ?? this.#words();
    this.#button.hidden = this.#isBack;
    this.#count();
  }

  // Takes the last act back, while that is offered.
  async undo() {
    if (this.hidden || this.#isBack) return;
    try {
      await this.asking.takeBack(this.#act);
      this.onDone();
    } catch (error) {
      if (!error.code) return;
      this.#remark = sayCode("problem", error.code);
      warn(this.#remark);
      this.render();
    }
  }

  get #isBack() {
    return isUndone(this.#act);
  }

  #words() {
    const { state, points, hint, reward } = this.#act;
    if (this.#isBack) return sayCount(`undo.${state}`, points);
    if (state === "redeemed") {
      return reward ? sayCount("undo.redeemed", points, { what: told(reward) }) : sayCount("undo.used", points);
    }
    if (state === "kept_for_card" && hint) return sayCount("undo.kept", points, { hint });
    return this.#name ? sayCount("undo.credited", points, { name: this.#name }) : sayCount("undo.unnamed", points);
  }

  #count() {
    const seconds = Math.max(0, Math.ceil((this.#until - Date.now()) / 1000));
    this.#seconds.textContent = say("undo.button", { seconds });
  }

  #tick() {
    if (Date.now() >= this.#until) this.#hide();
    else this.#count();
  }

  #hide() {
    clearInterval(this.#timer);
    this.hidden = true;
    this.#name = null;
    this.#text.textContent = "";
  }
}

customElements.define("till-undo", Undo);
