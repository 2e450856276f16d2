// Line icons on a 24-unit grid, drawn in the colour of the text beside them. They repeat a word and never replace one.

import { svg } from "./el.js";

const PATHS = {
  bank_card: "M3 6h18v12H3z M3 10h18 M7 15h4",
  card: "M3 6h18v12H3z M7 10h6 M7 14h3 M17 10v4",
  caution: "M12 4 2.5 20h19z M12 10v5 M12 17.6v.4",
  check: "M4 12.5 9.5 18 20 6.5",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z M12 7.5V12l3 2",
  coupon: "M3 7h18v3.5a1.5 1.5 0 0 0 0 3V17H3v-3.5a1.5 1.5 0 0 0 0-3z M10 10.5v3",
  cup: "M4 9h12v6a4 4 0 0 1-4 4H8a4 4 0 0 1-4-4z M16 10h2.5a2.5 2.5 0 0 1 0 5H16 M8 3v3 M12 3v3",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  gift: "M4 12v8h16v-8 M3 8h18v4H3z M12 8v12 M12 8S8 8 8 5.5 11 3.5 12 8c1-4.5 4-5 4-2.5S12 8 12 8z",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z M3 12h18 M12 3c-5 5-5 13 0 18 M12 3c5 5 5 13 0 18",
  held: "M8 5v14 M16 5v14",
  lock: "M6 11h12v9H6z M8.5 11V8a3.5 3.5 0 0 1 7 0v3 M12 14.5v2",
  offline: "M3 3l18 18 M5 12.5a10 10 0 0 1 4-2.3 M2 9a15 15 0 0 1 5-3 M13 6.2A14.5 14.5 0 0 1 22 9 M16.5 11a10 10 0 0 1 2.5 1.5 M8.5 16a5 5 0 0 1 7 0 M12 19.5v.5",
  people: "M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z M2.5 20c0-4 3-6 6.5-6s6.5 2 6.5 6 M16 5.5a3.2 3.2 0 0 1 0 6 M18 14.5c2.2.8 3.5 2.8 3.5 5.5",
  product: "M4 5v14 M7 5v14 M10 5v14 M12.5 5v14 M16 5v14 M18 5v14 M20.5 5v14",
  refused: "M6 6l12 12 M18 6 6 18",
  scan: "M4 8V5h3 M17 5h3v3 M20 16v3h-3 M7 19H4v-3 M7.5 9v6 M11 9v6 M13.5 9v6 M16.5 9v6",
  say: "M4 5h16v11h-8l-5 4v-4H4z",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z M15.5 15.5 20.5 20.5",
  sending: "M4 11a8 8 0 0 1 14-4l2 2 M20 4v5h-5 M20 13a8 8 0 0 1-14 4l-2-2 M4 20v-5h5",
  star: "M12 3.5l2.6 5.5 6 .8-4.4 4.2 1.1 6L12 17.1 6.7 20l1.1-6L3.4 9.8l6-.8z",
  undo: "M8 5 4 9l4 4 M4 9h10a5 5 0 0 1 0 10h-4",
  wifi: "M2 9a15 15 0 0 1 20 0 M5 12.5a10 10 0 0 1 14 0 M8.5 16a5 5 0 0 1 7 0 M12 19.5v.5",
};

// Returns the icon of that name, hidden from screen readers: the word stands beside it.
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
