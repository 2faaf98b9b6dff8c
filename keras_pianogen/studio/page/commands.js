// How to write the same piece without this page.

const quoted = (text) => /^[\w./-]+$/.test(text) ? text
  : `'${text.replaceAll("'", "'\\''")}'`;

// `made` is {preset, settings, seed, backend}. The settings are arguments of
// `generate`, and with dashes the options of the command.
export function asCommand(made, prompt, out) {
  const words = ["pianogen generate", `--preset ${quoted(made.preset)}`];
  if (prompt) words.push(`--prompt ${quoted(prompt)}`);
  for (const [name, value] of Object.entries(made.settings)) {
    words.push(`--${name.replaceAll("_", "-")} ${quoted(String(value))}`);
  }
  words.push(`--seed ${made.seed}`, `--out ${quoted(out)}`);
  return `KERAS_BACKEND=${made.backend} ${words.join(" ")}`;
}

export function asPython(made, prompt, out) {
  return [
    "import os",
    "",
    `os.environ["KERAS_BACKEND"] = ${JSON.stringify(made.backend)}`,
    "",
    "from keras_pianogen import write_midi",
    "from keras_pianogen.models import MusicTransformerCausalLM",
    "",
    "model = MusicTransformerCausalLM.from_preset(",
    `    ${JSON.stringify(made.preset)}`,
    ")",
    "notes = model.generate(",
    ...(prompt ? [`    ${JSON.stringify(prompt)},`] : []),
    ...Object.entries(made.settings).map(
      ([name, value]) => `    ${name}=${JSON.stringify(value)},`),
    `    seed=${made.seed},`,
    ")",
    `write_midi(notes, ${JSON.stringify(out)})`,
    "",
  ].join("\n");
}
