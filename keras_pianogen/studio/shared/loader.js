// Makes modules of the scripts in this file. Each comes after those that it
// imports, so that their addresses are known.

const addresses = {};
for (const script of document.querySelectorAll("script[data-module]")) {
  const text = script.textContent.replace(/from "(\/\w+\.js)"/g,
    (_, name) => `from "${addresses[name]}"`);
  addresses[script.dataset.module]
    = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}
import(addresses["/piece.js"])
  .then(({ start }) => start(addresses["/tone_worker.js"]));
