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
    .map((piece) => [piece.id, asLists(pack(piece))]));
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
    base = fromRecord(content, (id) => asPacked(content.notes[id]));
    if (!base) throw new Error();
  } catch {
    throw new Error(`${file.name} is no work that the studio has saved.`);
  }
  await begin(base, content.settings);
  say(`${file.name} is open.`);
}

const asLists = (packed) => Object.fromEntries(
  Object.entries(packed).map(([name, numbers]) => [name, Array.from(numbers)]));

// JSON has no NaN, the end of a note that was still sounding, or of no key.
function asPacked(lists) {
  if (Array.isArray(lists)) return numbersOf(lists, (i) => i % 4 === 1);
  const { notes, ups, moves } = lists;
  return {
    notes: numbersOf(notes, (i) => i % 4 === 1),
    ups: ups && numbersOf(ups, () => true), moves: moves && numbersOf(moves),
  };
}

function numbersOf(list, mayLack = () => false) {
  return list.map((x, i) => {
    if (x === null && mayLack(i)) return NaN;
    if (!Number.isFinite(x)) throw new Error();
    return x;
  });
}
