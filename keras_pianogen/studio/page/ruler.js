// The ruler of a roll, in minutes and seconds.

import { colours } from "/colours.js";

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];
const APART = 64; // pixels from one label to the next, at least

export function paintRuler(roll, width, height) {
  const { brush } = roll;
  const step = STEPS.find((x) => x * roll.perSecond >= APART) || 3600;
  brush.fillStyle = colours().black;
  brush.fillRect(0, 0, width, height);
  brush.fillStyle = colours().quiet;
  brush.font = "11px system-ui, sans-serif";
  // Counted in whole steps, so that no error of a sum is shown.
  for (let i = Math.ceil(roll.begin / step - 1e-6); i * step <= roll.end; i++) {
    const x = Math.round(roll.x(i * step));
    brush.fillRect(x, height - 6, 1, 6);
    brush.fillText(label(i * step, step), x + 4, height - 6);
  }
}

function label(time, step) {
  const minutes = Math.floor(time / 60 + 1e-9);
  const seconds = Math.max(0, time - 60 * minutes);
  const digits = step < 1 ? 1 : 0;
  return `${minutes}:${seconds.toFixed(digits).padStart(digits ? 4 : 2, "0")}`;
}
