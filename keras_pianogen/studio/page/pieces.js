// Pieces and their notes. Times in seconds.
//
// A note is {start, end, pitch, velocity}, its end null while it sounds, and has
// `up` if it's of a file with a pedal, see `pedal.js`. Notes never change once
// they have an end: an edit makes new ones. A piece is {id, parent, next, from, name, notes, border, gap, handle, until, position, done,
// made, offers, file, moves, reverts}: `parent` is what undo goes back to, `from` what a
// candidate was written for, `border` is where its newest music begins, `gap` the
// part {start, end} that was written anew, `handle` where a
// continuation is to begin, or null for its end, `until` the time up to which
// a piece that grows is known, `planned` the time up to which its roll has room,
// null once it grows no more, `offers` the candidates that may follow it, and
// `reverts` the functions that undo calls before it leaves the piece. Pieces
// that come from each other without new candidates share their offers, so that
// these stay in sight.

let count = 0;

export function newPiece(fields) {
  count = Math.max(count + 1, fields.id || 0);
  return {
    id: count, parent: null, next: null, from: null, name: "", notes: [], border: 0,
    handle: null, until: 0, position: 0, done: true, made: null, offers: newOffers(),
    file: null, moves: null, reverts: [], ...fields,
  };
}

export const newOffers = () => ({ pieces: [], count: 0 });

// Whether it is being played or written: some of its notes may have no end yet.
export const isGrowing = ({ planned }) => Boolean(planned);

export const rows = (notes) =>
  notes.map((n) => [n.start, n.end, n.pitch, n.velocity]);

export const toNote = ([start, end, pitch, velocity]) =>
  ({ start, end, pitch, velocity });

// Milliseconds are what MIDI files keep: a piece that is no file as it was read
// has no others, so that its download is just what a model continues. Halves are
// rounded to even numbers, as NumPy does where it writes files.
export function inMilliseconds(seconds) {
  const exact = 1000 * seconds;
  const isHalf = exact % 1 === 0.5;
  return (isHalf ? 2 * Math.round(exact / 2) : Math.round(exact)) / 1000;
}

const TIMES = ["start", "end", "up"];

// Notes whose times are in milliseconds already stay the same.
export const copies = (notes) => notes.map((note) => {
  if (TIMES.every((x) => !note[x] || inMilliseconds(note[x]) === note[x])) return note;
  const copy = { ...note };
  for (const x of TIMES) if (copy[x]) copy[x] = inMilliseconds(copy[x]);
  return copy;
});

// When the key of a note goes up; null while it sounds.
export const keyUp = ({ end, up }) =>
  (up === undefined || end === null ? end : Math.min(up, end));

export const endOf = (piece) =>
  Math.max(piece.until || 0, indexOf(piece.notes).end);

// Notes in order, and none that sounds while its key is struck again. Of two at
// the same place one of the `fresh` notes stays; the others are never changed.
export function cutOverlaps(notes, fresh) {
  const latest = new Map(); // pitch → place of its latest note
  const kept = [];
  const sorted = notes.toSorted((a, b) => a.start - b.start || a.pitch - b.pitch);
  for (const note of sorted) {
    const place = latest.get(note.pitch);
    const before = kept[place];
    if (before?.start === note.start) {
      if (fresh.has(note)) kept[place] = note;
      continue;
    }
    if (before && before.end > note.start) {
      if (fresh.has(before)) before.end = note.start;
      else kept[place] = { ...before, end: note.start };
    }
    latest.set(note.pitch, kept.length);
    kept.push(note);
  }
  return kept;
}

// === Where notes are ===

const indexes = new WeakMap();

// Of notes in the order of their starts: the lowest and the highest pitch, when
// all have ended, and for each note `reach`, the latest end so far. Notes that are
// added later, or end later, are looked at then; `settled` is what stays.
export function indexOf(notes) {
  let index = indexes.get(notes);
  if (index?.count === notes.length && index.settled.count === index.count) return index;
  if (!index) {
    index = {
      reach: new Float64Array(notes.length),
      settled: { count: 0, low: 127, high: 0, end: 0, reach: 0 },
    };
    indexes.set(notes, index);
  }
  if (index.reach.length < notes.length) {
    const { reach } = index;
    index.reach = new Float64Array(2 * notes.length);
    index.reach.set(reach);
  }
  update(index, notes);
  return index;
}

function update(index, notes) {
  const now = { ...index.settled };
  let settled = null;
  for (let i = now.count; i < notes.length; i++) {
    const { start, end, pitch } = notes[i];
    if (end === null) settled ??= { ...now };
    now.low = Math.min(now.low, pitch);
    now.high = Math.max(now.high, pitch);
    now.end = Math.max(now.end, end ?? start);
    now.reach = Math.max(now.reach, end ?? Infinity);
    now.count = i + 1;
    index.reach[i] = now.reach;
  }
  index.settled = settled ?? now;
  const { low, high, end, count } = now;
  Object.assign(index, { low, high, end, count });
}

// The first index in 0 … `length` for which `isLate(index)` holds.
function bisect(length, isLate) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isLate(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

// The number of notes that begin before a time.
export const countBefore = (notes, time) =>
  bisect(notes.length, (i) => notes[i].start >= time);

// Notes from the first index up to the second may sound between two times.
export function visible(notes, begin, end) {
  const { reach } = indexOf(notes);
  return [bisect(notes.length, (i) => reach[i] >= begin), countBefore(notes, end)];
}

// Where the server begins new music if nothing else is said.
const AFTER_LAST_NOTE = 0.5;

export function handleOf(piece) {
  const last = piece.notes.at(-1)?.start ?? 0;
  return piece.handle ?? Math.min(last + AFTER_LAST_NOTE, endOf(piece));
}

// A handle among notes of which some are gone: null, the end, if it's behind them.
export const handleIn = (notes, handle) =>
  handle !== null && handle < indexOf(notes).end ? handle : null;

export const newNotes = ({ notes, border, gap }) => notes.filter(({ start }) =>
  start >= border - 1e-6 && (!gap || start < gap.end));

const HEARD = 30; // seconds of a prompt whose notes are counted
const LEAST = 4; // seconds of new music, or of a prompt, that can be judged

// Whether new music has fewer than a third of its prompt's notes a second.
export function isNearlyEmpty({ notes, border, gap, done, length }) {
  const heard = Math.min(HEARD, border);
  if (!done || gap || heard < LEAST || !(length >= LEAST)) return false;
  const given = countBefore(notes, border);
  const before = given - countBefore(notes, border - heard);
  return (notes.length - given) / length < before / heard / 3;
}

// Named by what is in it, so that no two pieces, of whatever tab, share a name.
export function fileName(piece) {
  if (piece.file) return piece.file;
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of JSON.stringify(rows(piece.notes))) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  }
  return `piece-${(hash >>> 0).toString(16).padStart(8, "0")}.mid`;
}

export function clockTime(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
