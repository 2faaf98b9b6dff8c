// The panel of the piece that is worked on.

import { spansOf } from "/pedal.js";
import { endOf } from "/pieces.js";
import { Roll } from "/roll.js";
import { $, counted } from "/saying.js";
import { server } from "/server_state.js";
import { player, showTransport, views } from "/transport.js";
import { work } from "/work.js";

export const roll = new Roll($("piece-roll"), "Your piece, position",
  { whole: true });
const view = {
  move() {
    roll.move();
    showTransport($("piece-play"), $("piece-time"), work.base, "your piece");
  },
};

export function showBase() {
  const { base } = work;
  const { notes } = base;
  $("hint").hidden = notes.length > 0;
  const presses = spansOf(base.moves).length;
  $("piece-about").textContent = notes.length
    ? `${base.name}: ${counted(notes.length, "note")}, ${endOf(base).toFixed(1)} s`
      + (presses ? `, pedal pressed ${counted(presses, "time")}` : "") : "";
  $("undo").disabled = !work.canUndo;
  $("redo").disabled = !base.next;
  for (const id of ["to-cursor", "clear", "piece-midi"]) {
    $(id).disabled = !notes.length;
  }
  showWav($("piece-wav"), base);
  roll.show(base);
  view.move();
}

export function showWav(button, piece) {
  const most = server.status.max_wav_seconds;
  const long = endOf(piece) > most;
  button.disabled = long || !piece.done || !piece.notes.length;
  button.textContent = long ? `WAV: ${most / 60} minutes at most` : "WAV";
}

work.on("change", () => { $("undo").disabled = !work.canUndo; });
work.on("leave", () => {
  if (player.piece === work.base) player.pause();
  views.delete(work.base);
});
work.on("piece", () => {
  views.set(work.base, view);
  showBase();
});
