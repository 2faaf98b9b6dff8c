// A cursor on the piano roll of each piece; a click on the roll plays there.
// A row's viewBox is in seconds, see keras_pianogen/pianoroll_svg.py.

for (const figure of document.querySelectorAll("figure.piece")) {
  const audio = figure.querySelector("audio");
  const rows = [...figure.querySelectorAll("svg.row")].map((row) => {
    const { x: begin, width, height } = row.viewBox.baseVal;
    const cursor = document.createElementNS(row.namespaceURI, "path");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("d", `M0 0V${height}`);
    cursor.setAttribute("visibility", "hidden");
    row.append(cursor);
    row.addEventListener("click", (event) => {
      const box = row.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      audio.currentTime = begin + share * width;
      audio.play();
    });
    return { begin, end: begin + width, cursor };
  });

  function draw() {
    const time = audio.currentTime;
    for (const { begin, end, cursor } of rows) {
      const here = time > 0 && begin <= time && time < end;
      cursor.setAttribute("visibility", here ? "visible" : "hidden");
      cursor.setAttribute("transform", `translate(${time})`);
    }
    if (!audio.paused) requestAnimationFrame(draw);
  }

  audio.addEventListener("seeking", draw);
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("figure.piece audio")) {
      if (other !== audio) other.pause();
    }
    draw();
  });
}
