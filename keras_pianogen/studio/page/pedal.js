// Pedals and other controllers of a file that was opened. Times in seconds.
//
// A piece's `moves` has rows of time, controller and value, 0 to 127, in order; or
// it is null. Notes of the file have `up`, when their keys are released; they sound
// until their `end`, as the pedal holds them.

import { rows } from "/pieces.js";

export const SUSTAIN = 64;
export const PEDALS = [SUSTAIN, 66, 67];
// Where controllers of an instrument stand that nobody moved: pedals, modulation,
// volume, pan, expression.
export const RESTS = new Map([
  ...PEDALS.map((pedal) => [pedal, 0]), [1, 0], [7, 100], [10, 64], [11, 127],
]);
const DOWN = 64; // from this value on, a pedal is down

const known = new WeakMap();

// When the sustain pedal is down: pairs of start and end.
export function spansOf(moves) {
  if (!moves) return [];
  if (!known.has(moves)) known.set(moves, findSpans(moves));
  return known.get(moves);
}

function findSpans(moves) {
  const spans = [];
  let start = null;
  for (const [time, number, value] of moves) {
    if (number !== SUSTAIN) continue;
    if (value >= DOWN) start ??= time;
    else if (start !== null) {
      spans.push([start, time]);
      start = null;
    }
  }
  return start === null ? spans : [...spans, [start, Infinity]];
}

// The moves of music that is cut at a time, where its pedals are lifted.
export function movesUntil(moves, time) {
  if (!moves || time === null) return moves;
  const kept = moves.filter(([at]) => at < time);
  const isDown = (pedal) =>
    kept.findLast(([, number]) => number === pedal)?.[2] >= DOWN;
  return [...kept, ...PEDALS.filter(isDown).map((pedal) => [time, pedal, 0])];
}

// The moves of a piece as an instrument plays them: where new music goes on from a
// file, controllers come to rest, because its pedals and volume are not the file's.
export function playedMoves({ notes, moves, border, gap }) {
  if (!moves || !border || gap) return moves || [];
  const seam = notes[notes.findLastIndex(({ up }) => up !== undefined) + 1]?.start;
  if (seam === undefined) return moves;
  const kept = moves.filter(([at]) => at < seam);
  const moved = new Set(kept.map(([, number]) => number));
  const rests = [...RESTS].filter(([number]) => moved.has(number));
  return [...kept, ...rests.map(([number, value]) => [seam, number, value])];
}

// A piece as the server takes it to write files of it.
export function asFile({ notes, moves }) {
  if (!moves) return { notes: rows(notes) };
  const own = notes.filter(({ up }) => up !== undefined);
  return {
    notes: rows(notes.filter(({ up }) => up === undefined)), moves,
    own: rows(own).map((row, i) => [...row, own[i].up]),
  };
}
