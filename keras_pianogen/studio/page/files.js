// Files and texts that come to the page, and that leave it.

import { asFile } from "/pedal.js";
import { fileName, newPiece, toNote } from "/pieces.js";
import { $, counted, say } from "/saying.js";
import { ask } from "/server.js";
import { server } from "/server_state.js";
import { endTake } from "/takes.js";
import { work } from "/work.js";

const FOREVER = 3600e3; // milliseconds

// Open a MIDI file as the piece that is worked on.
export async function openMidi(file) {
  const most = server.status.max_bytes;
  if (file.size > most) {
    throw new Error(`A MIDI file may have ${most / 1e6} MB at most.`);
  }
  const read = await readMidi(file);
  const left = read.drum_notes
    ? ` Left out: ${counted(read.drum_notes, "drum note")}.` : "";
  const others = read.other_notes
    ? ` Played on the piano: ${counted(read.other_notes, "note")} of other instruments.`
    : "";
  const moves = read.left_moves
    ? ` Not kept: ${counted(read.left_moves, "movement")} of pedals and other controllers.`
    : "";
  const notes = read.notes.map(toNote);
  read.ups?.forEach((up, i) => { notes[i].up = up; });
  work.goOn(newPiece({
    name: file.name, file: file.name, notes, moves: read.moves || null,
    handle: read.goes_on,
  }));
  say(`${file.name}: ${counted(notes.length, "note")}.${left}${others}${moves}`);
}

async function readMidi(file) {
  try {
    return await (await ask("/read", { bytes: await file.arrayBuffer() })).json();
  } catch (error) {
    if (error.status !== 400) throw error;
    throw new Error(`${file.name}: ${error.message}`);
  }
}

export async function download(piece, kind) {
  endTake();
  if (kind === "wav") say("The WAV file is made …", { milliseconds: FOREVER });
  const answer = await ask(`/${kind}`, { json: asFile(piece) });
  const stem = fileName(piece).replace(/\.midi?$/i, "");
  const name = kind === "wav" ? `${stem}.wav` : `${stem}.mid`;
  save(await answer.blob(), name);
  if (kind === "wav") say(`${name} is downloaded.`);
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export async function copy(piece, how) {
  const prompt = piece.from.notes.length ? fileName(piece.from) : null;
  const text = how(piece.made, prompt, fileName(piece));
  try {
    await navigator.clipboard.writeText(text);
    say(prompt ? `Copied. It reads ${prompt}: the MIDI file of its prompt.`
      : "Copied.");
  } catch { // Not everywhere may a page write to the clipboard.
    $("copied-text").value = text;
    $("copied").showModal();
    $("copied-text").select();
  }
}
