// A sound for each kind of thing that happens, so that it can be told without a look. Made here; no files.

// Tones one after another: hertz, seconds. Up is good, down is not, two the same ask for somebody.
const TUNES = {
  known: [[784, 0.07], [1047, 0.11]],
  mind: [[784, 0.07], [1047, 0.07], [784, 0.12]],
  unknown_card: [[587, 0.09], [587, 0.09], [880, 0.11]],
  choice: [[698, 0.08], [698, 0.08]],
  other: [[392, 0.16]],
  refused: [[330, 0.11], [233, 0.2]],
  credited: [[1047, 0.06], [1319, 0.06], [1568, 0.14]],
  taken_back: [[1047, 0.08], [698, 0.12]],
  redeemed: [[1047, 0.06], [784, 0.06], [1319, 0.14]],
  given_back: [[698, 0.08], [1047, 0.12]],
  again: [[1047, 0.04]],
  ignored: [[196, 0.09], [196, 0.09]],
  lost: [[523, 0.1], [415, 0.1], [311, 0.16]],
};
const LOUDNESS = 0.12;
// Without a ramp a tone clicks.
const RAMP_S = 0.008;

let context = null;
let isOff = false;

// Makes ready after the first touch of the page, as browsers ask, so that the first sound is not late. Not within the
// touch: it may be the first key of a scan, and making ready takes a tenth of a second on a slow machine.
export function tuneIn() {
  const prepare = () => requestIdleCallback(ready);
  for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, prepare, { once: true, capture: true });
}

// Turns the sounds of this till off or on.
export function tuneOff(off) {
  isOff = off;
}

// Plays the sound of that name; a page that nobody touched yet may not, and does not.
export function sound(name) {
  if (isOff || !TUNES[name] || !ready()) return;
  let at = context.currentTime;
  for (const [hertz, seconds] of TUNES[name]) {
    tone(hertz, at, at + seconds);
    at += seconds + 0.02;
  }
}

function ready() {
  if (!navigator.userActivation.hasBeenActive) return false;
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
  return true;
}

function tone(hertz, from, to) {
  const wave = new OscillatorNode(context, { type: "triangle", frequency: hertz });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, from);
  gain.gain.linearRampToValueAtTime(LOUDNESS, from + RAMP_S);
  gain.gain.setValueAtTime(LOUDNESS, to - RAMP_S);
  gain.gain.linearRampToValueAtTime(0, to);
  wave.connect(gain).connect(context.destination);
  wave.start(from);
  wave.stop(to);
}
