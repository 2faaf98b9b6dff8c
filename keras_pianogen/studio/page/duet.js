// A duet: what is played here is answered by a model, which listens again as
// soon as a key is struck. Times in seconds; MIDI messages are three bytes.

import { Growing } from "/growing.js";
import { newPiece } from "/pieces.js";
import { $, on, report, say } from "/saying.js";
import { ask, lines } from "/server.js";
import { server } from "/server_state.js";
import { presetOfNotes } from "/settings.js";
import { audio } from "/sound.js";
import { player, tellSounding } from "/transport.js";
import { work } from "/work.js";

const [ON, OFF, CONTROL] = [0x90, 0x80, 0xb0];
const SIGNAL = 67; // the soft pedal
const SHOWN = 8; // seconds that are seen at least
const PATIENCE = 900; // milliseconds that an end may take
const DEAF = "The partner does not hear you yet.";
const OWN_SPACE = "input:not([type=range]):not([type=checkbox]), select, "
  + "textarea, dialog, summary, button:not(#keys button)";

let duet = null;

export const isDuet = () => Boolean(duet);

async function begin() {
  player.pause();
  work.tell("duet"); // A take ends, and lets go of its keys.
  audio(); // While the click still counts.
  duet = {
    job: null, abort: new AbortController(), growing: null, unsent: [],
    hears: false, isEarly: false, said: "",
  };
  tell("Asking …");
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
  if (line.job) duet.job = line.job;
  else if (line.error) throw new Error(line.error);
  else if (line.end === "timeout") {
    throw new Error("The duet took too long, and was ended.");
  }
  if (line.hears) duet.hears = true;
  if (line.said) tell(line.said);
  else if (line.waiting !== undefined) {
    tell(line.waiting ? "Waiting for what is being written …"
      : "The model is loading …");
  }
  if (line.midi) {
    const [status, pitch, velocity] = line.midi;
    if (status === ON) down("partner", pitch, velocity);
    else up("partner", pitch);
  }
}

function tell(sentence) {
  duet.said = sentence;
  show(duet.isEarly && !duet.hears ? `${sentence} ${DEAF}` : sentence);
}

function end() {
  show("The duet ends …");
  return stop(duet);
}

async function stop(mine) {
  mine.late = setTimeout(() => mine.abort.abort(), PATIENCE);
  const { job } = mine;
  mine.job = null; // What is played from now on is sent no more.
  if (job) await ask("/stop", { json: { job } });
  else mine.abort.abort();
}

// End the duet at once, because something else begins.
export function endDuet(why = "") {
  if (!duet) return;
  const mine = duet;
  finish(why);
  stop(mine).catch(report);
}

// Its piece is left, or used for something else. Before it has a piece, another
// one may come.
export function leaveDuet() {
  if (duet?.growing) endDuet();
}

// What both played stays as the piece.
function finish(why = "") {
  const { growing } = duet;
  duet = null;
  tellSounding([]);
  show(why);
  growing?.end();
}

// === Notes of both ===

function down(who, pitch, velocity, source) {
  if (!duet.growing) beginPiece();
  duet.growing.down(pitch, velocity, { who, source });
  showPartner();
}

function up(who, pitch) {
  duet.growing?.up(pitch, who);
  showPartner();
}

// The first note begins a piece, which both play. The candidates stay.
function beginPiece() {
  const { notes, offers } = work.base;
  const piece = newPiece({ name: "Duet", offers });
  work.goOn(piece); // Only the piece before is left by this, not the duet's.
  duet.growing = new Growing(piece, { shown: SHOWN });
  if (notes.length) {
    say("The duet is a new piece. Undo brings back the piece before it.");
  }
}

const showPartner = () =>
  tellSounding([...duet.growing?.open.partner.keys() || []]);

export function duetDown(pitch, velocity, source) {
  down("mine", pitch, velocity, source);
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
  if (!duet.hears) {
    duet.isEarly = true;
    if (!duet.late) tell(duet.said); // Or else it ends.
    return;
  }
  duet.unsent.push(message);
  flush();
}

// Messages go one request after the other, so that none overtakes another.
async function flush() {
  const mine = duet;
  if (mine.isSending || !mine.job) return;
  mine.isSending = true;
  try {
    while (mine.job && mine.unsent.length) {
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
