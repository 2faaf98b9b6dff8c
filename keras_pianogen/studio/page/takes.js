// Playing a few notes on a piano: they are added to the end of the piece.

import { endDuet } from "/duet.js";
import { copies, endOf, inMilliseconds, newPiece } from "/pieces.js";
import { showBase } from "/panel.js";
import { audio, release, strike } from "/sound.js";
import { work } from "/work.js";

const PAUSE = 3000; // milliseconds without a key, after which a take is over
const SHORTEST = 0.03; // seconds of a note

export let take = null;
const sounding = new Map(); // pitch → its voice

export function keyDown(pitch, velocity) {
  sounding.set(pitch, strike(pitch, velocity, audio().currentTime));
  const now = performance.now();
  if (!take) begin(now);
  const note = { start: takeTime(now), end: null, pitch, velocity };
  take.open.set(pitch, note);
  take.piece.notes.push(note);
  take.piece.planned = Math.max(4, note.start + 2);
  watch();
  showBase();
}

function begin(now) {
  const { base } = work;
  const start = endOf(base);
  const piece = newPiece({
    name: "Played", notes: copies(base.notes), border: start, until: start,
    offers: base.offers,
  });
  work.goOn(piece);
  take = { piece, offset: start, began: now, open: new Map() };
  grow();
}

// Notes that are held grow while they are held.
function grow() {
  if (!take) return;
  if (take.open.size) {
    takeTime(performance.now());
    showBase();
  }
  requestAnimationFrame(grow);
}

export function keyUp(pitch) {
  const voice = sounding.get(pitch);
  if (voice) release(voice, audio().currentTime);
  sounding.delete(pitch);
  const note = take?.open.get(pitch);
  if (!note) return;
  note.end = Math.max(note.start + SHORTEST, takeTime(performance.now()));
  take.open.delete(pitch);
  watch();
  showBase();
}

function takeTime(now) {
  const time = inMilliseconds(take.offset + (now - take.began) / 1000);
  take.piece.until = Math.max(take.piece.until, time);
  return time;
}

function watch() {
  clearTimeout(take.timer);
  take.timer = setTimeout(() => {
    if (take && !take.open.size) endTake();
    else if (take) watch();
  }, PAUSE);
  work.tell("change");
}

// Nothing is played into the piece any longer: all its notes have an end.
export function endTake() {
  endDuet();
  if (!take) return;
  const now = takeTime(performance.now());
  for (const note of take.open.values()) {
    note.end = Math.max(note.start + SHORTEST, now);
  }
  clearTimeout(take.timer);
  const { piece } = take;
  take = null;
  piece.notes = [...piece.notes]; // Other notes than those kept last.
  piece.until = 0;
  piece.planned = null;
  piece.position = 0;
  showBase();
  work.tell("played");
  work.tell("change");
}

work.on("leave", endTake);
