// The function keys, each visible as a button. No chords: an act is one key, and what has a key has a button.

import { el, put } from "./el.js";
import { knows, say } from "./words.js";

export class Keys extends HTMLElement {
  // The acts, set by the page: {key, word, run}; one without a word has its key shown where its part is, one
  // with an address is a link.
  acts = [];

  connectedCallback() {
    document.addEventListener("keydown", (event) => {
      const act = this.acts.find(({ key }) => key === event.key);
      if (!act || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      if (!event.repeat) act.run();
    });
  }

  render() {
    this.setAttribute("aria-label", say("act.label"));
    put(this, this.acts.filter(({ word }) => word).map(button));
  }
}

function button({ key, word, run, address }) {
  const kids = [el("span", {}, say(word)), key && el("kbd", {}, keyName(key))];
  if (address) return el("a", { class: "key", href: address, target: address.slice(1), rel: "noopener" }, kids);
  return el("button", { type: "button", class: "key", onclick: run }, kids);
}

function keyName(key) {
  return knows(`key.${key}`) ? say(`key.${key}`) : key;
}

customElements.define("till-keys", Keys);
