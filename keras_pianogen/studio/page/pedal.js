// Pedals and other controllers of a file that was opened. Times in seconds.
//
// A piece's `moves` has rows of time, controller and value, 0 to 127, in order; or
// it is null. Notes of the file have `up`, when their keys are released; they sound
// until their `end`, as the pedal holds them.

import { rows } from "/pieces.js";

export const SUSTAIN = 64;
const SOUND_OFF = 120; // lowers every damper
export const PEDALS = [SUSTAIN, 66, 67];
// Where controllers of an instrument stand that nobody moved: pedals, modulation,
// volume, pan, expression.
export const RESTS = new Map([
  ...PEDALS.map((pedal) => [pedal, 0]), [1, 0], [7, 100], [10, 64], [11, 127],
]);
const DOWN = 64; // from this value on, a pedal is down

const LONGEST = 3; // seconds in which a damper comes down at last
const SAME = 0.001; // seconds between two times that are meant as one
const STEPS = 64; // of a curve

const known = new WeakMap();
const lowering = new WeakMap();

// What lowers dampers: the sustain pedal's movements, and when all sound goes off.
function loweringOf(moves) {
  if (!lowering.has(moves)) {
    const of = (controller) => moves.filter(([, number]) => number === controller);
    lowering.set(moves,
      { sustain: of(SUSTAIN), cuts: of(SOUND_OFF).map(([at]) => at) });
  }
  return lowering.get(moves);
}

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

// How a damper comes down at a time, under a pedal that may be half pressed: even
// steps of the share of its way that it has gone, from 0 to 1, and all their
// `seconds`. `ways` is null where it comes down at once. While the pedal is up, they are `least`. See rendering/dampers.py.
export function damperOf(moves, time, least) {
  const { sustain, cuts } = loweringOf(moves);
  const cut = cuts.find((at) => at >= time - SAME) ?? Infinity;
  if (cut < time + SAME) return { seconds: least, ways: null };
  let place = sustain.findLastIndex(([at]) => at <= time + SAME);
  const late = Math.min(LONGEST - least, cut - time);
  const corners = [[0, 0]]; // seconds, and the way there
  while (corners.at(-1)[1] < 1) {
    const [now, way] = corners.at(-1);
    const pressure = place < 0 ? 1 : Math.max(0, 1 - sustain[place][2] / DOWN);
    const down = now + (1 - way) * least / pressure;
    const until = Math.min(late, (sustain[place + 1]?.[0] ?? Infinity) - time);
    if (down <= until) corners.push([down, 1]);
    else corners.push([until, way + (until - now) * pressure / least]);
    if (corners.at(-1)[0] === late) corners.push([late + least, 1]);
    place += 1;
  }
  return { seconds: corners.at(-1)[0], ways: evenly(corners) };
}

function evenly(corners) {
  const [seconds] = corners.at(-1);
  let i = 1;
  return Array.from({ length: STEPS }, (_, step) => {
    const at = seconds * step / (STEPS - 1);
    while (i < corners.length - 1 && corners[i][0] < at) i += 1;
    const [[from, low], [to, high]] = [corners[i - 1], corners[i]];
    return low + (high - low) * (at - from) / (to - from || 1);
  });
}

// The moves of music that is cut at a time, where its pedals are lifted.
export function movesUntil(moves, time) {
  if (!moves || time === null) return moves;
  const kept = moves.filter(([at]) => at < time);
  const isPressed = (pedal) =>
    kept.findLast(([, number]) => number === pedal)?.[2] > 0;
  return [...kept, ...PEDALS.filter(isPressed).map((pedal) => [time, pedal, 0])];
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
