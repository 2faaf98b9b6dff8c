// How to write the same piece without this page.

const quoted = (text) => /^[\w./-]+$/.test(text) ? text
  : `'${text.replaceAll("'", "'\\''")}'`;

// Options that have other names than their arguments.
const OPTIONS = { start: "from", end: "to" };

// `made` is {preset, settings, seed, backend}. The settings are arguments of
// `generate`, or of `infill` if they have a start and an end, and with dashes
// the options of the command.
export function asCommand(made, prompt, out) {
  const isGap = "start" in made.settings;
  const words = isGap ? [`pianogen infill ${quoted(prompt)}`]
    : ["pianogen generate"];
  words.push(`--preset ${quoted(made.preset)}`);
  if (prompt && !isGap) words.push(`--prompt ${quoted(prompt)}`);
  for (const [argument, value] of Object.entries(made.settings)) {
    const name = OPTIONS[argument] || argument;
    if (typeof value === "boolean") {
      if (value) words.push(`--${name.replaceAll("_", "-")}`);
    } else words.push(`--${name.replaceAll("_", "-")} ${quoted(String(value))}`);
  }
  words.push(`--seed ${made.seed}`, `--out ${quoted(out)}`);
  return `KERAS_BACKEND=${made.backend} ${words.join(" ")}`;
}

const inPython = (value) => typeof value !== "boolean" ? JSON.stringify(value)
  : value ? "True" : "False";

export function asPython(made, prompt, out) {
  const isGap = "start" in made.settings;
  return [
    "import os",
    "",
    `os.environ["KERAS_BACKEND"] = ${JSON.stringify(made.backend)}`,
    "",
    "import keras_pianogen",
    "",
    "model = keras_pianogen.from_preset(",
    `    ${JSON.stringify(made.preset)}`,
    ")",
    isGap ? "notes = model.infill(" : "piece = model.generate(",
    ...(prompt ? [`    ${JSON.stringify(prompt)},`] : []),
    ...Object.entries(made.settings).map(
      ([name, value]) => `    ${name}=${inPython(value)},`),
    `    seed=${made.seed},`,
    ...(isGap ? [")", `keras_pianogen.write_midi(notes, ${JSON.stringify(out)})`]
      : ['    output="midi",', ")", `piece.dump(${JSON.stringify(out)})`]),
    "",
  ].join("\n");
}
