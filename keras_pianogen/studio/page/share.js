// A piece as a web page of its own, with its recipe.

import { asCommand } from "/commands.js";
import { save } from "/files.js";
import { asFile } from "/pedal.js";
import { fileName } from "/pieces.js";
import { say } from "/saying.js";
import { ask } from "/server.js";

export async function savePage(piece) {
  const name = fileName(piece);
  const stem = name.replace(/\.midi?$/i, "");
  const json = { ...asFile(piece), title: stem, recipe: recipeOf(piece) };
  if (piece.border > 0 && !piece.gap) json.prompt_seconds = piece.border;
  const answer = await ask("/page", { json });
  save(await answer.blob(), `${stem}.html`);
  say(`${stem}.html is downloaded. It plays in any browser.`);
}

function recipeOf(piece) {
  const { made, from } = piece;
  const prompt = from.notes.length ? fileName(from) : null;
  const recipe = { Preset: made.preset, Seed: String(made.seed) };
  for (const [name, value] of Object.entries(made.settings)) {
    recipe[name.replaceAll("_", " ")] = String(value);
  }
  if (prompt) recipe.Prompt = prompt;
  recipe.Command = asCommand(made, prompt, fileName(piece));
  return recipe;
}
