// Mapper graphs that answer. The data of a graph, which topo/figures/explorer.py describes, stands in a script element of
// class mapper-graph, whose data-picture is the id of its picture or of what holds it. The graph takes the place of the
// picture: pointing at a node, tapping it or going there by arrow keys tells what is in it, and a switch colours the
// nodes. Without scripts the picture stays.
document.addEventListener("DOMContentLoaded", () => {
  const SVG = "http://www.w3.org/2000/svg";
  const REACH = 24; // pixels on the screen from which a node is found
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function set(element, attributes) {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  }

  function svg(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    set(element, attributes);
    element.append(...children);
    return element;
  }

  function html(name, properties, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  // A square patch around (x, y): gray pixels, row by row, from -99, which is black, to 99.
  function patch(grays, x, y, side) {
    const width = Math.sqrt(grays.length), pixel = side / width, group = svg("g", { class: "patch" });
    grays.forEach((value, i) => {
      const level = Math.round(127.5 * (1 + value / 99));
      group.append(svg("rect", {
        x: x - side / 2 + (i % width) * pixel, y: y - side / 2 + Math.floor(i / width) * pixel,
        width: pixel * 1.02, height: pixel * 1.02, fill: `rgb(${level},${level},${level})`, // no gaps between pixels
      }));
    });
    group.append(svg("rect", { x: x - side / 2, y: y - side / 2, width: side, height: side, class: "frame" }));
    return group;
  }

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

  function written(measure, value) {
    return `${value.toLocaleString("en")}${measure.unit ?? ""}`;
  }

  function draw(data) {
    const paths = data.neighbors.flatMap((others, node) => others.map((other) => {
      const [[x, y], [u, v]] = [data.nodes[node], data.nodes[other]];
      return `M${x} ${y}L${u} ${v}`;
    }));
    const leaders = data.anchors.map((node, i) => `M${data.nodes[node].join(" ")}L${data.beside[i].join(" ")}`);
    const order = data.radii.map((_, node) => node).sort((a, b) => data.radii[a] - data.radii[b]); // larger ones on top
    const circles = [];
    for (const node of order) {
      const [cx, cy] = data.nodes[node];
      circles[node] = svg("circle", { cx, cy, r: data.radii[node], class: "node" });
    }
    const mark = svg("circle", { class: "mark", visibility: "hidden" });
    const picture = svg("svg", { viewBox: `-8 -8 ${data.width + 16} ${data.height + 16}` },
      svg("path", { d: paths.join(""), class: "edges" }), svg("path", { d: leaders.join(""), class: "leaders" }),
      svg("g", {}, ...order.map((node) => circles[node])),
      ...data.thumbnails.map((grays, i) => patch(grays, ...data.beside[i], data.side)), mark);
    return { picture, circles, mark };
  }

  function build(data, name, id) {
    const { picture, circles, mark } = draw(data);
    const label = `${name} Arrow keys go from node to node.`;
    set(picture, { tabindex: 0, role: "application", "aria-label": label, "aria-describedby": `${id}-node` });

    const options = data.measures.map((measure, i) => html("option", { value: i }, measure.label));
    const select = html("select", { id: `${id}-colours` }, ...options);
    const low = html("span", {}), high = html("span", {}), scale = html("span", { className: "scale" });
    const legend = html("span", { className: "legend" }, low, scale, high);
    const switcher = html("label", { htmlFor: select.id }, "Colour by");
    const controls = html("p", { className: "controls" }, switcher, select, legend);
    const shown = html("span", { className: "filter" });
    const text = html("span", { id: `${id}-node` }, "Point at a node, tap it, or go there by arrow keys.");
    text.setAttribute("role", "status");
    const answer = html("p", { className: "answer" }, shown, text);

    function paint() {
      const measure = data.measures[select.value];
      circles.forEach((circle, node) => circle.setAttribute("fill", color(measure, measure.values[node])));
      [low.textContent, high.textContent] = [written(measure, measure.low), written(measure, measure.high)];
      scale.style.background = `linear-gradient(to right, ${measure.colors})`;
    }

    let chosen = null;
    function choose(node) {
      if (node === null || node === chosen) return;
      chosen = node;
      const [cx, cy] = data.nodes[node];
      set(mark, { cx, cy, r: data.radii[node] + 5, visibility: "visible" });
      const parts = data.measures.map((measure) => `${measure.label}: ${written(measure, measure.values[node])}`);
      if (data.networks) parts.splice(1, 0, `from ${data.networks[node]} of ${data.of} networks`);
      text.replaceChildren(...parts.map((part) => html("span", {}, part)));
      const filter = patch(data.filters[node], 50, 50, 100);
      shown.replaceChildren(svg("svg", { viewBox: "-1 -1 102 102", "aria-hidden": "true" }, filter));
    }

    // The node nearest to a place on the screen, if it is within reach.
    function nearest({ clientX, clientY }) {
      const toPicture = picture.getScreenCTM().inverse();
      const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(toPicture);
      const away = data.nodes.map(([u, v], node) => Math.max(0, Math.hypot(u - x, v - y) - data.radii[node]));
      const least = Math.min(...away);
      return least < REACH * toPicture.a ? away.indexOf(least) : null;
    }

    // The node that lies nearest in a direction, counting what lies aside twice; the same where there is none.
    function towards([right, down]) {
      const [x, y] = data.nodes[chosen];
      let best = chosen, least = Infinity;
      data.nodes.forEach(([u, v], node) => {
        const along = (u - x) * right + (v - y) * down, aside = Math.abs((u - x) * down) + Math.abs((v - y) * right);
        if (along > 0 && along >= aside && along + 2 * aside < least) [best, least] = [node, along + 2 * aside];
      });
      return best;
    }

    const fullest = data.radii.indexOf(Math.max(...data.radii));
    picture.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") choose(nearest(event)); });
    picture.addEventListener("click", (event) => choose(nearest(event)));
    picture.addEventListener("focus", () => { if (picture.matches(":focus-visible")) choose(chosen ?? fullest); });
    picture.addEventListener("keydown", (event) => {
      if (event.key !== "Home" && !(event.key in ARROWS)) return;
      event.preventDefault();
      choose(event.key === "Home" || chosen === null ? fullest : towards(ARROWS[event.key]));
    });
    select.addEventListener("change", paint);
    paint();
    const note = data.note ? [html("p", { className: "note" }, data.note)] : [];
    return html("div", { className: "explorer" }, controls, picture, ...note, answer);
  }

  for (const script of document.querySelectorAll("script.mapper-graph")) {
    const id = script.dataset.picture, place = document.getElementById(id);
    const image = place?.matches("img") ? place : place?.querySelector("img");
    if (!image) continue;
    const replaced = image.closest("a") ?? image; // Sphinx links to a picture that it shows in another size
    replaced.after(build(JSON.parse(script.textContent), image.alt, id));
    replaced.hidden = true;
  }
});
