// The sustain pedal of a file that was opened. Times in seconds.
//
// A piece's `pedal` has pairs of time and value, 0 to 127, in order; or it is null.
// Notes of the file have `up`, when their keys are released; they sound until
// their `end`, as the pedal holds them.

import { rows } from "/pieces.js";

const DOWN = 64; // from this value on, the pedal is down

const known = new WeakMap();

// When it is down: pairs of start and end, the last end Infinity if it stays.
export function spansOf(pedal) {
  if (!pedal) return [];
  if (known.has(pedal)) return known.get(pedal);
  const spans = [];
  let start = null;
  for (const [time, value] of pedal) {
    if (value >= DOWN) start ??= time;
    else if (start !== null) {
      spans.push([start, time]);
      start = null;
    }
  }
  if (start !== null) spans.push([start, Infinity]);
  known.set(pedal, spans);
  return spans;
}

// The pedal of music that is cut at a time, where it is lifted.
export function pedalUntil(pedal, time) {
  if (!pedal || time === null) return pedal;
  const kept = pedal.filter(([at]) => at < time);
  if (kept.length && kept.at(-1)[1] >= DOWN) kept.push([time, 0]);
  return kept;
}

// A piece as the server takes it to write files of it.
export function asFile({ notes, pedal }) {
  if (!pedal) return { notes: rows(notes) };
  const own = notes.filter(({ up }) => up !== undefined);
  return {
    notes: rows(notes.filter(({ up }) => up === undefined)), pedal,
    own: rows(own).map((row, i) => [...row, own[i].up]),
  };
}
