// A duet: what is played here is answered by a model, which listens again as
// soon as a key is struck. Times in seconds; MIDI messages are three bytes.

import { inMilliseconds, newPiece } from "/pieces.js";
import { showBase } from "/panel.js";
import { $, on, report } from "/saying.js";
import { ask, lines } from "/server.js";
import { server } from "/server_state.js";
import { presetOfNotes } from "/settings.js";
import { audio, release, strike } from "/sound.js";
import { player, tellSounding } from "/transport.js";
import { work } from "/work.js";

const [ON, OFF, CONTROL] = [0x90, 0x80, 0xb0];
const SIGNAL = 67; // the soft pedal
const SHORTEST = 0.03; // seconds of a note
const SHOWN = 8; // seconds that are seen at least
const PATIENCE = 900; // milliseconds that an end may take
const OWN_SPACE = "input:not([type=range]):not([type=checkbox]), select, "
  + "textarea, dialog, summary, button:not(#keys button)";

let duet = null;

export const isDuet = () => Boolean(duet);

async function begin() {
  player.pause();
  audio(); // While the click still counts.
  duet = {
    job: null, abort: new AbortController(), piece: null, began: 0,
    down: { mine: new Map(), partner: new Map() }, unsent: [],
  };
  show("Asking …");
  // Space hands over; on the button it would end the duet.
  document.querySelector("#keys [tabindex='0']").focus();
  const json = { preset: presetOfNotes(), takeover: $("takeover").value };
  const mine = duet;
  try {
    const answer = await ask("/duet", { json, signal: mine.abort.signal });
    for await (const line of lines(answer)) if (mine === duet) hear(line);
  } catch (error) {
    if (error.name !== "AbortError") report(error);
  } finally {
    clearTimeout(mine.late);
  }
  if (mine === duet) finish();
}

function hear(line) {
  if (line.job) {
    duet.job = line.job;
    flush();
  } else if (line.error) throw new Error(line.error);
  else if (line.end === "timeout") {
    throw new Error("The duet took too long, and was ended.");
  }
  if (line.said) show(line.said);
  else if (line.waiting !== undefined) {
    show(line.waiting ? "Waiting for what is being written …"
      : "The model is loading …");
  }
  if (line.midi) {
    const [status, pitch, velocity] = line.midi;
    if (status === ON) down("partner", pitch, velocity);
    else up("partner", pitch);
  }
}

function end() {
  show("The duet ends …");
  return stop(duet);
}

async function stop(mine) {
  mine.late = setTimeout(() => mine.abort.abort(), PATIENCE);
  if (mine.job) await ask("/stop", { json: { job: mine.job } });
  else mine.abort.abort();
}

// End the duet at once: its piece is left, or used for something else.
export function endDuet() {
  if (!duet?.piece) return;
  const mine = duet;
  finish();
  stop(mine).catch(report);
}

// All keys are let go. What both played stays as the piece.
function finish() {
  for (const [who, open] of Object.entries(duet.down)) {
    for (const pitch of [...open.keys()]) up(who, pitch);
  }
  const { piece } = duet;
  duet = null;
  show("");
  if (!piece) return;
  piece.notes = [...piece.notes]; // Other notes than those kept last.
  piece.until = 0;
  piece.planned = null;
  showBase();
  work.tell("played");
  work.tell("change");
}

// === Notes of both ===

const now = () => inMilliseconds((performance.now() - duet.began) / 1000);

// The first note begins a piece, which both write.
function beginPiece() {
  const piece = newPiece({ name: "Duet" });
  duet.began = performance.now();
  work.goOn(piece); // Only the piece before is left by this, not the duet's.
  duet.piece = piece;
  grow();
}

// The piece grows while both play.
function grow() {
  if (!duet?.piece) return;
  const { piece } = duet;
  if (duet.down.mine.size || duet.down.partner.size) {
    piece.until = now();
    piece.planned = Math.max(SHOWN, piece.until + 2);
    if (work.base === piece) showBase();
  }
  requestAnimationFrame(grow);
}

function down(who, pitch, velocity) {
  up(who, pitch);
  if (!duet.piece) beginPiece();
  const note = { start: now(), end: null, pitch, velocity };
  const voice = strike(pitch, velocity, audio().currentTime);
  duet.down[who].set(pitch, { note, voice });
  duet.piece.notes.push(note);
  showPartner();
  work.tell("change");
}

function up(who, pitch) {
  const sounding = duet.down[who].get(pitch);
  if (!sounding) return;
  duet.down[who].delete(pitch);
  sounding.note.end = Math.max(now(), sounding.note.start + SHORTEST);
  release(sounding.voice, audio().currentTime);
  showPartner();
  work.tell("change");
}

const showPartner = () => tellSounding([...duet.down.partner.keys()]);

export function duetDown(pitch, velocity) {
  down("mine", pitch, velocity);
  send(ON, pitch, velocity);
}

export function duetUp(pitch) {
  up("mine", pitch);
  send(OFF, pitch, 0);
}

function signal() {
  send(CONTROL, SIGNAL, 127);
  send(CONTROL, SIGNAL, 0);
}

function send(...message) {
  duet.unsent.push(message);
  flush();
}

// Messages go one request after the other, so that none overtakes another.
async function flush() {
  const mine = duet;
  if (mine.isSending || !mine.job) return;
  mine.isSending = true;
  try {
    while (mine.unsent.length) {
      await ask("/keys", { json: { job: mine.job, midi: mine.unsent.splice(0) } });
    }
  } catch (error) {
    if (mine === duet && error.status !== 404) report(error);
  } finally {
    mine.isSending = false;
  }
}

// === The bar ===

function show(sentence) {
  $("duet-state").textContent = sentence;
  $("duet-go").textContent = duet ? "End the duet" : "Play a duet";
  $("takeover").disabled = Boolean(duet);
}

function showAble() {
  const isAble = Boolean(server.status.fill_gaps?.length);
  $("duet-go").disabled = !isAble && !duet;
  $("duet-go").title = isAble ? "Play a phrase; the model answers."
    : "No preset here plays duets: note_transformer_maestro does.";
}

// `keys` is the page's piano, a `Keys`.
export function offerDuets(keys) {
  keys.onControl = (number, value) => {
    if (duet && number === SIGNAL) send(CONTROL, number, value);
  };
  on($("duet-go"), "click", () => (duet ? end() : begin()));
  server.addEventListener("status", showAble);
  window.addEventListener("keydown", (event) => {
    if (!duet || event.key !== " " || event.target.closest?.(OWN_SPACE)) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) signal();
  }, { capture: true });
}
