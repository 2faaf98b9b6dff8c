// Pointers and keys on a roll, and what they do there: by default, seek.

const SLACK = 6; // pixels that a finger moves before it means something
const STEP = 0.1; // seconds, by an arrow key
const LONG_STEP = 1; // with Shift

// A tool is {down(place, event), move(place, event), up(place, event)}; each may
// be missing. `toolOf(event)` chooses one when a pointer goes down.
export function point(roll, toolOf) {
  const { box } = roll;
  let tool = null;
  let touched = null; // where a finger went down that may yet pinch
  const begin = () => {
    tool.down?.(touched.place, touched.event);
    touched = null;
  };
  box.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary) { // Two fingers zoom.
      if (!touched) tool?.up?.(roll.at(event), event);
      tool = null;
    }
    if (event.button > 0 || !event.isPrimary) return;
    const place = roll.at(event);
    tool = toolOf(event, place);
    box.setPointerCapture(event.pointerId);
    touched = { place, event };
    if (event.pointerType !== "touch") begin();
  });
  box.addEventListener("pointermove", (event) => {
    if (!tool || !event.isPrimary) return;
    if (touched && Math.abs(event.clientX - touched.event.clientX) < SLACK) return;
    if (touched) begin();
    tool.move?.(roll.at(event), event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    box.addEventListener(end, (event) => {
      if (!tool || !event.isPrimary) return;
      if (touched && end === "pointerup") begin();
      tool.up?.(roll.at(event), event);
      tool = null;
    });
  }
}

export function seeking(roll, onSeek) {
  const seek = ({ time }) => onSeek(within(roll, time));
  return { down: seek, move: seek };
}

export const within = (roll, time) => Math.min(Math.max(0, time), roll.last);

// Move a roll's cursor by the keys, with the roll in focus.
export function pointByKeys(roll, onSeek) {
  roll.box.addEventListener("keydown", (event) => {
    if (event.target !== roll.box) return;
    const now = roll.piece.position || 0;
    const time = timeAfter(event, now, roll.first, roll.last);
    if (time === null) return;
    event.preventDefault();
    event.stopPropagation();
    onSeek(time);
  });
}

// The time that a key leads to, or null if it is none that moves.
export function timeAfter(event, now, first, last) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const step = event.shiftKey ? LONG_STEP : STEP;
  const times = {
    ArrowLeft: now - step, ArrowRight: now + step, Home: first, End: last,
  };
  if (!(event.key in times)) return null;
  // In milliseconds, so that steps there and back lead to the same place.
  return Math.min(last, Math.max(first, Math.round(1000 * times[event.key]) / 1000));
}
