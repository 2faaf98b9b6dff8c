// The handle on the roll, where a continuation begins. It destroys nothing.

import { roll } from "/panel.js";
import { endOf, handleOf, inMilliseconds } from "/pieces.js";
import { timeAfter } from "/pointing.js";
import { $, say } from "/saying.js";
import { work } from "/work.js";

const handle = $("handle");
const after = $("after");
roll.box.append(after); // Above the notes.

// Begin at a time; at the end of the piece, wherever the piece ends.
export function setHandle(time) {
  const { base } = work;
  base.handle = null;
  const end = handleOf(base);
  const at = inMilliseconds(Math.max(0, time));
  base.handle = at < end - 1e-6 ? at : null;
  show();
  work.tell("handle");
  work.tell("change");
}

function show() {
  const { base } = work;
  const time = handleOf(base);
  const { width } = roll;
  const x = roll.x(time);
  handle.hidden = !base.notes.length || x < -8 || x > width + 8;
  handle.style.transform = `translateX(${x.toFixed(1)}px)`;
  handle.setAttribute("aria-valuenow", time.toFixed(3));
  handle.setAttribute("aria-valuemax", endOf(base).toFixed(1));
  handle.setAttribute("aria-valuetext", base.handle === null
    ? "the end of the piece" : `${time.toFixed(1)} seconds`);
  after.hidden = !base.notes.length || base.handle === null || x > width;
  after.style.transform = `translateX(${Math.max(0, x).toFixed(1)}px)`;
}

export function setHandleAtCursor() {
  setHandle(work.base.position);
  say("New music will begin at the cursor. Nothing was deleted.");
}

let isHeld = false;
handle.addEventListener("pointerdown", (event) => {
  isHeld = true;
  handle.setPointerCapture(event.pointerId);
});
handle.addEventListener("pointermove", (event) => {
  if (isHeld) setHandle(roll.at(event).time);
});
for (const end of ["pointerup", "pointercancel"]) {
  handle.addEventListener(end, () => { isHeld = false; });
}
handle.addEventListener("keydown", (event) => {
  const time = timeAfter(event, handleOf(work.base), 0, endOf(work.base));
  if (time === null) return;
  event.preventDefault();
  setHandle(time);
});
roll.marks.push(show);
