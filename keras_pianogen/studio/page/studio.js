// The page: a tree of pieces, and what may be done with them.
//
// A piece is {id, parent, name, notes, border, until, done, position, made,
// candidates}. A note is {start, end, pitch, velocity}, its end null while it
// sounds; times are in seconds. `border` is where new music begins. All of it
// lives here and is gone with the tab. The server keeps what its models have read
// of the latest few pieces, in memory, until others take their place.

import { asCommand, asPython } from "/commands.js";
import { Keys } from "/keys.js";
import { Player, endOf } from "/player.js";
import { Roll } from "/roll.js";
import { ask, lines, setToken } from "/server.js";
import { audio, prepare, release, strike } from "/sound.js";

const $ = (id) => document.getElementById(id);
const PAUSE = 3000; // milliseconds without a key, after which a take is over
const BACKENDS = { jax: "JAX", torch: "PyTorch", tensorflow: "TensorFlow" };
const BEFORE = 4; // seconds of the prompt that a candidate's roll shows

let count = 0;
let base = newPiece({ name: "New piece" });
let take = null;
let writing = null;
let status = { backend: "jax" };
const sounding = new Map();
const loaded = new Set(); // names of presets that have written or are ready

function newPiece(fields) {
  count += 1;
  return {
    id: count, parent: null, next: null, notes: [], border: 0, until: 0,
    position: 0, done: true, made: null, candidates: [], written: 0, file: null,
    ...fields,
  };
}

const rows = (notes) => notes.map((n) => [n.start, n.end, n.pitch, n.velocity]);
const toNote = ([start, end, pitch, velocity]) =>
  ({ start, end, pitch, velocity });

// Milliseconds are what MIDI files keep: a piece that is no file as it was read
// has no others, so that its download is just what a model continues.
const inMilliseconds = (seconds) => Math.round(1000 * seconds) / 1000;
const copies = (notes) => notes.map((note) => ({
  ...note, start: inMilliseconds(note.start),
  end: note.end === null ? null : inMilliseconds(note.end),
}));

// Named by what is in it, so that no two pieces, of whatever tab, share a name.
function fileName(piece) {
  if (piece.file) return piece.file;
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of JSON.stringify(rows(piece.notes))) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  }
  return `piece-${(hash >>> 0).toString(16).padStart(8, "0")}.mid`;
}

// Of a folder, what tells it from others; "preset" is what most are called.
const shortName = (preset) => preset.split("/").slice(-2).join("/");

function clockTime(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// === Saying things ===

let toastTimer = null;

function say(sentence, milliseconds = 6000) {
  $("toast").textContent = sentence;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, milliseconds);
}

function report(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    $("door").hidden = false;
    $("token").focus();
    return;
  }
  say(error.message);
}

// Run what a button does; an error is shown, not lost.
const on = (element, event, action) =>
  element.addEventListener(event, async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      report(error);
    }
  });

// === Your piece ===

const player = new Player((piece) => viewOf(piece)?.move(), startOf);
const pieceRoll = new Roll($("piece-roll"), "Your piece, position",
  (time) => seek(base, time), { whole: true });
const pieceView = {
  move() {
    pieceRoll.move();
    showTransport($("piece-play"), $("piece-time"), base, "your piece");
  },
};
const cards = new Map(); // piece → its card

// Where a piece is played from: a candidate, near the end of its prompt.
function startOf(piece) {
  return piece === base ? 0 : piece.viewStart || 0;
}

function viewOf(piece) {
  return piece === base ? pieceView : cards.get(piece);
}

function showTransport(button, output, piece, name) {
  const plays = player.playing && player.piece === piece;
  if (button.classList.toggle("on", plays) !== (button.dataset.on === "1")
    || !button.ariaLabel) {
    button.dataset.on = plays ? "1" : "0";
    button.ariaLabel = `${plays ? "Pause" : "Play"} ${name}`;
  }
  button.disabled = !piece.notes.length;
  const text = `${clockTime(piece.position || 0)} / ${clockTime(endOf(piece))}`;
  if (output.value !== text) output.value = text;
}

function seek(piece, time) {
  const plays = player.playing && player.piece === piece;
  if (plays) player.pause();
  piece.position = time;
  if (plays) player.play(piece, time);
  viewOf(piece).move();
}

function toggle(piece) {
  const plays = player.playing && player.piece === piece;
  if (player.playing) player.pause();
  if (plays) return;
  const atEnd = piece.done && piece.position > endOf(piece) - 0.05;
  player.play(piece, atEnd ? startOf(piece) : piece.position);
  viewOf(piece).move();
}

function showBase() {
  const { notes } = base;
  $("hint").hidden = notes.length > 0;
  $("piece-about").textContent = notes.length
    ? `${base.name}: ${notes.length} notes, ${endOf(base).toFixed(1)} s` : "";
  $("undo").disabled = !base.parent;
  $("redo").disabled = !base.next;
  for (const id of ["cut", "clear", "piece-midi"]) {
    $(id).disabled = !notes.length;
  }
  showWav($("piece-wav"), base);
  pieceRoll.show(base);
  pieceView.move();
}

function showWav(button, piece) {
  const long = endOf(piece) > status.max_wav_seconds;
  button.disabled = long || !piece.done || !piece.notes.length;
  button.textContent = long
    ? `WAV: ${status.max_wav_seconds / 60} minutes at most` : "WAV";
}

// Make another piece the one that is worked on.
function setBase(piece) {
  endTake();
  if (player.playing) player.pause();
  base = piece;
  showBase();
  showCards();
  readAhead();
}

let aheadTimer = null;

// Have the server read the piece, so that what follows it comes at once.
function readAhead() {
  clearTimeout(aheadTimer);
  if (!base.notes.length) return;
  aheadTimer = setTimeout(async () => {
    if (writing || take || !base.notes.length || !$("preset").value) return;
    const json = { preset: $("preset").value, notes: rows(base.notes) };
    try {
      await ask("/prompt", { json });
    } catch { /* Writing says what is wrong with it. */ }
  }, 200);
}

// A piece that comes from the present one; undo goes back.
function goOn(piece) {
  piece.parent = base;
  base.next = piece;
  setBase(piece);
}

async function open(file) {
  if (file.size > status.max_bytes) {
    throw new Error(`A MIDI file may have ${status.max_bytes / 1e6} MB at most.`);
  }
  const answer = await ask("/read", { bytes: await file.arrayBuffer() });
  const read = await answer.json();
  const left = read.drum_notes ? ` ${read.drum_notes} drum notes are left out.` : "";
  const others = read.other_notes
    ? ` ${read.other_notes} notes of other instruments are played on the piano.` : "";
  goOn(newPiece({
    name: file.name, file: file.name, notes: read.notes.map(toNote),
  }));
  say(`${file.name}: ${read.notes.length} notes.${left}${others}`);
}

function cut() {
  endTake();
  const at = inMilliseconds(base.position);
  const notes = copies(base.notes).filter((note) => note.start < at)
    .map((note) => ({ ...note, end: Math.min(note.end, at) }));
  if (!notes.length || at <= 0) {
    throw new Error("Put the cursor where the piece is to be cut, first.");
  }
  const border = Math.min(base.border, at);
  goOn(newPiece({ name: "Cut", notes, border, position: at }));
}

// === Playing a few notes ===

function keyDown(pitch, velocity) {
  sounding.set(pitch, strike(pitch, velocity, audio().currentTime));
  if (writing) return; // What is continued doesn't change now.
  const now = performance.now();
  if (!take) {
    const start = endOf(base);
    const piece = newPiece({
      name: "Played", notes: copies(base.notes), border: start, until: start,
    });
    goOn(piece);
    take = { piece, offset: start, began: now, open: new Map() };
  }
  const note = { start: takeTime(now), end: null, pitch, velocity };
  take.open.set(pitch, note);
  take.piece.notes.push(note);
  take.piece.planned = Math.max(4, note.start + 2);
  watchTake();
  showBase();
}

function keyUp(pitch) {
  const voice = sounding.get(pitch);
  if (voice) release(voice, audio().currentTime);
  sounding.delete(pitch);
  const note = take?.open.get(pitch);
  if (!note) return;
  note.end = Math.max(note.start + 0.03, takeTime(performance.now()));
  take.open.delete(pitch);
  take.heard = performance.now();
  watchTake();
  showBase();
}

function takeTime(now) {
  const time = inMilliseconds(take.offset + (now - take.began) / 1000);
  take.piece.until = Math.max(take.piece.until, time);
  return time;
}

function watchTake() {
  clearTimeout(take.timer);
  take.timer = setTimeout(() => {
    if (take && !take.open.size) endTake();
    else if (take) watchTake();
  }, PAUSE);
}

function endTake() {
  if (!take) return;
  const now = takeTime(performance.now());
  for (const note of take.open.values()) {
    note.end = Math.max(note.start + 0.03, now);
  }
  clearTimeout(take.timer);
  const { piece } = take;
  take = null;
  piece.until = 0;
  piece.planned = null;
  piece.position = 0;
  showBase();
  readAhead();
}

// === Settings ===

const number = (id) => Number($(id).value);
// The sliders, which the server writes into the page from its own table.
const controls = [...document.querySelectorAll("[data-control]")];

// What the chosen preset can be asked for: rows with a box each, and menus.
const asked = [...document.querySelectorAll("[data-asked]")];
const labels = [...document.querySelectorAll("[data-label]")];
const isAsked = (id) => !$("character").hidden && $(`${id}-on`).checked
  && !$(`${id}-on`).closest("[data-asked]").hidden;
const wordsAsked = () => $("character").hidden ? []
  : labels.filter(({ value }) => value).map(({ id, value }) => [id, value]);

function isChosen({ id }) {
  if ($(`${id}-on`)) return isAsked(id);
  if (id === "guidance") {
    const some = wordsAsked().length || controls.some(
      (control) => $(`${control.id}-on`) && isAsked(control.id));
    return Boolean(some) && number(id) !== 1;
  }
  const radio = document.querySelector(`#settings [type=radio][value=${id}]`);
  return !radio || radio.checked;
}

function showCharacter() {
  const known = status?.controls?.[$("preset").value] || {};
  $("character").hidden = !Object.keys(known).length;
  for (const row of asked) row.hidden = !(row.dataset.asked in known);
  for (const menu of labels) {
    const before = menu.value;
    menu.length = 1; // "any" stays.
    for (const value of known[menu.id] || []) menu.add(new Option(value));
    menu.value = (known[menu.id] || []).includes(before) ? before : "";
  }
}

function showSettings() {
  for (const control of controls) {
    const { decimals, unit } = control.dataset;
    const output = $(`${control.id}-out`);
    output.value = `${number(control.id).toFixed(decimals)}${unit}`;
    if (control.id === "guidance") continue; // It shows what it would be.
    output.hidden = control.hidden = !isChosen(control);
  }
}

// Arguments of the model's `generate`, by their names.
const settings = () => Object.fromEntries([
  ...controls.filter(isChosen).map(({ id }) => [id, number(id)]),
  ...wordsAsked(),
]);

function seeds() {
  const wanted = $("seed").value.trim();
  const many = number("candidates");
  if (wanted) {
    return [...Array(many).keys()].map((i) => (Number(wanted) + i) % 2 ** 32);
  }
  return [...crypto.getRandomValues(new Uint32Array(many))]
    .map((seed) => seed % 1e6);
}

// === Writing ===

async function write() {
  if (writing) return;
  endTake();
  if ($("listen").checked) audio(); // While the click still counts.
  const run = {
    clicked: performance.now(), abort: new AbortController(), job: null,
    parent: base, pieces: [], batch: count,
    preset: $("preset").value, settings: settings(), backend: status.backend,
  };
  writing = run;
  showWriting("Asking …");
  const top = $("written").getBoundingClientRect().top;
  if (top > innerHeight - 200) $("written").scrollIntoView({ block: "start" });
  try {
    const answer = await ask("/write", {
      json: {
        ...run.settings, preset: run.preset, seeds: seeds(),
        notes: rows(run.parent.notes),
      },
      signal: run.abort.signal,
    });
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
  else if (line.notes) complete(run, line);
}

function showWaiting(run, before) {
  const known = loaded.has(run.preset);
  if (before) showWriting(`Waiting: ${before} before this one …`);
  else if (!known) showWriting(`${shortName(run.preset)} is loading …`);
  else if (run.parent.notes.length) showWriting("Reading the prompt …");
  else showWriting("Beginning …");
}

function begin(run, { seed, start }) {
  if (!loaded.has(run.preset)) showWriting("The model warms up …");
  run.parent.written += 1;
  const piece = newPiece({
    parent: run.parent, name: `Candidate ${run.parent.written}`,
    notes: copies(run.parent.notes),
    border: start, until: start, position: Math.max(0, start - 1), done: false,
    viewStart: Math.max(0, start - BEFORE), batch: run.batch,
    planned: start + run.settings.seconds,
    made: {
      preset: run.preset, backend: run.backend, seed,
      settings: { ...run.settings },
    },
  });
  if (!run.parent.notes.length) piece.position = 0;
  piece.open = new Map();
  run.pieces.push(piece);
  run.parent.candidates.push(piece);
  if (run.parent === base) addCard(piece);
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
  loaded.add(run.preset);
  if (!run.first && events.length) firstNote(run, piece);
  const { seconds } = run.settings;
  const made = Math.min(until - piece.border, seconds);
  $("progress").ariaLive = "off"; // Not to be read out at each note.
  showWriting(`${piece.name}: ${made.toFixed(0)} of ${seconds} s`
    + ` · first note after ${((run.first || 0) / 1000).toFixed(2)}\u00a0s`);
  cards.get(piece)?.update();
}

function firstNote(run, piece) {
  run.first = performance.now() - run.clicked;
  $("progress").dataset.firstNote = run.first.toFixed(0);
  if (!$("listen").checked || run.parent !== base) return;
  if (player.playing) player.pause();
  player.play(piece, piece.border);
}

// The whole piece, as the server has it; notes that sound stay the same ones.
function complete(run, { candidate, notes }) {
  const piece = run.pieces[candidate];
  const key = (note) => `${note.pitch} ${note.start.toFixed(3)}`;
  const known = new Map(piece.notes.filter((n) => n.start >= piece.border - 1e-6)
    .map((note) => [key(note), note]));
  piece.notes = notes.map(toNote).map((note) => {
    const same = known.get(key(note));
    return same ? Object.assign(same, note) : note;
  });
  close(piece);
}

function close(piece) {
  for (const note of piece.open?.values() || []) {
    note.end ??= Math.max(note.start + 0.03, piece.until);
  }
  piece.open = null;
  piece.done = true;
  piece.planned = null;
  cards.get(piece)?.update();
}

async function stop() {
  const run = writing;
  if (!run) return;
  if (player.playing && run.pieces.includes(player.piece)) player.pause();
  showWriting("Stopping …");
  const late = setTimeout(() => run.abort.abort(), 900);
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
    piece.made.settings.seconds = inMilliseconds(piece.until - piece.border);
    piece.stopped = true;
    close(piece);
  }
  writing = null;
  $("progress").ariaLive = "polite";
  const spent = ((performance.now() - run.clicked) / 1000).toFixed(1);
  const said = {
    done: `Done in ${spent} s · first note after ${((run.first || 0) / 1000).toFixed(2)}\u00a0s`,
    timeout: "That took too long, and was ended.",
  }[run.ended];
  if (said || !$("progress").classList.contains("bad")) {
    showWriting(said || "Stopped.", run.ended === "timeout");
  }
  showWritingState();
  readAhead();
}

function showWriting(sentence, bad = false) {
  $("progress").textContent = sentence;
  $("progress").classList.toggle("bad", bad);
  showWritingState();
}

function showWritingState() {
  $("write").disabled = Boolean(writing);
  $("stop").disabled = !writing;
}

// === Candidates ===

function showCards() {
  cards.forEach((card) => card.roll.remove());
  cards.clear();
  $("cards").replaceChildren();
  base.candidates.forEach(addCard);
}

function addCard(piece) {
  const item = $("card").content.firstElementChild.cloneNode(true);
  const find = (name) => item.querySelector(`.${name}`);
  const roll = new Roll(find("roll"), `${piece.name}, position`,
    (time) => seek(piece, time));
  const card = {
    roll,
    move() {
      roll.move();
      showTransport(find("play"), find("time"), piece, piece.name);
    },
    update() {
      const fresh = piece.notes.filter((n) => n.start >= piece.border - 1e-6);
      item.classList.toggle("writing", !piece.done);
      find("about").textContent = `seed ${piece.made.seed} · ${fresh.length} `
        + `notes${piece.stopped ? " · stopped" : ""}`;
      showWav(find("wav"), piece);
      for (const name of ["continue", "midi", "command", "python", "discard"]) {
        find(name).disabled = !piece.done
          || (name !== "discard" && !piece.notes.length);
      }
      roll.draw();
      card.move();
    },
  };
  cards.set(piece, card);
  item.querySelector("h3").textContent = piece.name;
  find("discard").ariaLabel = `Discard ${piece.name}`;
  roll.show(piece);
  on(find("play"), "click", () => toggle(piece));
  on(find("continue"), "click", () => continueFrom(piece));
  on(find("midi"), "click", () => download(piece, "midi"));
  on(find("wav"), "click", () => download(piece, "wav"));
  on(find("command"), "click", () => copy(piece, asCommand));
  on(find("python"), "click", () => copy(piece, asPython));
  on(find("discard"), "click", () => discard(piece, item));
  card.update();
  item.dataset.batch = piece.batch;
  const older = [...$("cards").children]
    .find((other) => Number(other.dataset.batch) < piece.batch);
  $("cards").insertBefore(item, older || null);
}

function continueFrom(piece) {
  if (writing) throw new Error("Stop the writing first, or wait for its end.");
  goOn(piece);
  $("write").focus();
  $("piece").scrollIntoView({ block: "start" });
}

function discard(piece, item) {
  if (player.piece === piece && player.playing) player.pause();
  cards.get(piece).roll.remove();
  cards.delete(piece);
  item.remove();
  base.candidates = base.candidates.filter((other) => other !== piece);
}

// === Taking things home ===

async function download(piece, kind) {
  endTake();
  if (kind === "wav") say("The WAV file is made …", 3600e3);
  const answer = await ask(`/${kind}`, { json: { notes: rows(piece.notes) } });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  const stem = fileName(piece).replace(/\.midi?$/i, "");
  link.download = kind === "wav" ? `${stem}.wav` : `${stem}.mid`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  if (kind === "wav") say(`${link.download} is downloaded.`);
}

async function copy(piece, how) {
  const prompt = piece.parent.notes.length ? fileName(piece.parent) : null;
  const text = how(piece.made, prompt, fileName(piece));
  try {
    await navigator.clipboard.writeText(text);
    say(prompt ? `Copied. It reads ${prompt}: the MIDI file of the piece before.`
      : "Copied.");
  } catch { // Not everywhere may a page write to the clipboard.
    $("copied-text").value = text;
    $("copied").showModal();
    $("copied-text").select();
  }
}

// === The server's state ===

async function watchStatus() {
  try {
    status = await (await ask("/status")).json();
    $("door").hidden = true;
    showStatus();
  } catch (error) {
    $("state").textContent = error.message;
    $("state").classList.add("bad");
    if (error.status === 401) report(error);
    else setTimeout(watchStatus, 3000);
    return;
  }
  if (status.state !== "failed" && status.state !== "ready") {
    setTimeout(watchStatus, 500);
  }
}

function showStatus() {
  const { state } = status;
  $("state").textContent = {
    loading: "The model is loading …",
    warming: "The model warms up …",
    ready: `Ready, on ${BACKENDS[status.backend] || status.backend}`,
    failed: status.failure,
  }[state];
  $("state").dataset.state = state;
  $("state").classList.toggle("bad", state === "failed");
  if (state === "ready") loaded.add(status.presets[0]);
  if ($("preset").options.length) return;
  for (const name of status.presets) {
    $("preset").add(new Option(shortName(name), name));
  }
  for (let many = 1; many <= status.max_candidates; many++) {
    $("candidates").add(new Option(many));
  }
  $("candidates").value = Math.min(3, status.max_candidates);
  showCharacter();
  showSettings();
}

// === Wiring ===

on($("door"), "submit", (event) => {
  event.preventDefault();
  setToken($("token").value);
  watchStatus();
});
on($("piece-play"), "click", () => toggle(base));
on($("undo"), "click", () => {
  const { parent } = base;
  parent.next = base;
  setBase(parent);
});
on($("redo"), "click", () => setBase(base.next));
on($("cut"), "click", cut);
on($("clear"), "click", () => goOn(newPiece({ name: "New piece" })));
on($("piece-midi"), "click", () => download(base, "midi"));
on($("piece-wav"), "click", () => download(base, "wav"));
on($("file"), "change", async () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file) await open(file);
});
on($("settings"), "input", showSettings);
on($("preset"), "change", () => {
  showCharacter();
  showSettings();
  readAhead();
});
on($("settings"), "submit", (event) => {
  event.preventDefault();
  return write();
});
on($("stop"), "click", stop);

for (const kind of ["dragover", "dragleave", "drop"]) {
  on(window, kind, async (event) => {
    event.preventDefault();
    $("piece").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) {
      await open(event.dataTransfer.files[0]);
    }
  });
}

window.addEventListener("beforeunload", (event) => {
  // All of it would be gone.
  if (base.notes.length || base.candidates.length) event.preventDefault();
});

const keys = new Keys($("keys"), keyDown, keyUp);
on($("lower"), "click", () => keys.shift(-1));
on($("higher"), "click", () => keys.shift(1));
on($("typing"), "change", () => { keys.letters = $("typing").checked; });
on($("use-midi"), "click", () => keys.useMidi((sentence) => {
  $("midi-state").textContent = sentence;
}));

showSettings();
showBase();
watchStatus();
prepare();
