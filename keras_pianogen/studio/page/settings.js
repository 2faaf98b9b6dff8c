// The settings of what is written: sliders, menus and boxes of the form.

import { $ } from "/saying.js";
import { server } from "/server_state.js";

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
  const known = server.status.controls?.[$("preset").value] || {};
  $("character").hidden = !Object.keys(known).length;
  for (const row of asked) row.hidden = !(row.dataset.asked in known);
  for (const menu of labels) {
    const before = menu.value;
    menu.length = 1; // "any" stays.
    for (const value of known[menu.id] || []) menu.add(new Option(value));
    menu.value = (known[menu.id] || []).includes(before) ? before : "";
  }
}

export function showSettings() {
  showCharacter();
  for (const control of controls) {
    const { decimals, unit } = control.dataset;
    const output = $(`${control.id}-out`);
    output.textContent = `${number(control.id).toFixed(decimals)}${unit}`;
    if (control.id === "guidance") continue; // It shows what it would be.
    const isHidden = !isChosen(control);
    output.hidden = control.hidden = isHidden;
    if ($(`${control.id}-about`)) $(`${control.id}-about`).hidden = isHidden;
  }
}

// The preset that writes a part anew or plays a duet: the chosen one, or else the
// first that can.
export function presetOfNotes() {
  const { fill_gaps: able = [] } = server.status;
  return able.includes($("preset").value) ? $("preset").value : able[0];
}

// Arguments of the model's `generate`, by their names.
export const settings = () => Object.fromEntries([
  ...controls.filter(isChosen).map(({ id }) => [id, number(id)]),
  ...wordsAsked(),
]);

export function seeds(many = number("candidates")) {
  const wanted = $("seed").value.trim();
  if (wanted) {
    return [...Array(many).keys()].map((i) => (Number(wanted) + i) % 2 ** 32);
  }
  return anySeeds(many);
}

export const anySeeds = (many) =>
  [...crypto.getRandomValues(new Uint32Array(many))].map((seed) => seed % 1e6);

// Of a folder, what tells it from others; "preset" is what most are called.
export const shortName = (preset) => preset.split("/").slice(-2).join("/");

// Fill the menus with what the server offers, when that is new.
export function showOffers() {
  const { presets, max_candidates: most } = server.status;
  const shown = [...$("preset").options].map(({ value }) => value);
  if (String(shown) === String(presets)) return;
  $("preset").length = $("candidates").length = 0;
  for (const name of presets) $("preset").add(new Option(shortName(name), name));
  for (let many = 1; many <= most; many++) {
    $("candidates").add(new Option(many));
  }
  $("candidates").value = Math.min(3, most);
  showSettings();
  restore(kept);
}

export function checkSeed() {
  const isSeed = /^[0-9]{0,10}$/.test($("seed").value.trim());
  $("seed").setCustomValidity(isSeed ? ""
    : "A seed is a whole number, such as 7. Without one, each piece is new.");
}

// === What is kept of them ===

let kept = {};
const elements = () => [...$("settings").elements, $("typing")]
  .filter(({ id, type }) => id || type === "radio");
const isTicked = ({ type }) => ["checkbox", "radio"].includes(type);
const keyOf = (element) => element.id || `${element.name}=${element.value}`;

export const keep = () => Object.fromEntries(elements()
  .filter(({ type }) => !["submit", "button", "fieldset"].includes(type))
  .map((x) => [keyOf(x), isTicked(x) ? x.checked : x.value]));

// What is set now outlives a new list of presets. Before the first list came,
// there is nothing to choose from, and what was restored stays.
export function remember() {
  if ($("preset").length) kept = keep();
}

// Set them as `keep` gave them. Menus that are empty yet are set when they
// have been filled.
export function restore(values) {
  kept = values;
  for (let turn = 0; turn < 2; turn++) { // The preset fills other menus.
    for (const element of elements()) {
      const value = values[keyOf(element)];
      if (isTicked(element)) element.checked = value ?? element.checked;
      else if (element.tagName !== "SELECT") element.value = value ?? element.value;
      else if ([...element.options].some((x) => x.value === value)) {
        element.value = value;
      }
    }
    showSettings();
  }
}
