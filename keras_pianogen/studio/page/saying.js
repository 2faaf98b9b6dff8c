// What the page says to its user, and buttons whose errors are said, not lost.

export const $ = (id) => document.getElementById(id);

// Such as "1 note", "2 notes".
export const counted = (number, noun) =>
  `${number} ${noun}${number === 1 ? "" : "s"}`;

let timer = null;

// Show a sentence for a while; with an `action`, beside a button that does it.
export function say(sentence, { milliseconds = 6000, label, action } = {}) {
  $("toast-text").textContent = sentence;
  $("toast-action").hidden = !action;
  $("toast-action").textContent = label || "Undo";
  $("toast-action").onclick = () => {
    $("toast").hidden = true;
    action();
  };
  $("toast").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, milliseconds, milliseconds);
}

// Not while its button has the focus, which would be lost.
function hide(milliseconds) {
  const isHeld = $("toast").contains(document.activeElement);
  if (isHeld) timer = setTimeout(hide, milliseconds, milliseconds);
  else $("toast").hidden = true;
}

export function report(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    if ($("token").value) say("This is not the token that the studio printed.");
    $("door").hidden = false;
    $("token").focus();
    return;
  }
  say(error.message);
}

export const on = (element, event, action) =>
  element.addEventListener(event, async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      report(error);
    }
  });
