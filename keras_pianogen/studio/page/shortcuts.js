// Keys that do on this page what they do everywhere.

import { deleteChosen } from "/editing.js";
import { moveByKey } from "/notes_bar.js";
import { deleteRegion, regionByKey } from "/region.js";
import { roll } from "/panel.js";
import { timeAfter } from "/pointing.js";
import { report } from "/saying.js";
import { seek, toggle } from "/transport.js";
import { work } from "/work.js";
import { zoomByKey } from "/zoom.js";

const TEXT = "input:not([type=range]):not([type=checkbox]):not([type=radio])"
  + ", select, textarea, dialog";
const OWN_ARROWS = `${TEXT}, input, [role=slider], #keys, #scroll`;
const OWN_SPACE = `${TEXT}, [type=checkbox], [type=radio]:not(:checked), button, summary`;

window.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.target.closest?.(TEXT)) return;
  try {
    if (act(event)) event.preventDefault();
  } catch (error) {
    report(error);
  }
});

// Whether the key was one of ours.
function act(event) {
  if (event.ctrlKey || event.metaKey) return undo(event);
  if (event.altKey) return false;
  if (event.key === " ") return play(event);
  if (["Delete", "Backspace"].includes(event.key)) return deleteChosen() || deleteRegion();
  return arrow(event) || zoomByKey(event) || regionByKey(event);
}

function undo({ key, shiftKey }) {
  const isZ = key.toLowerCase() === "z";
  if (!isZ && key.toLowerCase() !== "y") return false;
  if (isZ && !shiftKey) work.undo();
  else work.redo();
  return true;
}

// On a candidate it is the candidate that plays.
function play({ target, repeat }) {
  if (target.closest?.(OWN_SPACE)) return false;
  if (repeat) return true;
  const card = target.closest?.(".card");
  if (card) card.querySelector(".play").click();
  else toggle(work.base);
  return true;
}

function arrow(event) {
  if (event.target.closest?.(OWN_ARROWS)) return false;
  if (moveByKey(event)) return true;
  const { base } = work;
  const time = timeAfter(event, base.position, roll.first, roll.last);
  if (time === null || ["Home", "End"].includes(event.key)) return false;
  seek(base, time);
  return true;
}
