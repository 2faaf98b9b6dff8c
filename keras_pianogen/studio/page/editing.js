// Editing: notes are moved, stretched, added, deleted, and struck otherwise.
//
// Each gesture is one step that can be undone. Times in seconds.

import { roll } from "/panel.js";
import { copies, cutOverlaps, handleIn, inMilliseconds, newPiece, visible }
  from "/pieces.js";
import { audio, release, strike } from "/sound.js";
import { endTake } from "/takes.js";
import { work } from "/work.js";

const EDGE = 7; // pixels at a note's end, where it is stretched
const NEAR = 3; // pixels beside a note that still hit it
const SHORTEST = 0.03;
const NEW = 0.25; // length of a note that is added
const HEARD = 0.25; // how long a note is heard that was touched
const SAME = 1000; // milliseconds: the same key again is the same step

let chosen = []; // indexes of notes of the piece
let last = { kind: null, at: 0 }; // the latest step
let gestures = 0;

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

export const chosenNotes = () => chosen.map((i) => work.base.notes[i]);

export function choose(indexes) {
  chosen = indexes;
  roll.chosen = new Set(chosenNotes());
  work.tell("chosen");
  roll.draw();
}

// The note after or before the chosen one, or nearest to the cursor.
export function chooseNext(step) {
  const { notes, position } = work.base;
  if (!notes.length) return;
  const next = chosen.length ? chosen.at(-1) + step
    : Math.max(0, notes.findIndex(({ start }) => start >= position));
  choose([clamp(next, 0, notes.length - 1)]);
  hear(chosenNotes()[0]);
}

function hear({ pitch, velocity }) {
  const now = audio().currentTime;
  release(strike(pitch, velocity, now), now + HEARD);
}

// Put notes in the place of others, by their indexes; null deletes. Steps of
// the same kind in a row are one. `origin` has the notes that are counted.
function put(origin, changed, kind, added = []) {
  const fresh = new Set([...changed.values(), ...added].filter(Boolean));
  const kept = origin.map((note, i) => changed.has(i) ? changed.get(i) : note);
  const notes = cutOverlaps([...kept.filter(Boolean), ...added], fresh);
  const now = performance.now();
  const isSame = last.piece === work.base && last.kind === kind
    && now - last.at < SAME;
  if (isSame) work.base.notes = notes;
  else work.goOn(edited(notes));
  last = { kind, at: now, piece: work.base };
  choose(notes.flatMap((note, i) => fresh.has(note) ? [i] : []));
  if (!isSame) return; // A new piece has told this already.
  work.tell("edited");
  work.tell("change");
}

function edited(notes) {
  const { base } = work;
  return newPiece({
    name: "Edited", notes, border: base.border,
    handle: handleIn(notes, base.handle),
    position: base.position, offers: base.offers, moves: base.moves,
  });
}

// Change the chosen notes, each by a function that gives its new fields.
export function change(kind, fieldsOf) {
  if (!chosen.length) return;
  endTake();
  const origin = copies(work.base.notes);
  const pairs = chosen.map((i) => [i, changedNote(origin[i], fieldsOf(origin[i]))]);
  put(origin, new Map(pairs), kind);
}

// What is moved or stretched goes by no pedal any longer.
function changedNote(note, fields) {
  const { start, end, pitch, velocity } = { ...note, ...fields };
  const begin = inMilliseconds(Math.max(0, start));
  const changed = {
    start: begin, end: inMilliseconds(Math.max(begin + SHORTEST, end)),
    pitch: clamp(Math.round(pitch), 0, 127),
    velocity: clamp(Math.round(velocity), 1, 127),
  };
  const isInPlace = ["start", "end", "pitch"].every((x) => changed[x] === note[x]);
  return isInPlace && note.up !== undefined ? { ...changed, up: note.up } : changed;
}

export const moved = (time, semitones) => ({ start, end, pitch }) => {
  const by = Math.max(time, -start);
  return { start: start + by, end: end + by, pitch: pitch + semitones };
};

export function deleteChosen() {
  if (!chosen.length) return false;
  endTake();
  const gone = new Map(chosen.map((i) => [i, null]));
  put(copies(work.base.notes), gone, "delete");
  return true;
}

export function addAt(start, pitch, velocity = 80) {
  endTake();
  const note = changedNote({ start, end: start + NEW, pitch, velocity }, {});
  hear(note);
  put(copies(work.base.notes), new Map(), `add ${gestures}`, [note]);
}

// === By pointer ===

let gesture = null;

function noteAt({ time, pitch }) {
  const { notes } = work.base;
  const near = NEAR / roll.perSecond;
  const [first, end] = visible(notes, time - near, time + near);
  for (let i = end - 1; i >= first; i--) {
    const note = notes[i];
    if (note.pitch === pitch && note.end >= time - near) return i;
  }
  return -1;
}

// The tool: on a note it moves or, at its end, stretches it; elsewhere it adds
// one. Ctrl chooses several.
export const tool = {
  down(place, event) {
    endTake();
    gestures += 1;
    roll.heldRange = roll.range();
    const hit = noteAt(place);
    if (hit < 0) add(place);
    else grip(hit, place, event);
  },
  move(place) {
    if (!gesture) return;
    const { origin, from, isStretched } = gesture;
    const time = place.time - from.time;
    const by = isStretched ? ({ end }) => ({ end: end + time })
      : moved(time, place.pitch - from.pitch);
    const pairs = gesture.chosen.map((i) => [i, changedNote(origin[i], by(origin[i]))]);
    last.at = performance.now(); // One gesture is one step, however slow.
    put(origin, new Map(pairs), `drag ${gestures}`);
  },
  up() {
    gesture = null;
    roll.heldRange = null;
    roll.draw();
  },
};

function grip(hit, place, event) {
  if (event.ctrlKey || event.metaKey) {
    choose(chosen.includes(hit) ? chosen.filter((i) => i !== hit) : [...chosen, hit]);
  } else if (!chosen.includes(hit)) choose([hit]);
  const note = work.base.notes[hit];
  hear(note);
  const left = (note.end - place.time) * roll.perSecond;
  const long = (note.end - note.start) * roll.perSecond;
  gesture = {
    origin: copies(work.base.notes), chosen, from: place,
    isStretched: left < Math.min(EDGE, long / 3),
  };
}

// What is added is stretched by the same gesture.
function add({ time, pitch }) {
  const position = Math.max(0, time);
  addAt(position, clamp(pitch, 0, 127));
  const { notes } = work.base;
  gesture = {
    origin: notes, chosen, isStretched: true,
    from: { time: position + NEW, pitch },
  };
  last.kind = `drag ${gestures}`;
}

work.on("piece", () => choose([]));
