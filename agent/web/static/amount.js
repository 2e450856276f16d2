// An amount as people type it, read into whole minor units: 13.50, 13,50, 1 234,56, $13. No DOM, no float.

// The most that an event may carry (sync/contract/events.py); a card number is far beyond it.
const MINOR_MAX = 1_000_000_000;

// Returns {minor}, or {remark} with what is odd: "empty", "unread", "negative", "too_large". `digits` is how many
// decimals the currency has.
export function readAmount(text, digits) {
  const bare = text.replace(/[\s'’]+/g, " ").replace(/[$€£¥]/, "").trim();
  if (bare === "") return { remark: text.trim() === "" ? "empty" : "unread" };
  if (/^[-−–(].*\d/.test(bare)) return { remark: "negative" };
  const [whole, decimals] = split(bare, digits);
  if (whole === null || !/\d/.test(bare) || !/^\d*$/.test(decimals)) return { remark: "unread" };
  const minor = Number(whole + decimals.padEnd(digits, "0"));
  if (minor > MINOR_MAX) return { remark: "too_large" };
  return minor === 0 ? { remark: "negative" } : { minor };
}

// Returns the digits before (null: unreadable) and behind the decimal sign. A point or comma is decimal where it stands
// once and no more digits follow than the currency has; thousands are parted by the other sign, or by spaces. A point
// alone parts no thousands: neither English nor French writes so, and 13.505 is rather a slip.
function split(bare, digits) {
  const at = Math.max(bare.lastIndexOf("."), bare.lastIndexOf(","));
  const sign = bare[at];
  const isDecimal = at >= 0 && bare.indexOf(sign) === at && bare.length - at - 1 <= digits;
  if (!isDecimal) return [ungrouped(bare, ", "), ""];
  return [ungrouped(bare.slice(0, at), sign === "." ? ", " : ". "), bare.slice(at + 1)];
}

// Returns the digits of a whole number, with or without one of these signs between its thousands, or null.
function ungrouped(text, signs) {
  if (/^\d*$/.test(text)) return text;
  const grouped = new RegExp(`^[1-9]\\d{0,2}([${signs}])\\d{3}(\\1\\d{3})*$`);
  return grouped.test(text) ? text.replace(/\D/g, "") : null;
}
