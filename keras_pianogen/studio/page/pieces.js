// Pieces and their notes. Times in seconds.
//
// A note is {start, end, pitch, velocity}, its end null while it sounds. Notes
// never change once they have an end: an edit makes new ones. A piece is
// {id, parent, next, name, notes, border, until, position, done, made, offers,
// file}: `border` is where its newest music begins, `until` the time up to
// which a piece that grows is known, and `offers` the candidates that may
// follow it. Pieces that come from each other without new candidates share
// their offers, so that these stay in sight.

let count = 0;

export function newPiece(fields) {
  count = Math.max(count + 1, fields.id || 0);
  return {
    id: count, parent: null, next: null, name: "", notes: [], border: 0,
    until: 0, position: 0, done: true, made: null, offers: newOffers(),
    file: null, ...fields,
  };
}

export const newOffers = () => ({ pieces: [], count: 0 });

export const rows = (notes) =>
  notes.map((n) => [n.start, n.end, n.pitch, n.velocity]);

export const toNote = ([start, end, pitch, velocity]) =>
  ({ start, end, pitch, velocity });

// Milliseconds are what MIDI files keep: a piece that is no file as it was read
// has no others, so that its download is just what a model continues.
export const inMilliseconds = (seconds) => Math.round(1000 * seconds) / 1000;

export const copies = (notes) => notes.map((note) => ({
  ...note, start: inMilliseconds(note.start),
  end: note.end === null ? null : inMilliseconds(note.end),
}));

export function endOf(piece) {
  let end = piece.until || 0;
  for (const note of piece.notes) end = Math.max(end, note.end || note.start);
  return end;
}

export const newNotes = (piece) =>
  piece.notes.filter((note) => note.start >= piece.border - 1e-6);

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
