// Playing a few notes on a piano: they are added to the end of the piece.

import { leaveDuet } from "/duet.js";
import { Growing } from "/growing.js";
import { copies, endOf, newPiece } from "/pieces.js";
import { work } from "/work.js";

const PAUSE = 3000; // milliseconds without a key, after which a take is over

export let take = null;
let timer = null;

export function keyDown(pitch, velocity, source) {
  if (!take) begin();
  take.down(pitch, velocity, { source });
  watch();
}

function begin() {
  const { base } = work;
  const from = endOf(base);
  const piece = newPiece({
    name: "Played", notes: copies(base.notes), border: from, until: from,
    offers: base.offers, moves: base.moves,
  });
  work.goOn(piece);
  take = new Growing(piece, { from });
}

export function keyUp(pitch) {
  if (!take) return;
  take.up(pitch);
  watch();
}

function watch() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (take?.isSilent) endTake();
    else if (take) watch();
  }, PAUSE);
}

export function endTake() {
  leaveDuet();
  clearTimeout(timer);
  const played = take;
  take = null; // What is told now finds no take.
  played?.end();
}

for (const event of ["leave", "duet"]) work.on(event, endTake);
