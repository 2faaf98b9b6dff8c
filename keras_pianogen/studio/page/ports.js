// The MIDI ports of this machine: a keyboard that is listened to, and an instrument
// that sounds in place of the page.

import { Instrument } from "/instrument.js";
import { $, on } from "/saying.js";
import { playOn } from "/sound.js";
import { player } from "/transport.js";

let asked = null; // for access: a second one would hear all keys twice
let instrument = null;

// Of the tabs that use keyboards, the one that was last used hears them.
const tabs = new BroadcastChannel("studio hears");
let hears = true;

function hearAlone() {
  hears = true;
  tabs.postMessage("hears");
}
on(window, "focus", () => asked && hearAlone());

// `keys` is the page's piano, a `Keys`.
export async function useMidi(keys) {
  const tell = (sentence) => { $("midi-state").textContent = sentence; };
  if (!navigator.requestMIDIAccess) {
    tell(isSecureContext ? "This browser has no Web MIDI."
      : "MIDI needs the page at 127.0.0.1, or https.");
    return;
  }
  let access;
  try {
    asked ??= navigator.requestMIDIAccess();
    access = await asked;
  } catch {
    asked = null;
    tell("The browser does not allow MIDI.");
    return;
  }
  const attach = () => {
    tell(listen(access, keys));
    offer(access);
  };
  access.onstatechange = ({ port }) => {
    if (port.type === "input" && port.state === "disconnected") keys.letGo();
    attach();
  };
  $("output").onchange = () => choose(access);
  attach();
  tabs.onmessage = () => {
    hears = false;
    keys.letGo();
  };
  hearAlone();
}

const connected = (ports) =>
  [...ports?.values() || []].filter(({ state }) => state !== "disconnected");

function listen({ inputs }, keys) {
  for (const input of inputs.values()) {
    input.onmidimessage = ({ data }) => {
      if (hears) keys.hear(data, input.name);
    };
  }
  const names = connected(inputs).map(({ name }) => name);
  return names.length ? `Listening to ${names.join(", ")}`
    : "No MIDI keyboard yet: plug one in.";
}

// An instrument that is gone gives the sound back to the page.
function offer(access) {
  const ports = connected(access.outputs);
  const before = $("output").value;
  $("output").length = 1; // "this page" stays.
  for (const { id, name } of ports) $("output").add(new Option(name, id));
  $("output").value = ports.some(({ id }) => id === before) ? before : "";
  $("sounds").hidden = !ports.length;
  if ($("output").value !== before) choose(access);
}

function choose({ outputs }) {
  const port = connected(outputs).find(({ id }) => id === $("output").value);
  player.pause();
  instrument?.close();
  instrument = port ? new Instrument(port) : null;
  playOn(instrument);
  $("piano").hidden = Boolean(instrument);
}

// Nobody hears to the end what an instrument plays for a page that isn't seen.
on(document, "visibilitychange", () => {
  if (!document.hidden || !instrument) return;
  player.pause();
  instrument.quiet();
});
on(window, "pagehide", () => instrument?.quiet());
