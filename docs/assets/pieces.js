// Each piece of a page plays with a cursor, one piece at a time. The function
// `followRoll` is put before this by docs/hooks/pieces.py.

for (const figure of document.querySelectorAll("figure.piece")) {
  const audio = figure.querySelector("audio");
  followRoll(figure, audio);
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("figure.piece audio")) {
      if (other !== audio) other.pause();
    }
  });
}
