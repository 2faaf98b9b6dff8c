// The tones of the built-in piano, computed beside the page.

// What makes them, see tones.js. `address` is that of tone_worker.js.
export const computeTones = (address) => ({ rate }, order, keep) => {
  const worker = new Worker(address, { type: "module" });
  worker.onmessage = ({ data }) => keep(data);
  worker.postMessage({ rate, order });
};
