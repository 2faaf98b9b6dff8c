// A cursor on the piano roll of each piece; a click on the roll plays there.
// A row's viewBox is in seconds, see keras_pianogen/pianoroll_svg.py.

for (const figure of document.querySelectorAll("figure.piece")) {
  const audio = figure.querySelector("audio");
  const rows = [...figure.querySelectorAll("svg.row")].map((row) => {
    const { x: begin, width, height } = row.viewBox.baseVal;
    const add = (name, path) => {
      const element = document.createElementNS(row.namespaceURI, "path");
      element.setAttribute("class", name);
      element.setAttribute("d", path);
      return row.appendChild(element);
    };
    // Between the notes there is nothing that a click could meet.
    add("ground", `M${begin} 0h${width}v${height}h-${width}z`);
    const cursor = add("cursor", `M0 0V${height}`);
    cursor.setAttribute("visibility", "hidden");
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
