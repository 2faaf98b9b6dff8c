// Whether the server answers, and what it is doing; asked again and again.

import { ask } from "/server.js";
import { $, report } from "/saying.js";

const BACKENDS = { jax: "JAX", torch: "PyTorch", tensorflow: "TensorFlow" };
const PAUSE = 2000; // milliseconds between two questions
const PAUSE_LOADING = 500;
const GROWN = 35; // percent that the bar grows during a step
const PATIENCE = 6000; // milliseconds; a server that compiles is slow

// Said once, not at each question: screen readers read aloud what is set here.
function tell(sentence) {
  if ($("state").textContent !== sentence) $("state").textContent = sentence;
}

// The bar grows towards the next step while the present one is done.
function showStep({ state, step }) {
  const isBusy = ["loading", "warming"].includes(state);
  $("loading").hidden = !isBusy;
  if (!isBusy) return;
  const percent = Math.round(100 * step[1]);
  $("loading").ariaValueNow = percent;
  $("loading").firstElementChild.style.width = `${percent + GROWN}%`;
}

class ServerState extends EventTarget {
  status = { backend: "jax", presets: [] };
  loaded = new Set(); // names of presets that have made music
  answers = true;
  timer = null;

  // Ask now, and from then on again and again.
  async watch() {
    clearTimeout(this.timer);
    try {
      this.show(await (await ask("/status", { patience: PATIENCE })).json());
    } catch (error) {
      this.miss(error);
      if (error.status === 401) return report(error); // The door asks again.
    }
    const busy = ["loading", "warming"].includes(this.status.state);
    this.timer = setTimeout(() => this.watch(),
      this.answers && busy ? PAUSE_LOADING : PAUSE);
  }

  miss(error) {
    this.answers = false;
    $("loading").hidden = true;
    tell(error.status ? error.message
      : "The server does not answer. Is it still running?"
        + " This page goes on as soon as it is back.");
    $("state").dataset.state = "gone";
    $("state").classList.add("bad");
  }

  show(status) {
    const isBack = !this.answers;
    this.answers = true;
    this.status = status;
    const { state } = status;
    $("door").hidden = true;
    showStep(status);
    tell({
      loading: status.step?.[0], warming: status.step?.[0],
      ready: `Ready, on ${BACKENDS[status.backend] || status.backend}`,
      failed: status.failure,
    }[state]);
    $("state").dataset.state = state;
    $("state").classList.toggle("bad", state === "failed");
    this.loaded = new Set(status.loaded);
    this.dispatchEvent(new Event("status"));
    if (isBack) this.dispatchEvent(new Event("back"));
  }
}

export const server = new ServerState();
