// A region of the piece: selected, looped, deleted, or written anew.

import { roll } from "/panel.js";
import { copies, endOf, handleIn, inMilliseconds, newPiece } from "/pieces.js";
import { within } from "/pointing.js";
import { $, counted, on, say } from "/saying.js";
import { presetOfNotes, shortName } from "/settings.js";
import { endTake } from "/takes.js";
import { player, plays, seek, toggle } from "/transport.js";
import { work } from "/work.js";
import { writeAnew } from "/writing.js";

const LONGEST_GAP = 30; // seconds that a model writes anew
const LEAST = 0.05; // seconds of a region

let region = null; // {start, end}, in seconds

export function setRegion(start, end) {
  const times = [start, end].map((time) => inMilliseconds(within(roll, time)));
  times.sort((a, b) => a - b);
  region = times[1] - times[0] < LEAST ? null : { start: times[0], end: times[1] };
  show();
}

// A tool for `point`: from where the pointer goes down to where it is.
let from = 0;
export const selecting = {
  down({ time }) { from = time; },
  move({ time }) { setRegion(from, time); },
};

// Keys set one end of the region to the cursor.
export function regionByKey({ key }) {
  const { position, notes } = work.base;
  if (!notes.length || !"[]".includes(key)) return false;
  if (key === "[") {
    const end = region && region.end > position ? region.end : endOf(work.base);
    setRegion(position, end);
  } else setRegion(region && region.start < position ? region.start : 0, position);
  return true;
}

const box = $("region");
roll.box.append(box);

function show() {
  $("region-bar").hidden = !region;
  player.loop = region && $("loop").checked ? { piece: work.base, ...region } : null;
  move();
  if (!region) return;
  $("region-start").value = region.start;
  $("region-end").value = region.end;
  showAnew();
}

function move() {
  box.hidden = !region;
  if (!region) return;
  const { width } = roll;
  const x = Math.max(-4, Math.min(width + 4, roll.x(region.start)));
  const right = Math.max(-4, Math.min(width + 4, roll.x(region.end)));
  box.style.left = `${x.toFixed(1)}px`;
  box.style.width = `${Math.max(0, right - x).toFixed(1)}px`;
}

function showAnew() {
  const isLong = region.end - region.start > LONGEST_GAP;
  const able = presetOfNotes();
  $("anew").disabled = isLong || !able || region.start >= endOf(work.base);
  $("anew-about").textContent = isLong
    ? `At most ${LONGEST_GAP} s are written anew at once.`
    : !able ? "No preset here can write a part anew."
      : able === $("preset").value ? "" : `${shortName(able)} writes it.`;
}

function deleteNotes() {
  endTake();
  const { base } = work;
  const { start, end } = region;
  const isIn = (note) => note.start >= start && note.start < end;
  const notes = copies(base.notes.filter((note) => !isIn(note)));
  const count = base.notes.length - notes.length;
  if (!count) return say("No note begins in the region.");
  work.goOn(newPiece({
    name: "Edited", notes, handle: handleIn(notes, base.handle), offers: base.offers,
    position: base.position, moves: base.moves,
  }));
  return say(`Deleted: ${counted(count, "note")}. Undo brings back all.`);
}

// Delete the region's notes, if there is one.
export function deleteRegion() {
  if (!region) return false;
  deleteNotes();
  return true;
}

function setLoop() {
  show();
  if (!player.loop) return;
  seek(work.base, region.start);
  if (!plays(work.base)) toggle(work.base);
}

on($("loop"), "change", setLoop);
on($("anew"), "click", () => writeAnew({
  ...region, end: Math.min(region.end, endOf(work.base)), preset: presetOfNotes(),
  keepMelody: $("keep-melody").checked,
}));
on($("region-delete"), "click", deleteNotes);
on($("region-clear"), "click", () => {
  setRegion(0, 0);
  roll.box.focus();
});
for (const id of ["region-start", "region-end"]) {
  on($(id), "change", () => {
    const [start, end] = ["region-start", "region-end"]
      .map((field) => $(field).valueAsNumber);
    if (Number.isFinite(start + end)) setRegion(start, end);
    else show(); // An empty field changes nothing.
  });
}
on($("preset"), "change", () => region && showAnew());
work.on("piece", () => {
  if (region && region.start >= roll.last) region = null;
  show();
});
roll.marks.push(move);
