// Fetches the piano from the server. Until it is there, `sound.js` makes do.

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
  load(piano, new Worker("/tone_worker.js", { type: "module" }));
}
