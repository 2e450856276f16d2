// Words and figures in the language of the staff, which can change at any moment. The texts are the agent's own.

const LOCALES = { en: "en-CA", fr: "fr-CA" };
const MINUTE_S = 60;
const HOUR_S = 3600;
const DAY_S = 86400;
// Beyond this a date says more than "ago".
const DAYS_AGO_MAX = 13;
// ISO 4217, which sales are counted by: the currencies whose minor unit is no hundredth, by their decimals. The browser
// knows how many decimals people write, and those are fewer for LBP or RSD: by them a sale would count a hundredth.
const MINOR_DIGITS = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};

const catalogues = {};
let language = "en";

// Loads the texts of every language, so that a switch asks nothing of the till; false where it does not answer. `part`
// names a part of the page whose texts come with it.
export async function loadWords(part) {
  const load = async (code) => {
    const answer = await fetch(`/texts/${part ? `${code}-${part}` : code}.json`);
    if (!answer.ok) throw new Error(code);
    const words = await answer.json();
    catalogues[code] = { ...catalogues[code], ...words };
  };
  try {
    await Promise.all(Object.keys(LOCALES).map(load));
    return true;
  } catch {
    return false;
  }
}

export function languages() {
  return Object.keys(LOCALES);
}

export function speaks() {
  return language;
}

export function speak(code) {
  language = code;
  document.documentElement.lang = code;
  document.documentElement.dir = say("page.dir");
  document.title = say("page.title");
}

export function knows(key) {
  return Object.hasOwn(catalogues[language], key);
}

// Returns the text of a key with its {placeholders} filled.
export function say(key, values = {}) {
  return catalogues[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Returns the text for that many things, by the plural rule of the language.
export function sayCount(key, count, values = {}) {
  const form = new Intl.PluralRules(LOCALES[language]).select(count);
  const chosen = knows(`${key}.${form}`) ? form : "other";
  return say(`${key}.${chosen}`, { count: number(count), ...values });
}

// Returns the text of `family.code`, or of the family's fallback, which names the code.
export function sayCode(family, code) {
  return knows(`${family}.${code}`) ? say(`${family}.${code}`) : say(`${family}.other`, { code });
}

// Returns a sentence of the chain's own, which stands in both languages.
export function told(wording) {
  return wording[language];
}

export function number(value) {
  return new Intl.NumberFormat(LOCALES[language]).format(value);
}

// Returns how many decimals a currency has: 2 for CAD, 0 for JPY.
export function minorDigits(currency) {
  const digits = Object.keys(MINOR_DIGITS).find((each) => MINOR_DIGITS[each].includes(currency));
  return Number(digits ?? 2);
}

// Returns an amount of minor units: $13.50, 13,50 $.
export function money(minor, currency) {
  const digits = minorDigits(currency);
  return new Intl.NumberFormat(LOCALES[language], {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(minor / 10 ** digits);
}

// Returns "+ 15" or "− 9".
export function signed(value) {
  return `${value < 0 ? "−" : "+"}\u00a0${number(Math.abs(value))}`;
}

// Returns the time of day, 24 hours: 09:40, 09 h 40.
export function timeOfDay(moment) {
  return format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" }, new Date(moment));
}

// Returns the date of a moment, or of a bare day such as "2026-03-09"; the year only where it is another one.
export function dateOf(moment) {
  const date = asDate(moment);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return format({ day: "numeric", month: "short", year }, date);
}

// Returns the time alone for today, and the date with it for any other day.
export function moment(at) {
  return isToday(at) ? timeOfDay(at) : `${dateOf(at)}, ${timeOfDay(at)}`;
}

export function isToday(at) {
  return daysAgo(at) === 0;
}

// Returns "today", "yesterday", "3 days ago", or null where a date says more.
export function recently(day) {
  const days = daysAgo(day);
  if (days < 0 || days > DAYS_AGO_MAX) return null;
  return new Intl.RelativeTimeFormat(LOCALES[language], { numeric: "auto" }).format(-days, "day");
}

// Returns how long ago something was: "12 min", "12 minutes".
export function age(since, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(since)) / 1000);
  if (seconds < MINUTE_S) return say("age.under_a_minute");
  if (seconds < 2 * HOUR_S) return quantity(Math.floor(seconds / MINUTE_S), "minute");
  if (seconds < 2 * DAY_S) return quantity(Math.floor(seconds / HOUR_S), "hour");
  return quantity(Math.floor(seconds / DAY_S), "day");
}

function quantity(value, unit) {
  const unitDisplay = language === "en" && unit === "minute" ? "short" : "long";
  return new Intl.NumberFormat(LOCALES[language], { style: "unit", unit, unitDisplay }).format(value);
}

function format(options, date) {
  return new Intl.DateTimeFormat(LOCALES[language], options).format(date);
}

// A bare day is a day of the shop's own calendar: read as UTC it would be yesterday in Montréal.
function asDate(moment) {
  return /^\d{4}-\d{2}-\d{2}$/.test(moment) ? new Date(`${moment}T00:00:00`) : new Date(moment);
}

function daysAgo(moment) {
  const midnight = (date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight(new Date()) - midnight(asDate(moment))) / (DAY_S * 1000));
}
