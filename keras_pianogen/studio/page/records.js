// Works as plain records, which a database or a file can keep, and back.
//
// A record is {base, pieces, offers, settings}. Pieces and offers name each
// other by numbers. The notes are apart, a Float64Array of four numbers each,
// because they are large and, once a piece is done, never change.

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
    open.push(piece.parent, piece.next, ...piece.offers.pieces);
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
      parent: id(piece.parent), next: id(piece.next),
      offers: offers.indexOf(piece.offers),
    })),
  };
}

// `notesOf(id)` gives the packed notes of a piece. Returns the base.
export function fromRecord(record, notesOf) {
  const offers = record.offers.map(({ count }) => ({ count, pieces: [] }));
  const pieces = new Map(record.pieces.map((kept) => [kept.id,
    finished(newPiece({ ...kept, notes: unpack(notesOf(kept.id)) }))]));
  for (const kept of record.pieces) {
    const piece = pieces.get(kept.id);
    piece.parent = pieces.get(kept.parent) || null;
    piece.next = pieces.get(kept.next) || null;
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

export function pack(notes) {
  const numbers = new Float64Array(4 * notes.length);
  notes.forEach(({ start, end, pitch, velocity }, i) => {
    numbers[4 * i] = start;
    numbers[4 * i + 1] = end ?? NaN;
    numbers[4 * i + 2] = pitch;
    numbers[4 * i + 3] = velocity;
  });
  return numbers;
}

function unpack(numbers) {
  const notes = [];
  for (let i = 0; i < numbers.length; i += 4) {
    notes.push({
      start: numbers[i], end: numbers[i + 1], pitch: numbers[i + 2],
      velocity: numbers[i + 3],
    });
  }
  return notes;
}
