// The tones of the piano, which the server describes. Until they are there,
// `sound.js` makes do.
//
// Whatever makes tones takes the piano, an `order`, a list of {tone, hard}, and a
// function that gets each as {pitch, hard, channels}.

import { computeTones } from "/computing.js";
import { $ } from "/saying.js";
import { ask } from "/server.js";
import { load } from "/sound.js";

const RETRY = 3000; // milliseconds

export async function prepare() {
  let piano;
  try {
    piano = await (await ask("/tones")).json();
  } catch { // The page says elsewhere that the server doesn't answer.
    setTimeout(prepare, RETRY);
    return;
  }
  $("piano").textContent = `Sounds as ${piano.name}`;
  await load(piano, piano.step ? fetchTones : computeTones("/tone_worker.js"));
}

// Those of a SoundFont, which the server plays. What it can't play is left out.
export async function fetchTones({ step }, order, keep) {
  for (const { tone: { pitch }, hard } of order) {
    try {
      const answer = await ask("/tone", { json: { pitch, hard: Boolean(hard) } });
      const steps = new Int16Array(await answer.arrayBuffer());
      keep({ pitch, hard, channels: [0, 1].map((side) => oneSide(steps, side, step)) });
    } catch { /* The next best sounds instead. */ }
  }
}

function oneSide(steps, side, step) {
  const samples = new Float32Array(steps.length / 2);
  for (let i = 0; i < samples.length; i++) samples[i] = step * steps[2 * i + side];
  return samples;
}
