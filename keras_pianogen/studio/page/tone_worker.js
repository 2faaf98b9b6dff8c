// Computes tones beside the page, in the order given, and sends each.

import { computeTone } from "/tone.js";

onmessage = ({ data: { rate, order } }) => {
  for (const { tone, hard } of order) {
    const channels = computeTone(tone, hard, rate);
    postMessage({ pitch: tone.pitch, hard, channels },
      channels.map(({ buffer }) => buffer));
  }
};
