// Plays pieces, and shows for each whether it plays, and where.

import { clockTime, endOf, keyUp, visible } from "/pieces.js";
import { Player } from "/player.js";
import { say } from "/saying.js";
import { audio } from "/sound.js";
import { work } from "/work.js";

const PATIENCE = 2000; // milliseconds until the audio's clock must run

// piece → its view, an object with `move()`, which shows the position.
export const views = new Map();

const listeners = [];

// Call a function with the pitches that sound, at each frame while a piece
// plays, and with none of them when it ends.
export const whileSounding = (listener) => listeners.push(listener);

export const tellSounding = (pitches) =>
  listeners.forEach((listener) => listener(pitches));

export const player = new Player((piece) => {
  views.get(piece)?.move();
  tellSounding(player.playing ? sounding(piece) : []);
}, startOf);

function sounding({ notes, position }) {
  const [first, last] = visible(notes, position, position);
  return notes.slice(first, last)
    .filter((note) => note.end === null || keyUp(note) > position)
    .map(({ pitch }) => pitch);
}

// One tab plays at a time.
const tabs = new BroadcastChannel("studio plays");
tabs.onmessage = () => player.pause();
player.onPlay = () => {
  tabs.postMessage("plays");
  setTimeout(tellSilence, PATIENCE);
};

// Without a loudspeaker, the clock of some browsers stands still.
function tellSilence() {
  if (!player.playing || audio().state === "running") return;
  say("The browser plays no sound. Is a loudspeaker or a headphone connected?");
}

// Where a piece is played from: a candidate, near the end of its prompt.
function startOf(piece) {
  return piece === work.base ? 0 : piece.viewStart || 0;
}

export const plays = (piece) => player.playing && player.piece === piece;

export function showTransport(button, output, piece, name) {
  const on = plays(piece);
  if (button.classList.toggle("on", on) !== (button.dataset.on === "1")
    || !button.ariaLabel) {
    button.dataset.on = on ? "1" : "0";
    button.ariaLabel = `${on ? "Pause" : "Play"} ${name}`;
  }
  button.disabled = !piece.notes.length;
  const text = `${clockTime(piece.position || 0)} / ${clockTime(endOf(piece))}`;
  if (output.textContent !== text) output.textContent = text;
}

export function seek(piece, time) {
  const on = plays(piece);
  if (on) player.pause();
  piece.position = time;
  if (on) player.play(piece, time);
  views.get(piece)?.move();
}

// From one piece to another, playing keeps its place, so that they compare.
export function toggle(piece) {
  const on = plays(piece);
  const before = player.playing && !on ? player.piece : null;
  if (player.playing) player.pause();
  if (on || !piece.notes.length) return;
  if (before && before.position >= startOf(piece)
    && before.position < endOf(piece)) piece.position = before.position;
  const atEnd = piece.done && piece.position > endOf(piece) - 0.05;
  player.play(piece, atEnd ? startOf(piece) : piece.position);
  views.get(piece)?.move();
}
