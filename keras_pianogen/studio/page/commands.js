// How to write the same piece without this page.

const quoted = (text) => /^[\w./-]+$/.test(text) ? text
  : `'${text.replaceAll("'", "'\\''")}'`;

// `made` is {preset, seconds, temperature, min_p or top_p, max_note_seconds,
// seed, backend}.
export function asCommand(made, prompt, out) {
  const words = ["pianogen generate", `--preset ${quoted(made.preset)}`];
  if (prompt) words.push(`--prompt ${quoted(prompt)}`);
  words.push(`--seconds ${made.seconds}`, `--temperature ${made.temperature}`);
  if (made.top_p !== undefined) words.push(`--top-p ${made.top_p}`);
  else words.push(`--min-p ${made.min_p}`);
  words.push(`--max-note-seconds ${made.max_note_seconds}`);
  words.push(`--seed ${made.seed}`, `--out ${quoted(out)}`);
  return `KERAS_BACKEND=${made.backend} ${words.join(" ")}`;
}

export function asPython(made, prompt, out) {
  const tail = made.top_p !== undefined ? `top_p=${made.top_p}`
    : `min_p=${made.min_p}`;
  return [
    "import os",
    "",
    `os.environ["KERAS_BACKEND"] = ${JSON.stringify(made.backend)}`,
    "",
    "from keras_pianogen import write_midi",
    "from keras_pianogen.models import EventGrammar",
    "from keras_pianogen.models import MusicTransformerCausalLM",
    "from keras_pianogen.samplers import build_sampler",
    "",
    "model = MusicTransformerCausalLM.from_preset(",
    `    ${JSON.stringify(made.preset)}`,
    ")",
    "notes = model.generate(",
    ...(prompt ? [`    ${JSON.stringify(prompt)},`] : []),
    `    seconds=${made.seconds},`,
    `    sampler=build_sampler(${made.temperature}, ${tail}),`,
    `    grammar=EventGrammar(max_note_seconds=${made.max_note_seconds}),`,
    `    seed=${made.seed},`,
    ")",
    `write_midi(notes, ${JSON.stringify(out)})`,
    "",
  ].join("\n");
}
