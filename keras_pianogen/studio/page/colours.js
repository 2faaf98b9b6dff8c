// Colours of the rolls, which the style sheet gives for light and dark.

const SHADES = 16;
const RUNG = 0.62; // towards the ground: a note whose key is up, and its pedal down

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function mix(from, to, share) {
  const parse = (text) => text.startsWith("#")
    ? [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16))
    : text.match(/\d+/g).map(Number);
  const [a, b] = [parse(from), parse(to)];
  const mixed = a.map((x, i) => Math.round(x + (b[i] - x) * share));
  return `rgb(${mixed.join(" ")})`;
}

let palette = null;

export function colours() {
  if (palette) return palette;
  const shades = [...Array(SHADES).keys()].map((i) => i / (SHADES - 1));
  const [soft, middle, loud] = ["--soft", "--middle", "--loud"].map(colour);
  const ground = colour("--roll");
  const faint = (list) => list.map((x) => mix(x, ground, RUNG));
  palette = {
    made: shades.map((x) => x < 0.5 ? mix(soft, middle, 2 * x)
      : mix(middle, loud, 2 * x - 1)),
    given: shades.map((x) => mix(colour("--given-soft"),
      colour("--given-loud"), x)),
    ground,
    black: colour("--roll-black"),
    octave: colour("--roll-octave"),
    prompt: colour("--roll-prompt"),
    quiet: colour("--quiet"),
    text: colour("--text"),
    accent: colour("--accent"),
    pedal: colour("--quiet"),
  };
  palette.rung = { made: faint(palette.made), given: faint(palette.given) };
  return palette;
}

export const shadeOf = (velocity) => Math.floor(velocity / 128 * SHADES);

export function onColours(action) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    palette = null;
    action();
  });
}
