// Writing: the server is asked for candidates, which grow as it answers.

import { endDuet } from "/duet.js";
import {
  copies, countBefore, inMilliseconds, isGrowing, newPiece, rows, toNote,
} from "/pieces.js";
import { movesUntil } from "/pedal.js";
import { $, report } from "/saying.js";
import { ask, lines } from "/server.js";
import { server } from "/server_state.js";
import { anySeeds, seeds, settings, shortName } from "/settings.js";
import { audio, movesPedals } from "/sound.js";
import { endTake } from "/takes.js";
import { player, views } from "/transport.js";
import { work } from "/work.js";

const BEFORE = 4; // seconds of the prompt that a candidate's roll shows
const SEEN = 200; // pixels of the candidates that are enough
const PATIENCE = 900; // milliseconds that a stop may take
const GONE = 410; // status of an answer: the server has no such prompt any more
const NEAR = 0.001; // seconds between two times of one note

let writing = null;

function leaveKeys() {
  checkNothingIsWritten();
  endDuet("The duet has ended, because something is written.");
  endTake();
}

export function write() {
  leaveKeys();
  const { base } = work;
  const own = settings();
  const wanted = seeds();
  return run("/write", () => ({ ...own, ...promptOf(base), seeds: wanted }), {
    preset: $("preset").value, seconds: own.seconds,
    handle: base.handle, settings: base.handle === null ? own
      : { prompt_seconds: base.handle, ...own },
  });
}

// Write another candidate in the place of one, with another seed.
export function writeAgain(piece) {
  leaveKeys();
  const { from, made } = piece;
  const { prompt_seconds: handle = null } = made.settings;
  const { prompt_seconds: _, ...own } = made.settings;
  const wanted = anySeeds(1);
  const message = () =>
    ({ ...own, ...promptOf({ notes: from.notes, handle }), seeds: wanted });
  return run("/write", message, {
    parent: from, preset: made.preset, seconds: made.settings.seconds, handle,
    settings: made.settings, instead: piece,
  });
}

// Write a part of the piece anew.
export function writeAnew({ start, end, preset, keepMelody }) {
  leaveKeys();
  const own = settings();
  const { seconds: _, ...others } = own;
  const gap = { start, end, keep_melody: keepMelody };
  const wanted = seeds();
  const notes = rows(work.base.notes);
  return run("/infill", () => ({ ...others, ...gap, notes, seeds: wanted }), {
    preset, gap: { start, end }, seconds: end - start,
    handle: null, settings: { ...gap, ...others },
  });
}

async function run(path, message, fields) {
  if ($("listen").checked) audio(); // While the click still counts.
  const batch = 1 + Math.max(0, ...work.base.offers.pieces.map((x) => x.batch));
  const run = {
    clicked: performance.now(), abort: new AbortController(), job: null,
    parent: work.base, pieces: [], batch, backend: server.status.backend,
    ...fields,
  };
  writing = run;
  showWriting("Asking …");
  try {
    const answer = await askToWrite(run, path, message);
    for await (const line of lines(answer)) hear(run, line);
  } catch (error) {
    if (error.name !== "AbortError") {
      showWriting(error.message, true);
      report(error);
    }
  } finally {
    finish(run);
  }
}

function hear(run, line) {
  if (line.job) run.job = line.job;
  else if (line.waiting !== undefined) showWaiting(run, line.waiting);
  else if (line.error) throw new Error(line.error);
  else if (line.end) run.ended = line.end;
  else if (line.start !== undefined) begin(run, line);
  else if (line.events) grow(run, line);
  else if (line.until !== undefined) showMade(run, line);
  else if (line.notes) complete(run, line);
}

function showWaiting(run, before) {
  if (before) showWriting(`Waiting: ${before} before this one …`);
  else if (!server.loaded.has(run.preset)) {
    showWriting(`${shortName(run.preset)} is loading …`);
  } else if (run.parent.notes.length) showWriting("Reading the prompt …");
  else showWriting("Beginning …");
}

function begin(run, { seed, start }) {
  if (!server.loaded.has(run.preset)) showWriting("The model warms up …");
  const { offers } = run.parent;
  offers.count += 1;
  const piece = newPiece({
    parent: run.parent, from: run.parent, name: `Candidate ${offers.count}`,
    notes: promptNotes(run),
    border: start, until: start, position: Math.max(0, start - 1), done: false,
    viewStart: Math.max(0, start - BEFORE), batch: run.batch,
    handle: run.gap ? run.parent.handle : null,
    length: run.seconds, planned: start + run.seconds, gap: run.gap,
    moves: run.gap ? run.parent.moves : movesUntil(run.parent.moves, run.handle),
    viewEnd: run.gap && run.gap.end + BEFORE,
    made: {
      preset: run.preset, backend: run.backend, seed,
      settings: { ...run.settings },
    },
  });
  if (!run.parent.notes.length) piece.position = 0;
  piece.open = new Map(piece.notes.filter(({ end }) => end === null)
    .map((note) => [note.pitch, note]));
  run.pieces.push(piece);
  // Only now: what could not be written would take nothing's place.
  offers.pieces = offers.pieces.filter((other) => other !== run.instead);
  offers.pieces.push(piece);
  if (offers !== work.base.offers) return;
  work.tell("offers");
  if (run.pieces.length === 1) bringIntoSight($("written"));
}

// Once there is something to see.
function bringIntoSight(element) {
  const { top } = element.getBoundingClientRect();
  if (top > innerHeight - SEEN) element.scrollIntoView({ block: "start" });
}

// The notes before the handle; those that sound there end with the new music.
function promptNotes({ parent, handle, gap }) {
  if (gap) {
    return copies(parent.notes.filter(
      ({ start }) => start < gap.start || start >= gap.end));
  }
  if (handle === null) return copies(parent.notes);
  return copies(parent.notes.slice(0, countBefore(parent.notes, handle)))
    .map((note) => note.end > handle ? { ...note, end: null, was: note.end }
      : note);
}

// What is sent of a piece: the name of its prompt, if the server has read it.
const promptOf = (piece) => nameOf(piece) ?? notesOf(piece);

// One note after the handle, which the server leaves out, tells that time passes up
// to the handle.
function notesOf({ notes, handle }) {
  if (handle === null) return { notes: rows(notes) };
  const kept = notes.slice(0, countBefore(notes, handle) + 1);
  return { notes: rows(kept), prompt_seconds: handle };
}

let read = null; // the prompt that the server has read, and its name there

function nameOf({ notes, handle }) {
  const isRead = read?.notes === notes && read.count === notes.length
    && read.handle === handle;
  return isRead ? { prompt: read.name } : null;
}

async function askToWrite(run, path, message) {
  const send = () => ask(path, {
    json: { ...message(), preset: run.preset }, signal: run.abort.signal,
  });
  try {
    return await send();
  } catch (error) {
    if (error.status !== GONE) throw error;
    read = null; // Others were read since.
    return send();
  }
}

function grow(run, { candidate, events, until }) {
  const piece = run.pieces[candidate];
  for (const [time, pitch, velocity] of events) {
    if (velocity) {
      const note = { start: time, end: null, pitch, velocity };
      piece.notes.push(note);
      piece.open.set(pitch, note);
    } else if (piece.open.has(pitch)) {
      piece.open.get(pitch).end = time;
      piece.open.delete(pitch);
    }
  }
  piece.until = until;
  if (!run.first && events.length) firstNote(run, piece);
  showMade(run, { candidate, until });
  views.get(piece)?.update?.();
  work.tell("change");
}

function showMade(run, { candidate, until }) {
  const piece = run.pieces[candidate];
  // The server rounds times, so that the first may be just before the border.
  const made = Math.max(0, Math.min(until - piece.border, run.seconds));
  $("progress").ariaLive = "off"; // Not to be read out at each note.
  showWriting(`${piece.name}: ${made.toFixed(0)} of ${run.seconds.toFixed(0)} s`);
}

function firstNote(run, piece) {
  run.first = performance.now() - run.clicked;
  $("progress").dataset.firstNote = run.first.toFixed(0);
  if (!$("listen").checked || run.parent.offers !== work.base.offers) return;
  // On an instrument, nobody hears to the end what a page plays that isn't seen.
  if (document.hidden && movesPedals()) return;
  if (player.playing) player.pause();
  player.play(piece, piece.border);
}

// The whole piece, as the server has it; notes that were known stay the same ones.
// The server knows nothing of keys: where a note of the prompt ends otherwise than
// it did, its key goes up then.
function complete(run, { candidate, notes }) {
  const piece = run.pieces[candidate];
  const find = finder(piece.notes);
  piece.notes = notes.map(toNote).map((note) => {
    const same = find(note);
    if (!same) return note;
    const { end, was = end } = same;
    if (end !== null && Math.abs(was - note.end) < NEAR) return same;
    const isSame = was !== null && Math.abs(was - note.end) < NEAR;
    const changed = { end: isSame ? was : note.end };
    if (same.up !== undefined && !isSame) changed.up = note.end;
    if (end !== null) return { ...same, ...changed };
    delete same.was; // It may sound: then its player asks it for its end.
    return Object.assign(same, changed);
  });
  close(piece);
}

// Finds notes again, in their order: the server rounds times.
function finder(notes) {
  const byPitch = Map.groupBy(notes, ({ pitch }) => pitch);
  const places = new Map();
  return ({ pitch, start }) => {
    const list = byPitch.get(pitch) || [];
    let place = places.get(pitch) || 0;
    while (place < list.length && list[place].start < start - NEAR) place += 1;
    const isFound = list[place]?.start < start + NEAR;
    places.set(pitch, place + isFound);
    return isFound ? list[place] : null;
  };
}

function close(piece) {
  for (const note of piece.open?.values() || []) {
    note.end ??= Math.max(note.start + 0.03, piece.until);
  }
  piece.open = null;
  piece.done = true;
  piece.planned = null;
  views.get(piece)?.update?.();
  work.tell("change");
}

export async function stop() {
  const run = writing;
  if (!run) return;
  if (player.playing && run.pieces.includes(player.piece)) player.pause();
  showWriting("Stopping …");
  const late = setTimeout(() => run.abort.abort(), PATIENCE);
  try {
    if (run.job) await ask("/stop", { json: { job: run.job } });
    else run.abort.abort();
  } finally {
    run.late = late;
  }
}

function finish(run) {
  clearTimeout(run.late);
  for (const piece of run.pieces.filter((p) => !p.done)) {
    if (!piece.gap) {
      piece.length = inMilliseconds(piece.until - piece.border);
      piece.made.settings.seconds = piece.length;
    }
    piece.stopped = true;
    piece.notes = [...piece.notes]; // Other notes than those kept last.
    close(piece);
  }
  writing = null;
  $("progress").ariaLive = "polite";
  const spent = ((performance.now() - run.clicked) / 1000).toFixed(1);
  const said = {
    done: `Done in ${spent} s`,
    timeout: "That took too long, and was ended.",
  }[run.ended];
  if (said || !$("progress").classList.contains("bad")) {
    showWriting(said || "Stopped.", run.ended === "timeout");
  }
  showButtons(); // Also where an error stays in sight.
  readAhead();
}

function showWriting(sentence, bad = false) {
  $("progress").textContent = sentence;
  $("progress").classList.toggle("bad", bad);
  showButtons();
}

// They keep the focus of who presses them: buttons that are `disabled` lose it.
function showButtons() {
  $("write").ariaDisabled = String(Boolean(writing));
  $("stop").ariaDisabled = String(!writing);
}

export function checkNothingIsWritten() {
  if (writing) throw new Error("Stop the writing first, or wait for its end.");
}

let ahead = null;

// Have the server read the piece, so that what follows it comes at once.
export function readAhead() {
  clearTimeout(ahead);
  ahead = setTimeout(async () => {
    const { base } = work;
    if (writing || isGrowing(base)) return;
    if (!base.notes.length || !$("preset").value) return;
    const { notes, handle } = base;
    const json = { preset: $("preset").value, ...notesOf(base) };
    try {
      const { prompt: name } = await (await ask("/prompt", { json })).json();
      read = { notes, count: notes.length, handle, name };
    } catch { /* Writing says what is wrong with it. */ }
  }, 200);
}

for (const event of ["piece", "played", "handle"]) work.on(event, readAhead);
server.addEventListener("back", readAhead);
