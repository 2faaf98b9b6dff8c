// Works as plain records, which a database or a file can keep, and back.
//
// A record is {base, pieces, offers, settings}. Pieces and offers name each
// other by numbers. Notes and moves are apart, because they are large and, once a
// piece is done, never change: {notes, ups, moves}, arrays of four numbers a note,
// of one a note, NaN for none, and of three a movement. Works that were kept earlier
// have the first array alone.

import { inMilliseconds, newPiece } from "/pieces.js";

const KEPT = ["id", "name", "border", "handle", "until", "position", "done", "made",
  "file", "batch", "viewStart", "viewEnd", "gap", "stopped",
  "starred", "length"];

// All pieces that can be reached from one.
export function reachable(base) {
  const found = new Set();
  const open = [base];
  while (open.length) {
    const piece = open.pop();
    if (!piece || found.has(piece)) continue;
    found.add(piece);
    open.push(piece.parent, piece.next, piece.from, ...piece.offers.pieces);
  }
  return [...found];
}

export function toRecord(base, settings) {
  const pieces = reachable(base);
  const offers = [...new Set(pieces.map((piece) => piece.offers))];
  const id = (piece) => piece?.id ?? null;
  return {
    base: base.id, settings,
    offers: offers.map(({ count, pieces: list }) =>
      ({ count, pieces: list.map(id) })),
    pieces: pieces.map((piece) => ({
      ...Object.fromEntries(KEPT.map((name) => [name, piece[name]])),
      parent: id(piece.parent), next: id(piece.next), from: id(piece.from),
      offers: offers.indexOf(piece.offers),
    })),
  };
}

// `notesOf(id)` gives what was packed of a piece. Returns the base.
export function fromRecord(record, notesOf) {
  const offers = record.offers.map(({ count }) => ({ count, pieces: [] }));
  const pieces = new Map(record.pieces.map((kept) => [kept.id,
    finished(newPiece({ ...kept, ...unpack(notesOf(kept.id)) }))]));
  for (const kept of record.pieces) {
    const piece = pieces.get(kept.id);
    piece.parent = pieces.get(kept.parent) || null;
    piece.next = pieces.get(kept.next) || null;
    piece.from = pieces.get(kept.from) || (kept.made ? piece.parent : null);
    piece.offers = offers[kept.offers];
  }
  record.offers.forEach(({ pieces: list }, i) => {
    offers[i].pieces = list.map((id) => pieces.get(id)).filter(Boolean);
  });
  return pieces.get(record.base);
}

// What was still growing when it was kept grows no more.
function finished(piece) {
  for (const note of piece.notes) {
    if (Number.isNaN(note.end)) {
      note.end = Math.max(note.start + 0.03, piece.until);
    }
  }
  if (!piece.done && !piece.gap) {
    piece.length = inMilliseconds(piece.until - piece.border);
    piece.made.settings.seconds = piece.length;
  }
  piece.stopped ||= !piece.done;
  piece.done = true;
  if (!piece.made) piece.until = 0;
  return piece;
}

export function pack({ notes, moves }) {
  const numbers = new Float64Array(4 * notes.length);
  notes.forEach(({ start, end, pitch, velocity }, i) => {
    numbers.set([start, end ?? NaN, pitch, velocity], 4 * i);
  });
  if (!moves) return { notes: numbers };
  return {
    notes: numbers, ups: Float64Array.from(notes, ({ up }) => up ?? NaN),
    moves: Float64Array.from(moves.flat()),
  };
}

function unpack(packed) {
  const { notes: numbers, ups, moves } = packed.notes ? packed : { notes: packed };
  const notes = [];
  for (let i = 0; i < numbers.length / 4; i++) {
    const [start, end, pitch, velocity] = numbers.slice(4 * i, 4 * i + 4);
    const note = { start, end, pitch, velocity };
    if (ups && !Number.isNaN(ups[i])) note.up = ups[i];
    notes.push(note);
  }
  return { notes, moves: moves ? triples(moves) : null };
}

function triples(numbers) {
  return Array.from({ length: numbers.length / 3 },
    (_, i) => Array.from(numbers.slice(3 * i, 3 * i + 3)));
}
