// Barcodes that answer, as topo/figures/barcodes.py describes their data: pointing at a bar of a loop, tapping it or going
// there by arrow keys shows the filters that the loop goes through.
(() => {
  const WIDTH = 400, LEFT = 26, RIGHT = 92, TOP = 16, GAP = 14; // of a panel
  const { svg, set, html, unpack, pieces, filter } = window.answers;

  function panel(data, { label, groups }, name, describedBy, choose) {
    const place = (time) => LEFT + Math.min(time, data.limit) / data.limit * (WIDTH - LEFT - RIGHT);
    const write = (x, y, text, anchor) => svg("text", { x, y, "text-anchor": anchor }, text);
    const drawn = [write(WIDTH - RIGHT + 8, TOP - 4, "longest", "start")], rows = [];
    let y = TOP;
    for (const { name, color, bars, cycles, notes } of groups) {
      const height = cycles ? 8 : 4, tall = Math.max(height * bars.length, 13 * notes.length);
      drawn.push(write(0, y + tall / 2, name, "start"));
      notes.forEach((note, i) => drawn.push(write(WIDTH - RIGHT + 8, y + 10 + 13 * i, note, "start")));
      bars.forEach(([birth, death], i) => {
        const [from, to] = [place(birth), place(death ?? Infinity)], middle = y + height * (i + 0.5);
        drawn.push(svg("rect", { x: from, y: middle - 0.35 * height, width: to - from, height: 0.7 * height, fill: color }));
        if (death === null) drawn.push(svg("path", { d: `M${to} ${middle - 4}l6 4l-6 4z`, fill: color }));
        if (cycles) rows.push({ from, to, middle, height, birth, death, cycle: cycles[i] });
      });
      y += tall + GAP;
    }
    const axis = data.ticks.map((tick) => `M${place(tick)} ${y - 6}v4`);
    drawn.push(svg("path", { d: `M${LEFT} ${y - 6}H${WIDTH - RIGHT}${axis.join("")}`, class: "axis" }));
    drawn.push(...data.ticks.map((tick) => write(place(tick), y + 10, `${tick}`, "middle")));
    const mark = svg("rect", { class: "chosen", visibility: "hidden" });
    const picture = svg("svg", { viewBox: `-4 0 ${WIDTH + 8} ${y + 14}` }, ...drawn, mark);
    const title = `${label}. ${name} Arrow keys go from bar to bar.`;
    set(picture, { tabindex: 0, role: "application", "aria-label": title, "aria-describedby": describedBy });

    let chosen = null;
    function show(number) {
      if (number === null || !rows.length) return;
      chosen = Math.min(Math.max(number, 0), rows.length - 1);
      const { from, to, middle, height } = rows[chosen];
      set(mark, { x: from - 3, y: middle - height / 2 - 1, width: to - from + 6, height: height + 2, visibility: "visible" });
      choose(label, chosen, rows[chosen], mark);
    }
    // The bar whose row is at a place on the screen, if there is one.
    function reached({ clientX, clientY }) {
      const { y: at } = new DOMPoint(clientX, clientY).matrixTransform(picture.getScreenCTM().inverse());
      const found = rows.findIndex(({ middle, height }) => Math.abs(middle - at) <= height / 2);
      return found < 0 ? null : found;
    }
    picture.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") show(reached(event)); });
    picture.addEventListener("click", (event) => show(reached(event)));
    picture.addEventListener("focus", () => { if (picture.matches(":focus-visible")) show(chosen ?? 0); });
    picture.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      show((chosen ?? 0) + steps[event.key]);
    });
    return html("div", {}, html("p", { className: "title" }, label), picture);
  }

  window.answers.bars = (data, name, id) => {
    const text = html("span", { id: `${id}-bar` }, "Point at a bar of dimension 1, tap it, or go there by arrow keys.");
    text.setAttribute("role", "status");
    const filters = html("span", { className: "filters" });
    const written = (time) => time.toLocaleString("en", { maximumSignificantDigits: 3 });
    let marked = null;

    function choose(label, number, { birth, death, cycle }, mark) {
      if (marked && marked !== mark) marked.setAttribute("visibility", "hidden");
      marked = mark;
      const length = death === null ? "it does not end" : `length ${written(death - birth)}`;
      const patches = cycle === null ? [] : pieces(unpack(cycle, 1), data.pixels);
      const through = patches.length ? `Its loop goes through ${patches.length} filters and back to the first:` : "";
      const said = `${label}, bar ${number + 1} of dimension 1: born at ${written(birth)}, ${length}.`;
      text.replaceChildren(html("span", {}, said), html("span", {}, through));
      filters.replaceChildren(...patches.map((grays) => html("span", { className: "filter" }, filter(grays))));
    }

    const panels = data.panels.map((each) => panel(data, each, name, text.id, choose));
    const axis = html("p", { className: "note" }, data.label);
    const answer = html("p", { className: "answer" }, text, filters);
    return html("div", { className: "explorer bars" }, html("div", { className: "panels" }, ...panels), axis, answer);
  };
})();
