// A work as a file, which another browser or machine can open.

import { save } from "/files.js";
import { fromRecord, pack, reachable, toRecord } from "/records.js";
import { begin } from "/saving.js";
import { say } from "/saying.js";
import { keep } from "/settings.js";
import { work } from "/work.js";
import { checkNothingIsWritten } from "/writing.js";

const KIND = "keras_pianogen studio work 1";

export const isWorkFile = (file) => /\.json$/i.test(file.name);

export function saveWork() {
  const notes = Object.fromEntries(reachable(work.base)
    .map((piece) => [piece.id, Array.from(pack(piece.notes))]));
  const content = { kind: KIND, ...toRecord(work.base, keep()), notes };
  const name = `studio-${new Date().toISOString().slice(0, 10)}.json`;
  save(new Blob([JSON.stringify(content)], { type: "application/json" }), name);
  say(`${name} is downloaded. “Open” takes it up again.`);
}

export async function openWork(file) {
  checkNothingIsWritten(); // Its rest would go nowhere.
  let content;
  let base;
  try {
    content = JSON.parse(await file.text());
    if (content.kind !== KIND) throw new Error();
    base = fromRecord(content, (id) => notesOf(content.notes[id]));
    if (!base) throw new Error();
  } catch {
    throw new Error(`${file.name} is no work that the studio has saved.`);
  }
  await begin(base, content.settings);
  say(`${file.name} is open.`);
}

// JSON has no NaN, the end of a note that was still sounding.
function notesOf(numbers) {
  return numbers.map((x, i) => {
    if (x === null && i % 4 === 1) return NaN;
    if (!Number.isFinite(x)) throw new Error();
    return x;
  });
}
