// The server, as the page sees it. Times in seconds.

// A token comes behind "#", which browsers don't send; it stays in this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export function setToken(token) {
  sessionStorage.setItem("token", token);
}

// `patience` is in milliseconds, after which the server counts as gone.
export async function ask(path, { json, bytes, signal, patience } = {}) {
  const options = {
    headers: {}, signal: patience ? AbortSignal.timeout(patience) : signal,
  };
  const token = sessionStorage.getItem("token");
  if (token) options.headers.Authorization = `Bearer ${token}`;
  if (json !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  } else if (bytes !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "audio/midi";
    options.body = bytes;
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer. Is it still running?");
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, body.error || `Error ${answer.status}`);
  }
  return answer;
}

// Lines of JSON as they come, each parsed.
export async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(explain);
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

function explain(error) {
  if (error.name === "AbortError") throw error;
  throw new Refusal(0, "The connection to the server broke."
    + " What was written until then is kept.");
}
