// A cursor on a piano roll in SVG; a click on the roll plays there.
//
// A row's viewBox is in seconds, see keras_pianogen/rendering/pianoroll_svg.py.
// `clock` is an <audio>, or has its `currentTime`, `paused`, `play()`, and the
// events "seeking" and "play".

export function followRoll(figure, clock) {
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
      clock.currentTime = begin + share * width;
      clock.play();
    });
    return { begin, end: begin + width, cursor };
  });

  let frame = 0;
  function draw() {
    cancelAnimationFrame(frame); // Each seek draws too.
    const time = clock.currentTime;
    for (const { begin, end, cursor } of rows) {
      const here = time > 0 && begin <= time && time < end;
      cursor.setAttribute("visibility", here ? "visible" : "hidden");
      cursor.setAttribute("transform", `translate(${time})`);
    }
    if (!clock.paused) frame = requestAnimationFrame(draw);
  }

  clock.addEventListener("seeking", draw);
  clock.addEventListener("play", draw);
}
