// The bar of the notes that are selected, for keys and screen readers too.

import { addAt, change, choose, chooseNext, chosenNotes, deleteChosen, moved }
  from "/editing.js";
import { $, on } from "/saying.js";
import { work } from "/work.js";

const MIDDLE = 60; // pitch of a note that is added without another one near
const FINE = 0.01; // seconds, by an arrow key
const COARSE = 0.1; // with Shift
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

const fields = {
  "note-start": (note, value) => moved(value - note.start, 0)(note),
  "note-length": ({ start }, value) => ({ end: start + value }),
  "note-pitch": (_, value) => ({ pitch: value }),
  "note-velocity": (_, value) => ({ velocity: value }),
};

const isEditing = () => $("tool-edit").checked;

function show() {
  $("notes-bar").hidden = !isEditing();
  const notes = chosenNotes();
  for (const id of [...Object.keys(fields), "note-delete"]) {
    $(id).disabled = !notes.length;
  }
  for (const id of ["note-before", "note-after"]) {
    $(id).disabled = !work.base.notes.length;
  }
  $("notes-about").textContent = notes.length > 1 ? `${notes.length} notes`
    : notes.length ? nameOf(notes[0].pitch) : "No note is selected.";
  if (!notes.length) return;
  const [{ start, end, pitch, velocity }] = notes;
  const values = [start.toFixed(3), (end - start).toFixed(3), pitch, velocity];
  Object.keys(fields).forEach((id, i) => { $(id).value = values[i]; });
}

const nameOf = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

for (const [id, fieldsOf] of Object.entries(fields)) {
  on($(id), "change", () => {
    const value = $(id).valueAsNumber; // An empty field has none.
    if (Number.isFinite(value)) change(id, (note) => fieldsOf(note, value));
    else show();
  });
}
on($("note-delete"), "click", deleteChosen);
on($("note-before"), "click", () => chooseNext(-1));
on($("note-after"), "click", () => chooseNext(1));
on($("note-add"), "click", () => {
  const [near] = chosenNotes();
  addAt(work.base.position, near?.pitch ?? MIDDLE, near?.velocity);
});
for (const radio of document.querySelectorAll("[name=tool]")) {
  on(radio, "change", () => (isEditing() ? show() : choose([])));
}
for (const event of ["chosen", "piece", "edited"]) work.on(event, show);

// What an arrow key does to the selected notes; false if there are none.
export function moveByKey({ key, shiftKey }) {
  if (!chosenNotes().length) return false;
  const time = shiftKey ? COARSE : FINE;
  const pitches = shiftKey ? 12 : 1;
  const moves = {
    ArrowLeft: [-time, 0], ArrowRight: [time, 0],
    ArrowUp: [0, pitches], ArrowDown: [0, -pitches],
  };
  if (key === "Escape") choose([]);
  else if (moves[key]) change(`key ${key}`, moved(...moves[key]));
  else return false;
  return true;
}
