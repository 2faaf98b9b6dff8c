// The page's parts, put together: what each button and each key does.

import "/cards.js";
import { duetDown, duetUp, isDuet, offerDuets } from "/duet.js";
import { setHandleAtCursor } from "/handle.js";
import { Keys } from "/keys.js";
import { download, openMidi } from "/files.js";
import { showBase } from "/panel.js";
import { newPiece } from "/pieces.js";
import { useMidi } from "/ports.js";
import { resume } from "/saving.js";
import { $, on } from "/saying.js";
import "/shortcuts.js";
import { setToken } from "/server.js";
import { server } from "/server_state.js";
import { checkSeed, remember, showOffers, showSettings } from "/settings.js";
import { keyDown, keyUp } from "/takes.js";
import { prepare } from "/tones.js";
import "/tools.js";
import { toggle, whileSounding } from "/transport.js";
import { work } from "/work.js";
import { isWorkFile, openWork, saveWork } from "/workfile.js";
import { readAhead, stop, write } from "/writing.js";

const open = (file) => isWorkFile(file) ? openWork(file) : openMidi(file);

on($("door"), "submit", (event) => {
  event.preventDefault();
  setToken($("token").value);
  return server.watch();
});
on($("piece-play"), "click", () => toggle(work.base));
on($("undo"), "click", () => work.undo());
on($("redo"), "click", () => work.redo());
on($("to-cursor"), "click", setHandleAtCursor);
on($("clear"), "click", () => work.goOn(newPiece({ name: "New piece" })));
on($("piece-midi"), "click", () => download(work.base, "midi"));
on($("piece-wav"), "click", () => download(work.base, "wav"));
on($("save-work"), "click", saveWork);
on($("file"), "change", async () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file) await open(file);
});
on($("settings"), "input", () => {
  checkSeed();
  showSettings();
  remember();
  work.tell("change");
});
on($("preset"), "change", readAhead);
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

const keys = new Keys($("keys"),
  (...key) => (isDuet() ? duetDown : keyDown)(...key),
  (...key) => (isDuet() ? duetUp : keyUp)(...key));
offerDuets(keys);
on($("lower"), "click", () => keys.shift(-1));
on($("higher"), "click", () => keys.shift(1));
const useLetters = () => keys.useLetters($("typing").checked);
on($("typing"), "change", () => {
  useLetters();
  remember();
  work.tell("change");
});
work.on("piece", useLetters); // A work that is opened has its own settings.
whileSounding((pitches) => {
  keys.light(pitches);
  $("lower").classList.toggle("lit", pitches.some((x) => x < keys.start));
  $("higher").classList.toggle("lit", pitches.some((x) => x > keys.last));
});
on($("use-midi"), "click", () => useMidi(keys));

server.addEventListener("status", () => {
  showOffers();
  showBase();
});
await resume();
showSettings();
work.tell("piece");
server.watch();
prepare();
