// The tools of a pointer on the roll: it listens, selects a region, or edits.

import { tool as editing } from "/editing.js";
import { moveByKey } from "/notes_bar.js";
import { roll } from "/panel.js";
import { point, pointByKeys, seeking } from "/pointing.js";
import { selecting } from "/region.js";
import { seek } from "/transport.js";
import { work } from "/work.js";

const seekBase = (time) => seek(work.base, time);
const listening = seeking(roll, seekBase);
const tools = { listen: listening, select: selecting, edit: editing };

// Beside the pitches a pointer always seeks; with Shift it always selects.
function toolOf(event, { isBeside }) {
  if (event.shiftKey) return selecting;
  if (isBeside) return listening;
  return tools[document.querySelector("[name=tool]:checked").value];
}

// Before the cursor moves: selected notes take the arrow keys.
roll.box.addEventListener("keydown", (event) => {
  if (event.target !== roll.box || event.ctrlKey || event.metaKey) return;
  if (!moveByKey(event)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
});
point(roll, toolOf);
pointByKeys(roll, seekBase);
