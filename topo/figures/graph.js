// Mapper graphs that answer, as topo/figures/explorer.py describes their data: pointing at a node, tapping it or going
// there by arrow keys tells what is in it, a switch colours the nodes, and a slider goes from graph to graph.
(() => {
  const REACH = 24; // pixels on the screen from which a node is found
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const HINT = "Point at a node, tap it, or go there by arrow keys.";
  const { svg, set, html, unpack, pieces, patch, filter } = window.answers;

  // The colour of a value on the scale of its measure.
  function color({ colors, low, high, logarithmic }, value) {
    const on = logarithmic ? Math.log : (number) => number;
    const share = high > low ? (on(value) - on(low)) / (on(high) - on(low)) : 0;
    const place = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
    const first = Math.min(Math.floor(place), colors.length - 2);
    const channels = [1, 3, 5].map((start) => {
      const [from, to] = [colors[first], colors[first + 1]].map((text) => parseInt(text.slice(start, start + 2), 16));
      return Math.round(from + (place - first) * (to - from));
    });
    return `rgb(${channels})`;
  }

  function written({ step, unit }, value) {
    return value.toLocaleString("en", step === 1 ? {} : { maximumSignificantDigits: 3 }) + (unit ?? "");
  }

  // Of each node its neighbours of a higher number, by steps from one to the next: 63 is 62 and a step more, 0 the end.
  function neighbors(text) {
    const lists = [[]];
    let at = 0;
    for (const step of unpack(text, 1)) {
      if (step === 0) at = lists.push([]) - 1;
      else if (step === 63) at += 62;
      else lists.at(-1).push(at += step);
    }
    return lists.slice(0, -1);
  }

  // A graph as its nodes are looked up: places, radii, gray filters, values by measure.
  function unpacked(frame, data) {
    const width = data.pixels;
    return {
      ...frame,
      nodes: pieces(unpack(frame.nodes, 2), 2), beside: pieces(unpack(frame.beside, 2), 2),
      radii: unpack(frame.radii, 1).map((share) => share * frame.largest / 63),
      neighbors: neighbors(frame.neighbors), anchors: unpack(frame.anchors, 3),
      filters: pieces(unpack(frame.filters, 1), width), thumbnails: pieces(unpack(frame.thumbnails, 1), width),
      networks: frame.networks && unpack(frame.networks, data.digits),
      values: data.measures.map(({ digits, base, step }, i) => (
        unpack(frame.values[i], digits).map((number) => base + step * number)
      )),
    };
  }

  function draw(graph) {
    const paths = graph.neighbors.flatMap((others, node) => others.map((other) => {
      const [[x, y], [u, v]] = [graph.nodes[node], graph.nodes[other]];
      return `M${x} ${y}L${u} ${v}`;
    }));
    const leaders = graph.anchors.map((node, i) => `M${graph.nodes[node].join(" ")}L${graph.beside[i].join(" ")}`);
    const order = graph.radii.map((_, node) => node).sort((a, b) => graph.radii[a] - graph.radii[b]); // larger on top
    const circles = [];
    for (const node of order) {
      const [cx, cy] = graph.nodes[node];
      circles[node] = svg("circle", { cx, cy, r: graph.radii[node], class: "node" });
    }
    const drawn = [
      svg("path", { d: paths.join(""), class: "edges" }), svg("path", { d: leaders.join(""), class: "leaders" }),
      svg("g", {}, ...order.map((node) => circles[node])),
      ...graph.thumbnails.map((grays, i) => patch(grays, ...graph.beside[i], graph.side)),
    ];
    return { circles, drawn };
  }

  window.answers.graph = (data, name, id) => {
    const frames = data.frames.map((frame) => unpacked(frame, data)), several = frames.length > 1;
    const mark = svg("circle", { class: "chosen" });
    const picture = svg("svg", { viewBox: `-8 -8 ${data.width + 16} ${data.height + 16}` });
    const label = `${name} Arrow keys go from node to node.`;
    set(picture, { tabindex: 0, role: "application", "aria-label": label, "aria-describedby": `${id}-node` });

    const options = data.measures.map((measure, i) => html("option", { value: i }, measure.label));
    const select = html("select", { id: `${id}-colours` }, ...options);
    const low = html("span", {}), high = html("span", {}), scale = html("span", { className: "scale" });
    const legend = html("span", { className: "legend" }, low, scale, high);
    const switcher = html("label", { htmlFor: select.id }, "Colour by");
    const controls = html("p", { className: "controls" }, switcher, select, legend);
    const slider = html("input", { type: "range", id: `${id}-slider`, min: 0, max: frames.length - 1, value: 0 });
    const shown = html("output", { htmlFor: slider.id });
    const note = html("p", { className: "note" });
    const beside = html("span", { className: "filter" });
    const text = html("span", { id: `${id}-node` }, HINT);
    text.setAttribute("role", "status");

    let graph, circles, chosen = null;

    function paint() {
      const measure = data.measures[select.value], values = graph.values[select.value];
      circles.forEach((circle, node) => circle.setAttribute("fill", color(measure, values[node])));
      [low.textContent, high.textContent] = [written(measure, measure.low), written(measure, measure.high)];
      scale.style.background = `linear-gradient(to right, ${measure.colors})`;
    }

    // Where a node was chosen before, the one that is nearest to its place now.
    function show(number) {
      const place = chosen === null ? null : graph.nodes[chosen];
      graph = frames[number];
      const { circles: made, drawn } = draw(graph);
      circles = made;
      picture.replaceChildren(...drawn, mark);
      [shown.textContent, note.textContent, note.hidden] = [graph.label, graph.note, !graph.note];
      slider.setAttribute("aria-valuetext", graph.label);
      paint();
      chosen = null;
      mark.setAttribute("visibility", "hidden");
      if (place) choose(nearest(...place)[0]);
    }

    function choose(node) {
      if (node === null || node === chosen) return;
      chosen = node;
      const [cx, cy] = graph.nodes[node];
      set(mark, { cx, cy, r: graph.radii[node] + 5, visibility: "visible" });
      const parts = data.measures.map((each, i) => `${each.label}: ${written(each, graph.values[i][node])}`);
      if (graph.networks) parts.splice(1, 0, `from ${graph.networks[node]} of ${data.of} networks`);
      text.replaceChildren(...parts.map((part) => html("span", {}, part)));
      beside.replaceChildren(filter(graph.filters[node]));
    }

    // The node nearest to a place in the picture, and how far its rim is from there.
    function nearest(x, y) {
      const away = graph.nodes.map(([u, v], node) => Math.max(0, Math.hypot(u - x, v - y) - graph.radii[node]));
      const least = Math.min(...away);
      return [away.indexOf(least), least];
    }

    // The node at a place on the screen, if it is within reach.
    function reached({ clientX, clientY }) {
      const toPicture = picture.getScreenCTM().inverse();
      const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(toPicture);
      const [node, away] = nearest(x, y);
      return away < REACH * toPicture.a ? node : null;
    }

    // The node that lies nearest in a direction, counting what lies aside twice; the same where there is none.
    function towards([right, down]) {
      const [x, y] = graph.nodes[chosen];
      let best = chosen, least = Infinity;
      graph.nodes.forEach(([u, v], node) => {
        const along = (u - x) * right + (v - y) * down, aside = Math.abs((u - x) * down) + Math.abs((v - y) * right);
        if (along > 0 && along >= aside && along + 2 * aside < least) [best, least] = [node, along + 2 * aside];
      });
      return best;
    }

    const fullest = () => graph.radii.indexOf(Math.max(...graph.radii));
    picture.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") choose(reached(event)); });
    picture.addEventListener("click", (event) => choose(reached(event)));
    picture.addEventListener("focus", () => { if (picture.matches(":focus-visible")) choose(chosen ?? fullest()); });
    picture.addEventListener("keydown", (event) => {
      if (event.key !== "Home" && !(event.key in ARROWS)) return;
      event.preventDefault();
      choose(event.key === "Home" || chosen === null ? fullest() : towards(ARROWS[event.key]));
    });
    select.addEventListener("change", paint);
    slider.addEventListener("input", () => show(slider.value));
    show(0);
    const slides = html("p", { className: "controls" }, html("label", { htmlFor: slider.id }, "Graph"), slider, shown);
    const answer = html("p", { className: "answer" }, beside, text);
    return html("div", { className: "explorer" }, ...(several ? [slides] : []), controls, picture, note, answer);
  };
})();
