// The place where points are used: the rewards within reach, or a number of points, each by one key.
//
// What can be used now is the till's word: points that the hub has set aside for it. While the hub is there, the till
// asks it for what is missing; so what the customer has may be tried then, and is greyed while the hub is away.

import { el, put } from "./el.js";
import { icon } from "./icons.js";
import { closable } from "./outbox.js";
import { sound } from "./sounds.js";
import { SessionEnded } from "./till.js";
import { warn } from "./voice.js";
import { number, say, sayCode, sayCount, told } from "./words.js";

// Beyond the first people wonder; beyond the second they want to go on.
const WONDER_MS = 1_000;
const LONG_MS = 10_000;
// More than any customer has.
const FIELD_CHARS_MAX = 7;
const EXAMPLE = 40;
// Why not, where the hub could still say yes.
const FOR_THE_HUB = ["no_allowance", "offline_limit", "reserved_elsewhere"];

export class Redeem extends HTMLElement {
  #head = el("div", {});
  #list = el("ul", { class: "rewards" });
  #label = el("label", { for: "points", class: "title" });
  #field = el("input", {
    id: "points",
    class: "field amount",
    type: "text",
    inputmode: "numeric",
    maxlength: FIELD_CHARS_MAX,
    autocomplete: "off",
    enterkeyhint: "done",
  });
  #button = el("button", { type: "submit", class: "go" });
  #below = el("div", {});
  #view = null;
  #hub = null;
  #isOpen = false;
  // The customers whose points are being used, by their ids: each at most once at a time, whoever is shown meanwhile.
  #asked = new Set();
  // What is said of the last try, as a function, so that it follows the language, and whether it stands by the field.
  #note = null;
  #isBelow = false;

  // Set by the page: the acts on their way, what closes the panel, and what is told where it is closed already.
  asking = null;
  onClose = null;
  onLate = null;

  connectedCallback() {
    const form = el("form", { class: "use-points", autocomplete: "off" }, this.#label, this.#below, this.#field, this.#button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#useTyped();
    });
    this.#field.addEventListener("input", () => this.#remark(null));
    // A key that is held down uses points once.
    this.addEventListener("keydown", (event) => event.repeat && event.key === "Enter" && event.preventDefault());
    this.replaceChildren(this.#head, this.#list, form);
  }

  // Takes a new state. What changes while the panel is open is shown at once.
  update({ view, hub }) {
    this.#view = view.kind === "customer" ? view : null;
    this.#hub = hub;
    this.render();
  }

  open() {
    this.#isOpen = true;
    this.#remark(this.#isAsking ? () => say("redeem.asking") : null, false);
    // The title has the focus first; so has a reader heard where it is.
    requestAnimationFrame(() => this.#isOpen && this.#focusFirst());
  }

  close() {
    this.#isOpen = false;
    this.#field.value = "";
    this.#note = null;
    put(this.#head);
    put(this.#list);
    put(this.#below);
  }

  render() {
    if (!this.#isOpen || !this.#view) return;
    const held = this.contains(document.activeElement) && document.activeElement.dataset.id;
    const note = this.#note && el("p", { class: "note" }, icon(this.#isAsking ? "sending" : "caution"), this.#note());
    put(this.#below, this.#isBelow && note);
    put(
      this.#head,
      closable(say("redeem.title"), this.onClose),
      el("p", { class: "now" }, this.#now()),
      !this.#isBelow && note,
      this.#view.reached_rewards.length === 0 && el("p", { class: "soft" }, say("redeem.none_reached")),
    );
    put(this.#list, this.#sorted().map((reward) => el("li", {}, this.#reward(reward))));
    if (held) this.#row(held)?.focus();
    this.#label.textContent = say("redeem.points");
    const points = this.#typed();
    this.#button.setAttribute("aria-disabled", String(!points || this.#isAsking));
    put(
      this.#button,
      el("span", {}, points ? sayCount("redeem.go", points) : say("act.redeem")),
      el("kbd", {}, say("key.Enter")),
    );
  }

  // Those that can be had now stand first, the dearest of them on top; of the others the nearest does.
  #sorted() {
    const rewards = this.#view.reached_rewards;
    const usable = rewards.filter((reward) => this.#whyNot(reward) === null);
    const others = rewards.filter((reward) => this.#whyNot(reward) !== null);
    return [...usable, ...others.reverse()];
  }

  #reward(reward) {
    const why = this.#whyNot(reward);
    const remark = why ?? (reward.why_not && say("redeem.asked_first"));
    const id = reward.reward_id;
    const props = {
      type: "button",
      class: "choice reward",
      "data-id": id,
      "aria-disabled": why !== null && "true",
      onclick: () => this.#useReward(id),
    };
    const text = el("span", { class: "reward-text" }, told(reward.text));
    return el(
      "button",
      props,
      icon(why === null ? "gift" : "clock"),
      el("span", { class: "reward-what" }, text, remark && el("span", { class: "soft" }, remark)),
      el("span", { class: "row-points" }, sayCount("redeem.cost", reward.points)),
    );
  }

  // Returns what the customer can be told of their points, in one sentence.
  #now() {
    const { balance, spendable, spendable_reason: reason } = this.#view;
    if (spendable === null) return sayCode("redeem.why", reason === "no_allowance" ? "frozen" : reason);
    return offer(spendable, Math.max(0, this.#isHubThere ? balance.pending : balance.shown - spendable));
  }

  get #isHubThere() {
    return this.#hub.is_reachable && !this.#hub.fault;
  }

  // Returns why a reward will hardly be had now, or null where it can be, or where the hub may say yes.
  #whyNot({ points, why_not: why }) {
    if (why === null) return null;
    if (FOR_THE_HUB.includes(why) && points > this.#view.balance.posted) return say("redeem.why.pending");
    return FOR_THE_HUB.includes(why) && this.#isHubThere ? null : sayCode("redeem.why", why);
  }

  // What is greyed is asked for too where somebody insists: the till knows best, and says what it can do instead.
  #useReward(id) {
    const reward = this.#view.reached_rewards.find((one) => one.reward_id === id);
    return this.#use({ reward_id: id }, reward.points);
  }

  #useTyped() {
    const points = this.#typed();
    if (points) return this.#use({ points }, points);
    return this.#refuse(() => say("redeem.unread", { example: number(EXAMPLE) }), this.#field);
  }

  // Returns the number that is typed, or null.
  #typed() {
    const text = this.#field.value.replace(/[\s\u00a0\u202f]/g, "");
    return /^\d+$/.test(text) && Number(text) > 0 ? Number(text) : null;
  }

  get #isAsking() {
    return this.#asked.has(this.#view?.customer_id);
  }

  async #use(asked, points) {
    const { customer_id: customerId, name } = this.#view;
    if (this.#isAsking) return null;
    this.#asked.add(customerId);
    this.#remark(null, "points" in asked);
    const isHere = () => this.#isOpen && this.#view?.customer_id === customerId;
    const wonder = (ms, key) => setTimeout(() => isHere() && this.#remark(() => say(key)), ms);
    const timers = [wonder(WONDER_MS, "redeem.asking"), wonder(LONG_MS, "redeem.unconfirmed")];
    let refused = null;
    try {
      const amount = sayCount("redeem.cost", points);
      await this.asking.redemption({ customer_id: customerId, ...asked }, { amount, name });
    } catch (error) {
      refused = error;
    }
    timers.forEach(clearTimeout);
    this.#asked.delete(customerId);
    if (refused === null) return isHere() ? this.onClose() : null;
    if (refused instanceof SessionEnded) return null;
    const words = () => refusal(refused.said);
    if (isHere()) return this.#refuse(words, this.#offered(refused.said.spendable, "points" in asked));
    this.onLate(words());
    sound("refused");
    return warn(words());
  }

  // Returns what to press next: the dearest reward that can be had, or that many points.
  #offered(spendable, isPoints) {
    if (!(spendable > 0)) return null;
    const reward = !isPoints && this.#sorted().find(({ points }) => points <= spendable);
    if (reward) return this.#row(reward.reward_id);
    this.#field.value = String(spendable);
    return this.#button;
  }

  #row(id) {
    return this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  #refuse(words, next) {
    this.#remark(words, [this.#button, this.#field].includes(next));
    sound("refused");
    warn(words());
    next?.focus();
  }

  #remark(words, isBelow = this.#isBelow) {
    this.#note = words;
    this.#isBelow = isBelow;
    this.render();
  }

  #focusFirst() {
    (this.#list.querySelector("button:not([aria-disabled])") ?? this.#field).focus();
  }
}

// Returns why the till did not do it, and what it can do instead.
function refusal({ code, reason, spendable, waiting }) {
  if (code !== "not_spendable") return sayCode("problem", code);
  return `${sayCode("redeem.why", reason)} ${offer(spendable, waiting)}`;
}

function offer(spendable, waiting) {
  if (waiting === 0) return sayCount("redeem.now", spendable);
  return sayCount(spendable > 0 ? "redeem.waiting" : "redeem.waiting_all", waiting, { spendable: number(spendable) });
}

customElements.define("till-redeem", Redeem);
