// Colours of the rolls, which the style sheet gives for light and dark.

const SHADES = 16;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function mix(from, to, share) {
  const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [parse(from), parse(to)];
  const mixed = a.map((x, i) => Math.round(x + (b[i] - x) * share));
  return `rgb(${mixed.join(" ")})`;
}

let palette = null;

export function colours() {
  if (palette) return palette;
  const shades = [...Array(SHADES).keys()].map((i) => i / (SHADES - 1));
  const [soft, middle, loud] = ["--soft", "--middle", "--loud"].map(colour);
  palette = {
    made: shades.map((x) => x < 0.5 ? mix(soft, middle, 2 * x)
      : mix(middle, loud, 2 * x - 1)),
    given: shades.map((x) => mix(colour("--given-soft"),
      colour("--given-loud"), x)),
    ground: colour("--roll"),
    black: colour("--roll-black"),
    octave: colour("--roll-octave"),
    prompt: colour("--roll-prompt"),
    quiet: colour("--quiet"),
    text: colour("--text"),
    accent: colour("--accent"),
  };
  return palette;
}

export const shadeOf = (velocity) => Math.floor(velocity / 128 * SHADES);

export function onColours(action) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    palette = null;
    action();
  });
}
